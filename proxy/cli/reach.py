"""The way to each configured provider: its name, TLS, and the time it tells. No credential is sent."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from proxy import __version__
from proxy.cli.findings import Finding, Level
from proxy.config import Config
from proxy.upstream.connections import ConnectFailed, Connections, Origin, request_bytes
from proxy.upstream.http1 import Failure

_PATIENCE = 5.0
"""Seconds to connect, and then for the head of an answer."""
_ADVICE = "look at DNS, the firewall, IPAddressDeny= of the unit, ca-certificates, and base_url"


@dataclass(frozen=True, slots=True)
class Reached:
    """One origin. ``offset`` is by how many seconds this clock is ahead of its; None if it did not tell."""

    finding: Finding
    offset: float | None = None


async def providers(config: Config, patience: float = _PATIENCE) -> list[Reached]:
    """Go to the origin of every account, all at once."""
    origins: dict[Origin, str] = {}
    for account in config.accounts:
        provider = config.providers[account.provider]
        for dialect in provider.dialects:
            url = provider.url(dialect, "/", account.base_url)
            origins.setdefault(Origin.of(url, account.proxy), account.provider)
    connections = Connections(connect_timeout=patience)
    try:
        ways = [_reach(origin, name, connections, patience) for origin, name in origins.items()]
        return await asyncio.gather(*ways)
    finally:
        connections.close()


async def _reach(
    origin: Origin, provider: str, connections: Connections, patience: float
) -> Reached:
    what = f"provider {provider}"
    started = time.monotonic()
    try:
        connection = await connections.acquire(origin, patience, fresh=True)
    except ConnectFailed as failed:
        return Reached(Finding(what, Level.FAIL, failed.detail, _ADVICE))
    took = time.monotonic() - started
    trusted = ", the certificate is trusted" if origin.scheme == "https" else ""
    finding = Finding(what, Level.OK, f"{origin} after {took * 1e3:.0f} ms{trusted}")
    heard = _Head()
    agent = [(b"User-Agent", f"splice/{__version__}".encode())]
    connection.send(request_bytes(b"GET", b"/", origin.host_header, agent, b""), heard)
    try:
        async with asyncio.timeout(patience):
            date = await heard.date
    except TimeoutError:
        date = b""
    finally:
        connection.abort()
    return Reached(finding, _offset(date, time.time()))


def _offset(date: bytes, now: float) -> float | None:
    """Return how far ``now`` is ahead of a Date header, which tells whole seconds; None if that is none."""
    try:
        told = parsedate_to_datetime(date.decode("latin-1")).timestamp()
    except (ValueError, OverflowError):
        return None
    return now - told - 0.5


class _Head:
    """A receiver that waits for the head of an answer, and its Date."""

    def __init__(self) -> None:
        self.date: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def head(self, status: int, headers: dict[bytes, bytes]) -> None:  # noqa: ARG002 - any answer has a date
        self._heard(headers.get(b"date", b""))

    def body(self, data: bytes) -> None:
        """Nobody reads it."""

    def complete(self) -> None:
        """The head has told everything."""

    def failed(self, failure: Failure) -> None:  # noqa: ARG002 - it was reached, and that is what counts
        self._heard(b"")

    def _heard(self, date: bytes) -> None:
        if not self.date.done():
            self.date.set_result(date)
