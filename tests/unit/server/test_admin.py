"""Who may ask the admin API what, decided from headers alone."""

from __future__ import annotations

import pytest

from proxy.config import Admin, Secret
from proxy.server.admin import ROUTES, _check_host, _route, check_token
from proxy.server.admin_call import AdminCall, AdminError, moment

TOKEN, READ = Secret("t0ken"), Secret("r3ad")


def status(presented: list[str], *, changes: bool, token=TOKEN, read_token=READ) -> int:
    try:
        check_token(presented, Admin(token=token, read_token=read_token), changes=changes)
    except AdminError as error:
        return error.status
    return 200


@pytest.mark.parametrize(
    ("presented", "reading", "changing"),
    [
        (["Bearer t0ken"], 200, 200),
        (["bearer  t0ken "], 200, 200),
        (["Bearer r3ad"], 200, 403),
        (["Bearer t0ke"], 401, 401),
        (["Bearer t0ken2"], 401, 401),
        (["Bearer "], 401, 401),
        (["Bearer"], 401, 401),
        (["t0ken"], 401, 401),
        (["Basic t0ken"], 401, 401),
        (["Bearer \udcff"], 401, 401),
        ([""], 401, 401),
        ([], 401, 401),
        (["Bearer t0ken", "Bearer t0ken"], 401, 401),
    ],
)
def test_the_token_may_do_everything_and_the_read_token_read(presented, reading, changing):
    assert status(presented, changes=False) == reading
    assert status(presented, changes=True) == changing


@pytest.mark.parametrize("presented", [[], [""], ["Bearer "], ["Bearer None"], ["Bearer ***"]])
def test_without_a_token_set_nobody_has_it(presented):
    for changes in (False, True):
        assert status(presented, changes=changes, token=None, read_token=None) == 401


def test_a_read_token_alone_lets_nobody_change():
    assert status(["Bearer r3ad"], changes=False, token=None) == 200
    assert status(["Bearer r3ad"], changes=True, token=None) == 403


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("localhost", True),
        ("localhost:8081", True),
        ("", True),
        ("[::1]", True),
        ("[::1]:8081", True),
        ("evil.example", False),
        ("evil.example:80", False),
        ("localhost.evil.example", False),
        ("localhost:80:80", False),
    ],
)
def test_a_host_is_on_the_list_or_refused(host, allowed):
    if allowed:
        _check_host(host, ("localhost", "::1"))
    else:
        with pytest.raises(AdminError) as raised:
            _check_host(host, ("localhost", "::1"))
        assert raised.value.status == 403


@pytest.mark.parametrize(
    ("path", "row", "name"),
    [
        ("accounts", "accounts", ""),
        ("accounts/a", "accounts/*", "a"),
        ("accounts/a%2Fb%20c", "accounts/*", "a/b c"),
        ("accounts/", "accounts/*", ""),
        ("accounts/*", "accounts/*", "*"),
        ("accounts/a/test", "accounts/*/test", "a"),
        ("requests/req_1/cancel", "requests/*/cancel", "req_1"),
    ],
)
def test_a_path_is_a_row_and_a_name(path, row, name):
    assert _route(path) == (row, name)


@pytest.mark.parametrize(
    "path", ["", "*", "account", "accounts/a/", "accounts/a/b", "accounts/a/test/b", "requests/a"]
)
def test_any_other_path_is_a_404_that_names_the_known_ones(path):
    with pytest.raises(AdminError) as raised:
        _route(path)
    assert raised.value.status == 404
    assert all(row in raised.value.message for row in ROUTES)


def test_a_flag_is_true_or_false_and_nothing_else_stands_beside_it():
    assert AdminCall("", {"clear": "true"}).flag("clear") is True
    assert AdminCall("", {"clear": "false"}).flag("clear") is False
    assert AdminCall("", {}).flag("clear") is False
    for query in ({"clear": "1"}, {"clear": ""}, {"verbose": "true"}):
        with pytest.raises(AdminError) as raised:
            AdminCall("", query).flag("clear")
        assert raised.value.status == 400


def test_a_moment_is_told_in_rfc_3339():
    assert moment(0.0) == "1970-01-01T00:00:00.000Z"
    assert moment(1_767_225_600.5) == "2026-01-01T00:00:00.500Z"
    # A tiny limit with a huge debt is whole again in ten thousand years.
    assert moment(1e15) == "9999-12-31T23:59:59.000Z"
