"""To whom the metrics are open."""

from __future__ import annotations

import pytest

from proxy.config.model import Admin
from proxy.config.secrets import Secret
from proxy.server.scrape import _encoder, may_read

HERE = ("127.0.0.1", 8081)
THERE = ("192.0.2.7", 8081)
NOBODY = Admin()
BOTH = Admin(token=Secret("changes"), read_token=Secret("reads"))


@pytest.mark.parametrize(
    "reached",
    [HERE, ("127.9.9.9", 1), ("::1", 1, 0, 0), ("::ffff:127.0.0.1", 1, 0, 0), "/run/s.sock", ""],
)
def test_they_are_open_to_this_machine(reached):
    assert may_read(reached, {}, BOTH)


@pytest.mark.parametrize(
    "reached", [THERE, ("::ffff:192.0.2.7", 1, 0, 0), ("fe80::1%eth0", 1, 0, 2), None]
)
def test_they_are_not_open_to_another(reached):
    assert not may_read(reached, {}, NOBODY)


@pytest.mark.parametrize(
    "name", ["X-Forwarded-For", "x-forwarded-proto", "Forwarded", "Via", "X-Real-IP"]
)
def test_they_are_not_open_through_a_proxy(name):
    assert not may_read(HERE, {name: ""}, BOTH)


@pytest.mark.parametrize(
    ("sent", "open_"),
    [
        ("Bearer reads", True),
        ("bearer  changes ", True),
        ("Bearer read", False),
        ("Bearer reads2", False),
        ("Bearer ", False),
        ("Bearer r\udce9ads", False),
        ("Basic reads", False),
        ("reads", False),
    ],
)
def test_a_token_opens_them(sent, open_):
    assert may_read(THERE, {"authorization": sent}, BOTH) == open_
    assert not may_read(THERE, {"authorization": sent}, NOBODY)


def test_a_token_that_is_not_set_is_not_an_empty_one():
    empty = Admin(read_token=Secret(""))
    assert not may_read(THERE, {"authorization": "Bearer "}, empty)


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("", "text/plain; version=0.0.4"),
        ("*/*", "text/plain; version=0.0.4"),
        ("application/openmetrics-text; version=1.0.0,text/plain;q=0.5", "application/openmetrics-text; version=1.0.0"),
        ("application/openmetrics-text; version=soon", "text/plain; version=0.0.4"),
    ],
)  # fmt: skip
def test_the_format_is_the_one_that_is_asked_for(accept, kind):
    assert _encoder(accept)[1].startswith(kind)
