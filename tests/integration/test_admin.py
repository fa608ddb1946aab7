"""What the admin listener answers, and to whom."""

from __future__ import annotations

import os
import stat

import pytest

from proxy.billing.state import Unusable
from tests.integration.gateway import Gateway, config_text, gateway, upstream
from tests.integration.wire import Answered, Wire, request


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "admin.sock")


def administered(path, *tables):
    return gateway(
        config_text(*tables, admin=f'listen = ["unix:{path}"]\nhosts = ["localhost", "::1"]')
    )


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("localhost:8081", 200),
        ("[::1]:8081", 200),
        ("", 200),
        ("evil.example", 403),
        ("evil.example:80", 403),
    ],
)
async def test_a_host_that_is_not_on_the_list_is_refused(path, host, status):
    async with administered(path) as front:
        wire = front.keep(await Wire.open(path))
        wire.send(request("GET", "/healthz", host=host))
        assert (await wire.answer()).status == status


async def test_it_says_whether_requests_are_taken(path):
    async with administered(path, upstream("http://127.0.0.1:9")) as front:
        wire = front.keep(await Wire.open(path))
        for draining, status in ((False, 200), (True, 503)):
            front.running.gateway.draining = draining
            wire.send(request("GET", "/readyz", host="localhost"))
            assert (await wire.answer()).status == status


async def test_models_are_not_called_there(path):
    async with administered(path) as front:
        wire = front.keep(await Wire.open(path))
        answered = await wire.post("/v1/chat/completions", {}, host="localhost")
    assert answered.status == 404


async def test_the_public_listener_has_none_of_it():
    async with gateway(config_text()) as front:
        assert (await front.get("/api/v1/keys")).status == 404
        assert (await front.get("/metrics")).status == 404


# Who may ask the API.

TOKENS = 'token = "t0ken"\nread_token = "r3ad"'


def on_loopback(tokens: str = ""):
    account = upstream("http://127.0.0.1:9")
    return gateway(config_text(account, admin=f'listen = ["127.0.0.1:0"]\n{tokens}'))


async def asked(front: Gateway, method: str, path: str, **headers: str) -> Answered:
    """Ask over the first address of [admin] listen."""
    wire = front.keep(await Wire.open(front.running.admin_addresses[0]))
    wire.send(request(method, path, b"", **{"host": "127.0.0.1", **headers}))
    return await wire.answer()


@pytest.mark.parametrize("tokens", ["", TOKENS])
async def test_loopback_alone_lets_nobody_in(tokens):
    async with on_loopback(tokens) as front:
        for method, path in (
            ("GET", "/api/v1/accounts"),
            ("GET", "/api/v1/requests?in_flight=true"),
            ("GET", "/api/v1/nothing"),
            ("POST", "/api/v1/accounts/up/disable"),
        ):
            answered = await asked(front, method, path)
            assert answered.status == 401
            assert answered.headers["www-authenticate"] == "Bearer"
            assert "[admin] token" in answered.error["message"]
        assert (await asked(front, "GET", "/healthz")).status == 200
        assert (await asked(front, "GET", "/readyz")).status == 200
        assert front.running.gateway.pool.seat("up").enabled


async def test_the_token_lets_in_and_the_read_token_to_read():
    async with on_loopback(TOKENS) as front:
        for token, reading, changing in (("t0ken", 200, 200), ("r3ad", 200, 403), ("no", 401, 401)):
            bearer = {"authorization": f"Bearer {token}"}
            found = await asked(front, "GET", "/api/v1/accounts", **bearer)
            assert found.status == reading
            found = await asked(front, "POST", "/api/v1/accounts/up/disable", **bearer)
            assert found.status == changing
            assert front.running.gateway.pool.seat("up").enabled == (changing != 200)
            front.running.gateway.pool.seat("up").enabled = True


async def test_a_token_in_another_place_is_none():
    async with on_loopback(TOKENS) as front:
        assert (await asked(front, "GET", "/api/v1/accounts", x_api_key="t0ken")).status == 401
        assert (await asked(front, "GET", "/api/v1/accounts?key=t0ken")).status == 401


async def test_a_page_that_was_led_here_gets_nothing_even_with_a_token():
    async with on_loopback(TOKENS) as front:
        answered = await asked(
            front, "GET", "/api/v1/accounts", host="evil.example", authorization="Bearer t0ken"
        )
        assert answered.status == 403
        preflight = await asked(front, "OPTIONS", "/api/v1/accounts", origin="http://evil.example")
    assert preflight.status == 401
    assert not [name for name in preflight.headers if name.startswith("access-control")]


async def test_the_wrong_method_is_told_the_right_one():
    async with on_loopback() as front:
        answered = await front.admin("GET", "accounts/up/disable")
        assert (answered.status, answered.headers["allow"]) == (405, "POST")
        answered = await front.admin("DELETE", "accounts")
        assert (answered.status, answered.headers["allow"]) == (405, "GET")


async def test_bytes_that_are_no_text_are_refused_like_any_other_mistake():
    async with on_loopback() as front:
        for path in ("accounts/\xff", "\xff", "accounts?\xff=1", "accounts/%ff/test?clear=\xff"):
            assert (await front.admin("GET", path)).status in (400, 404, 405)
        assert (await front.admin("POST", "accounts/up/test?clear=\xff")).status == 400


# The daemon's own socket.


async def test_whoever_may_open_the_socket_needs_no_token():
    async with on_loopback(TOKENS) as front:
        assert stat.S_IMODE(os.stat(front.socket).st_mode) == 0o660  # noqa: PTH116
        assert (await front.admin("GET", "accounts")).status == 200
        assert (await front.admin("POST", "accounts/up/disable")).status == 200
        assert not front.running.gateway.pool.seat("up").enabled
        assert (await front.admin("GET", "accounts", host="evil.example")).status == 403


async def test_a_unix_listener_of_the_configuration_wants_a_token_like_any_other(path):
    # A proxy may stand in front of it, and then everybody comes from there.
    async with administered(path, upstream("http://127.0.0.1:9")) as front:
        wire = front.keep(await Wire.open(path))
        wire.send(request("GET", "/api/v1/accounts", host="localhost"))
        assert (await wire.answer()).status == 401


async def test_the_socket_is_in_the_runtime_directory_if_there_is_one(tmp_path):
    environ = {"RUNTIME_DIRECTORY": str(tmp_path)}
    async with gateway(config_text(), environ) as front:
        wire = front.keep(await Wire.open(str(tmp_path / "admin.sock")))
        wire.send(request("GET", "/healthz", host=""))
        assert (await wire.answer()).status == 200
        assert not front.path.with_name("state").joinpath("admin.sock").exists()
    assert not (tmp_path / "admin.sock").exists()


async def test_two_daemons_do_not_share_a_state_directory(tmp_path):
    text = config_text(state=f'directory = "{tmp_path}"')
    async with gateway(text) as front:
        with pytest.raises(Unusable, match="in use by process"):
            async with gateway(text):
                pass
        assert (await front.get("/healthz")).status == 200
        assert (await front.admin("GET", "accounts")).status == 200


async def test_the_admin_listeners_are_open_until_the_last_call_has_ended():
    async with on_loopback() as front:
        await front.running.drain(0)
        with pytest.raises(OSError, match=r"."):
            await front.wire()
        assert (await front.admin("GET", "accounts")).status == 200
        assert (await asked(front, "GET", "/readyz")).status == 503
