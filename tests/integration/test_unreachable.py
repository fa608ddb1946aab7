"""Upstreams that cannot be talked to: each is a 502 at the client, a log line that says why, and a bench for its account."""

from __future__ import annotations

import asyncio
import ssl

import pytest

from bench.processes import free_ports
from tests.integration import spoken
from tests.integration.certificates import issued, made_authority, trusting
from tests.integration.gateway import SECRET, account, config_text, gateway, upstream
from tests.integration.scripted import Scripted

SURFACES = ("chat", "messages")


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return made_authority(tmp_path_factory.mktemp("authority"))


async def is_told(front, surface, stream, said) -> None:
    """Ask; see that the client is told little, and the operator ``said``."""
    answered = await front.ask(surface, stream=stream)
    assert answered.status == 502, answered
    assert answered.error["message"]
    for secret in (SECRET, "certificate", "127.0.0.1", "example"):
        assert secret not in str(answered)
    line = await front.last()
    assert (line["status"], line["error_type"], line["attempts"]) == (502, "connection_failed", 1)
    assert said in line["evidence"]


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("name", "days", "knows", "said"),
    [
        ("IP:127.0.0.1", -1, True, "certificate has expired"),
        ("DNS:somebody.example", 9, True, "IP address mismatch"),
        ("IP:127.0.0.1", 9, False, "unable to get local issuer certificate"),
    ],
    ids=["expired", "for another host", "of an unknown authority"],
)
async def test_a_certificate_that_is_not_good_is_a_502_that_the_log_explains(
    authority, surface, stream, name, days, knows, said
):
    server = issued(authority, name, days=days)
    client = trusting(authority) if knows else ssl.create_default_context(cafile=None)
    async with (
        Scripted([spoken.told("openai-chat")], tls=server) as up,
        gateway(config_text(upstream(up.url)), tls=client) as front,
    ):
        await is_told(front, surface, stream, said)
        assert up.requests == []


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://no-such-host.invalid", "the name does not resolve"),
        ("http://127.0.0.1:{port}", "the connection was refused"),
        ("https://127.0.0.1:{plain}", "the TLS handshake failed"),
    ],
)
async def test_nobody_there_is_a_502_that_the_log_explains(surface, url, said):
    def greet(reader, writer):
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as plain:
        url = url.format(port=free_ports(1)[0], plain=plain.sockets[0].getsockname()[1])
        async with gateway(config_text(upstream(url))) as front:
            await is_told(front, surface, stream=False, said=said)


async def test_another_account_answers_and_the_bad_one_is_back_when_its_certificate_is_good(
    authority,
):
    cooldown = 'base = "50ms"\nmax_burst = "50ms"\nprobe_interval = "10ms"'
    tls = issued(authority, "DNS:somebody.example", days=9)
    async with (
        Scripted([spoken.told("openai-chat", "well")], tls=tls) as bad,
        Scripted([spoken.told("openai-chat", "spare")]) as good,
    ):
        spare = account("spare", "up", base_url=f'"{good.url}"', priority="1")
        text = config_text(upstream(bad.url), spare, cooldown=cooldown)
        async with gateway(text, tls=trusting(authority)) as front:
            assert (await front.chat()).text == "spare"
            (why,) = (await front.admin("GET", "accounts/up")).json["why"]
            assert why["cause"] == "network"
            assert "IP address mismatch" in str(why)
            issued(authority, "IP:127.0.0.1", days=9)
            tls.load_cert_chain(authority / "cert.pem", authority / "key.pem")
            async with asyncio.timeout(5):
                while (await front.chat()).text != "well":  # noqa: ASYNC110 - each look is a call
                    await asyncio.sleep(0.01)
