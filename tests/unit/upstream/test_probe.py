"""A free question to an account: what is asked, and what is made of the answer."""

from __future__ import annotations

import asyncio

import pytest

from proxy.config import Account, Secret
from proxy.errors import Kind
from proxy.providers import BUILTIN, Provider
from proxy.upstream.connections import Connections
from proxy.upstream.probe import probe
from tests.integration.scripted import Cut, Pause, Scripted, Step, chunked, settled, whole

SECRET = "hf_0123456789abcdef"
LIST = whole(b'{"data": []}', content_type="application/json")


@pytest.fixture
async def connections():
    pool = Connections()
    yield pool
    pool.close()
    await settled(lambda: not pool.counts())


def provider(dialect: str = "openai-chat", auth: str = "bearer") -> Provider:
    return Provider(name="up", base_url="", dialects=(dialect,), auth=auth)  # type: ignore[arg-type]


async def probed(connections, url: str, of: Provider | None = None, secret: str = SECRET):
    account = Account(name="a", provider="up", api_key=Secret(secret), base_url=url)
    return await probe(
        account, of or provider(), connections, connect=0.3, answer=0.3, agent=b"splice/test"
    )


@pytest.mark.parametrize(
    ("dialect", "auth", "target", "header", "value"),
    [
        ("openai-chat", "bearer", "/v1/models", "authorization", f"Bearer {SECRET}"),
        ("openai-responses", "api-key", "/v1/models", "api-key", SECRET),
        ("anthropic", "x-api-key", "/v1/models?limit=1", "x-api-key", SECRET),
        ("gemini", "x-goog-api-key", "/v1beta/models?pageSize=1", "x-goog-api-key", SECRET),
    ],
)
async def test_the_list_of_models_is_asked_for(connections, dialect, auth, target, header, value):
    async with Scripted([LIST]) as up:
        found = await probed(connections, up.url, provider(dialect, auth))
    [asked] = up.requests
    assert (asked.method, asked.target, asked.headers[header]) == ("GET", target, value)
    assert asked.headers["user-agent"] == "splice/test"
    assert ("anthropic-version" in asked.headers) == (dialect == "anthropic")
    assert (found.status, found.error) == (200, None)
    assert found.url == up.url + target


async def test_where_anybody_may_list_the_models_the_key_itself_is_asked_about(connections):
    async with Scripted([LIST]) as up:
        await probed(connections, f"{up.url}/api/v1", BUILTIN["openrouter"])
    assert up.requests[0].target == "/api/v1/key"


@pytest.mark.parametrize(
    ("step", "kind", "said"),
    [
        (whole(b'{"error": {"message": "no such key"}}', "401 No"), Kind.UPSTREAM_AUTH, "no such"),
        (whole(b"{}", "402 Pay"), Kind.UPSTREAM_QUOTA, "402"),
        (whole(b"{}", "429 Slow"), Kind.RATE_LIMIT, "429"),
        (whole(b"<html>", "503 No"), Kind.OVERLOADED, "<html>"),
        (whole(b"", "302 Found", location="/login"), Kind.SERVER, "302"),
        (whole(b"none", "404 No"), Kind.NOT_FOUND, "says nothing about the credential"),
        (whole(b"<html>Log in!", content_type="text/html"), Kind.MALFORMED, "<html>Log in!"),
        (whole(b""), Kind.MALFORMED, "no JSON"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{", Kind.DISCONNECTED, "truncated"),
        (b"nonsense\r\n\r\n", Kind.DISCONNECTED, "malformed"),
        (b"", Kind.DISCONNECTED, "reset"),
    ],
)
async def test_what_went_wrong_is_told(connections, step, kind, said):
    async with Scripted([step, Cut()]) as up:
        found = await probed(connections, up.url)
    assert found.error is not None
    assert found.error.kind is kind
    assert said in found.error.evidence


async def test_a_refusal_that_breaks_off_is_still_a_refusal(connections):
    async with Scripted([b"HTTP/1.1 401 No\r\ncontent-length: 99\r\n\r\n{", Cut()]) as up:
        found = await probed(connections, up.url)
    assert found.error is not None
    assert (found.status, found.error.kind) == (401, Kind.UPSTREAM_AUTH)


@pytest.mark.parametrize("steps", [[Pause(60)], [b"HTTP/1.1 200 OK\r\n\r\n", Pause(60)]])
async def test_silence_is_not_waited_for_for_ever(connections, steps: list[Step]):
    async with Scripted(steps) as up:
        found = await probed(connections, up.url)
        await settled(lambda: not connections.counts())
    assert found.error is not None
    assert (found.error.kind, found.error.evidence) == (Kind.TIMEOUT, "no answer within 0.3 s")


async def test_nobody_there_is_told_with_the_address(connections):
    async with Scripted([]) as gone:
        url = gone.url
    found = await probed(connections, url)
    assert found.error is not None
    assert (found.status, found.error.kind) == (None, Kind.UNREACHABLE)
    assert f"{url}: the connection was refused" in found.error.evidence


@pytest.mark.parametrize(
    ("secret", "said"), [("line\nbreak", "holds CR, LF or NUL"), ("break\udcff", "can't encode")]
)
async def test_a_credential_that_cannot_be_sent_is_told_and_not_shown(connections, secret, said):
    found = await probed(connections, "http://127.0.0.1:9", secret=secret)
    assert found.error is not None
    assert found.error.kind is Kind.UPSTREAM_AUTH
    assert said in found.error.evidence
    assert "break" not in found.error.evidence


async def test_a_long_list_is_read_to_its_end_and_the_connection_kept(connections):
    pieces = [b'{"data": [' + b" " * 40_000, b" " * 200_000, b"]}"]
    async with Scripted([chunked(*pieces)]) as up:
        found = await probed(connections, up.url)
        assert [count.idle for count in connections.counts().values()] == [1]
    assert found.error is None


async def test_a_test_takes_a_connection_of_its_own(connections):
    async with Scripted([LIST]) as up:
        for _ in range(2):
            await probed(connections, up.url)
        assert up.connections == 2


async def test_who_gives_up_leaves_nothing_behind(connections):
    async with Scripted([Pause(60)]) as up:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await probed(connections, up.url)
        await settled(lambda: not connections.counts())
