"""What the admin listener answers, and to whom."""

from __future__ import annotations

import pytest

from tests.integration.gateway import config_text, gateway, upstream
from tests.integration.wire import Wire, request


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
