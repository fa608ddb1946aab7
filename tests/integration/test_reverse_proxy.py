"""Behind nginx and Caddy, configured with the very lines of docs/install.md."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from bench.processes import free_ports
from proxy.config import key_hash
from tests.integration import spoken
from tests.integration.gateway import (
    BEARER,
    PATHS,
    body_of,
    chat_body,
    config_text,
    gateway,
    upstream,
)
from tests.integration.scripted import Scripted, settled
from tests.integration.wire import Wire, encoded, request

GUIDE = Path(__file__).parents[2] / "docs" / "install.md"
HERE, ELSEWHERE = "127.0.0.1", "127.0.0.2"
"""Where the proxy calls from, and where the client does."""

# What Debian's nginx.conf has around it, without its places.
_AROUND = """
daemon off;
pid {directory}/pid;
error_log {directory}/error;
events {{ worker_connections 512; }}
http {{
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  gzip on;
  {snippet}
}}
"""


def snippet(language):
    (found,) = re.findall(
        rf"^```{language}\n(.*?)^```$", GUIDE.read_text(), re.MULTILINE | re.DOTALL
    )
    return found


def replaced(text, *pairs):
    for found, put in pairs:
        assert text.count(found) == 1, found
        text = text.replace(found, put)
    return text


def nginx(directory, port, behind):
    text = replaced(
        re.sub(r"^ *ssl_.*\n", "", snippet("nginx"), flags=re.MULTILINE),
        ("listen 443 ssl http2;", f"listen {HERE}:{port};"),
        ("server 127.0.0.1:8080;", f"server {HERE}:{behind};"),
    )
    config = directory / "nginx.conf"
    config.write_text(_AROUND.format(directory=directory, snippet=text))
    return ["nginx", "-e", str(directory / "error"), "-c", str(config)]


def caddy(directory, port, behind):
    text = replaced(
        snippet("caddyfile"),
        ("llm.example.com", f"http://:{port}"),
        ("127.0.0.1:8080", f"{HERE}:{behind}"),
    )
    config = directory / "Caddyfile"
    config.write_text(f"{{\n\tadmin off\n\tauto_https off\n\tdefault_bind {HERE}\n}}\n" + text)
    return ["caddy", "run", "--adapter", "caddyfile", "--config", str(config)]


@contextmanager
def running(command, directory):
    with (directory / "out").open("wb") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=out, env={"HOME": str(directory), "PATH": _PATH}
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PROXIES = [
    pytest.param(
        proxy,
        id=proxy.__name__,
        marks=pytest.mark.skipif(
            shutil.which(proxy.__name__, path=_PATH) is None,
            reason=f"there is no {proxy.__name__} here (Debian: apt install {package})",
        ),
    )
    for proxy, package in ((nginx, "nginx-light"), (caddy, "caddy"))
]

LOCAL, SPOOFED = "sk-splice-for-one-address", "sk-splice-for-another-address"


def key(name, token, address):
    return f'[[keys]]\nname = "{name}"\nhash = "sha256:{key_hash(token)}"\nallow_ip = ["{address}/32"]\n'


@asynccontextmanager
async def behind(proxy, script, directory):
    """A gateway behind ``proxy``, and a function that connects to that from elsewhere."""
    (port,) = free_ports(1)
    async with Scripted(script) as up:
        text = config_text(
            upstream(up.url),
            key("local", LOCAL, ELSEWHERE),
            key("spoofed", SPOOFED, "203.0.113.7"),
            server=f'trusted_proxies = ["{HERE}/32"]',
        )
        async with gateway(text) as front:
            with running(proxy(directory, port, front.address[1]), directory) as process:

                async def connect():
                    wire = await Wire.open((HERE, port), local_addr=(ELSEWHERE, 0))
                    return front.keep(wire)

                async with asyncio.timeout(15):
                    while True:
                        assert process.poll() is None, (directory / "out").read_text()
                        try:
                            (await connect()).leave()
                        except ConnectionRefusedError:
                            await asyncio.sleep(0.02)
                        else:
                            break
                # uvloop waits where the tests' own time limit does not reach it.
                async with asyncio.timeout(20):
                    yield front, connect


@pytest.mark.parametrize("proxy", PROXIES)
async def test_each_token_arrives_before_the_next_one_is_made(proxy, tmp_path):
    seen = asyncio.Semaphore(0)
    words = [f"token {number} " for number in range(5)]

    async def script(reader, writer, request):
        writer.write(spoken.HEAD + spoken.chunk(spoken.metadata("openai-chat")))
        for word in words:
            writer.write(spoken.chunk(spoken.text("openai-chat", word)))
            await seen.acquire()
        writer.write(spoken.chunk(spoken.end("openai-chat")) + spoken.LAST)

    async with behind(proxy, script, tmp_path) as (_, connect):
        wire = await connect()
        body = encoded(body_of("chat", stream=True))
        wire.send(request("POST", PATHS["chat"], body, authorization=BEARER))
        status, headers = await wire.head()
        assert (status, headers["content-type"][:17]) == (200, "text/event-stream")
        for word in words:
            frame = await wire.frame()
            while word.encode() not in frame:
                frame += await wire.frame()
            seen.release()
        rest = b""
        while piece := await wire.chunk():
            rest += piece
        assert rest.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("proxy", PROXIES)
async def test_the_address_is_the_clients_own_and_not_what_it_says_of_itself(proxy, tmp_path):
    async def script(reader, writer, request):
        writer.write(spoken.told("openai-chat"))

    async with behind(proxy, script, tmp_path) as (_, connect):
        for token, status in ((LOCAL, 200), (SPOOFED, 403)):
            wire = await connect()
            answered = await wire.post(
                PATHS["chat"],
                body_of("chat"),
                authorization=f"Bearer {token}",
                x_forwarded_for="203.0.113.7",
            )
            assert answered.status == status


@pytest.mark.parametrize("proxy", PROXIES)
async def test_a_body_within_our_limit_passes_and_a_larger_one_is_refused_in_our_words(
    proxy, tmp_path
):
    async def script(reader, writer, request):
        writer.write(spoken.told("openai-chat"))

    async with behind(proxy, script, tmp_path) as (_, connect):
        wire = await connect()
        answered = await wire.post(
            PATHS["chat"], chat_body("up/m", "x" * (20 << 20)), authorization=BEARER
        )
        assert answered.status == 200
        wire = await connect()
        # Sent whole: Caddy passes an early answer on only when the client goes on sending.
        answered = await wire.post(
            PATHS["chat"], chat_body("up/m", "x" * (33 << 20)), authorization=BEARER
        )
        assert (answered.status, answered.error["type"]) == (413, "invalid_request_error")


@pytest.mark.parametrize("proxy", PROXIES)
async def test_a_client_that_leaves_ends_the_call(proxy, tmp_path):
    left = asyncio.Event()

    async def script(reader, writer, request):
        writer.write(spoken.HEAD + spoken.chunk(spoken.text("openai-chat", "Hi")))
        await reader.read()
        left.set()

    async with behind(proxy, script, tmp_path) as (front, connect):
        wire = await connect()
        body = encoded(body_of("chat", stream=True))
        wire.send(request("POST", PATHS["chat"], body, authorization=BEARER))
        await wire.head()
        await wire.frame()
        wire.leave()
        async with asyncio.timeout(10):
            await left.wait()
        await settled(lambda: not front.running.gateway.calls)
        assert (await front.last())["error_type"] == "cancelled"


@pytest.mark.parametrize("proxy", PROXIES)
async def test_connections_to_us_are_kept(proxy, tmp_path):
    async def script(reader, writer, request):
        writer.write(spoken.told("openai-chat"))

    async with behind(proxy, script, tmp_path) as (front, connect):
        for _ in range(5):
            wire = await connect()
            assert (
                await wire.post(PATHS["chat"], body_of("chat"), authorization=BEARER)
            ).status == 200
            wire.leave()
        assert len(front.running._servers[0].connections) == 1
