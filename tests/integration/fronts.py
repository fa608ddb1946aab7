"""Reverse proxies as processes of their own, configured with the very lines of docs/install.md."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from bench.processes import free_ports
from proxy.config import key_hash
from tests.integration.gateway import Gateway, config_text, gateway
from tests.integration.wire import Wire

GUIDE = Path(__file__).parents[2] / "docs" / "install.md"
HERE, ELSEWHERE = "127.0.0.1", "127.0.0.2"
"""Where the proxy calls from, and where the client does."""

Front = Callable[[Path, int, int], list[str]]
"""Writes a proxy's configuration into a directory, from a port to the gateway's; returns the command that runs it."""
Connect = Callable[[], Awaitable[Wire]]

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
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def _snippet(language: str) -> str:
    (found,) = re.findall(
        rf"^```{language}\n(.*?)^```$", GUIDE.read_text(), re.MULTILINE | re.DOTALL
    )
    return str(found)


def _replaced(text: str, *pairs: tuple[str, str]) -> str:
    for found, put in pairs:
        assert text.count(found) == 1, found
        text = text.replace(found, put)
    return text


def nginx(directory: Path, port: int, behind: int) -> list[str]:
    text = _replaced(
        re.sub(r"^ *ssl_.*\n", "", _snippet("nginx"), flags=re.MULTILINE),
        ("listen 443 ssl http2;", f"listen {HERE}:{port};"),
        ("server 127.0.0.1:8080;", f"server {HERE}:{behind};"),
    )
    config = directory / "nginx.conf"
    config.write_text(_AROUND.format(directory=directory, snippet=text))
    return ["nginx", "-e", str(directory / "error"), "-c", str(config)]


def caddy(directory: Path, port: int, behind: int) -> list[str]:
    text = _replaced(
        _snippet("caddyfile"),
        ("llm.example.com", f"http://:{port}"),
        ("127.0.0.1:8080", f"{HERE}:{behind}"),
    )
    config = directory / "Caddyfile"
    config.write_text(f"{{\n\tadmin off\n\tauto_https off\n\tdefault_bind {HERE}\n}}\n" + text)
    return ["caddy", "run", "--adapter", "caddyfile", "--config", str(config)]


def haproxy(directory: Path, port: int, behind: int) -> list[str]:
    text = _replaced(
        re.sub(r" ssl crt \S+ alpn \S+", "", _snippet("haproxy")),
        ("bind :443", f"bind {HERE}:{port}"),
        ("127.0.0.1:8080", f"{HERE}:{behind}"),
    )
    config = directory / "haproxy.cfg"
    config.write_text(text)
    return ["haproxy", "-db", "-f", str(config)]


PROXIES = [
    pytest.param(
        proxy,
        id=proxy.__name__,
        marks=pytest.mark.skipif(
            shutil.which(proxy.__name__, path=_PATH) is None,
            reason=f"there is no {proxy.__name__} here (Debian: apt install {package})",
        ),
    )
    for proxy, package in ((nginx, "nginx-light"), (caddy, "caddy"), (haproxy, "haproxy"))
]


def key_from(name: str, token: str, address: str) -> str:
    """Return the table of a key that may be used from ``address`` only."""
    return f'[[keys]]\nname = "{name}"\nhash = "sha256:{key_hash(token)}"\nallow_ip = ["{address}/32"]\n'


@contextmanager
def _running(command: list[str], directory: Path) -> Iterator[subprocess.Popen[bytes]]:
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


@asynccontextmanager
async def behind(
    proxy: Front, directory: Path, *tables: str, within: float = 20
) -> AsyncIterator[tuple[Gateway, Connect]]:
    """Run a gateway with ``tables`` behind ``proxy``; yield it, and a function that connects to the proxy from elsewhere."""
    (port,) = free_ports(1)
    async with gateway(config_text(*tables, server=f'trusted_proxies = ["{HERE}/32"]')) as front:
        assert not isinstance(front.address, str)
        with _running(proxy(directory, port, front.address[1]), directory) as process:

            async def connect() -> Wire:
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
            async with asyncio.timeout(within):
                yield front, connect
