"""A gateway in this process, in front of whatever a test names as its upstreams."""

from __future__ import annotations

import json
import logging
import os
import ssl
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from proxy.app.assembly import start
from proxy.app.running import Running
from proxy.config import admin_socket, key_hash, loads
from proxy.log import Log
from tests.integration.scripted import Scripted, settled
from tests.integration.wire import Answered, Wire, request

KEY = "sk-splice-the-key-of-the-tests"
OTHER_KEY = "sk-splice-another-key-of-the-tests"
BEARER = f"Bearer {KEY}"
SECRET = "sk-upstream-secret"
"""The credential of every account that ``upstream`` makes."""

SWEEP = 0.02
"""Seconds between looks at the running calls; the daemon looks less often."""

# The system's certificates take longer to read than most tests to run, and no test needs them.
_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

DIALECTS = ("openai-chat", "openai-responses", "anthropic", "gemini")
_AUTH = {"anthropic": "x-api-key", "gemini": "x-goog-api-key"}


def upstream(url: str, dialect: str = "openai-chat", name: str = "up", **provider: str) -> str:
    """Return the tables of a provider at ``url`` and its one account; its models are ``name/…``.

    Further keywords are lines of the provider's table, as in ``flags="{ official = true }"``.
    """
    lines = "".join(f"{key} = {value}\n" for key, value in provider.items())
    return (
        f'[providers.{name}]\ndialects = ["{dialect}"]\nbase_url = "{url}"\n'
        f'auth = "{_AUTH.get(dialect, "bearer")}"\n{lines}' + account(name, name)
    )


def account(name: str, provider: str, **options: str) -> str:
    """Return the table of an account of ``provider``."""
    lines = "".join(f"{key} = {value}\n" for key, value in options.items())
    return f'[[accounts]]\nname = "{name}"\nprovider = "{provider}"\napi_key = "{SECRET}"\n{lines}'


def config_text(*tables: str, **sections: str) -> str:
    """Return a configuration of ``tables``; a section is given as its lines, as in ``retry="attempts = 1"``."""
    sections.setdefault("server", "")
    if "listen =" not in sections["server"]:
        sections["server"] = 'listen = ["127.0.0.1:0"]\n' + sections["server"]
    sections.setdefault("admin", "listen = []")
    sections.setdefault("state", 'directory = "state"')
    keys = "".join(
        f'[[keys]]\nname = "{name}"\nhash = "sha256:{key_hash(key)}"\n'
        for name, key in (("tester", KEY), ("another", OTHER_KEY))
    )
    written = "".join(f"[{name}]\n{lines}\n" for name, lines in sections.items())
    return "\n".join([written, *tables, keys])


class Gateway:
    """A running gateway: where it is, and what it has logged."""

    def __init__(self, running: Running, log: Log, descriptor: int, path: Path) -> None:
        self.running = running
        self.path = path
        """The file of its configuration."""
        self._log, self._descriptor = log, descriptor
        self._wires: list[Wire] = []

    @property
    def address(self) -> tuple[str, int] | str:
        return self.running.addresses[0]

    @property
    def url(self) -> str:
        assert not isinstance(self.address, str)
        host, port = self.address
        return f"http://{host}:{port}"

    @property
    def socket(self) -> str:
        """The path of its admin socket."""
        return str(admin_socket(self.running.gateway.config.state.directory, {}))

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Every line of the log so far."""
        self._log.flush()
        written = os.pread(self._descriptor, 1 << 26, 0)
        return [json.loads(line) for line in written.splitlines()]

    async def requests(self, count: int = 1) -> list[dict[str, Any]]:
        """Wait until ``count`` requests have ended; return their log lines."""

        def ended() -> list[dict[str, Any]]:
            return [line for line in self.lines if line["msg"] == "request"]

        await settled(lambda: len(ended()) >= count)
        return ended()

    async def last(self, count: int = 1) -> dict[str, Any]:
        """Wait until ``count`` requests have ended; return the last one's log line."""
        return (await self.requests(count))[-1]

    async def wire(self, **options: Any) -> Wire:
        """Return a new connection to it."""
        return self.keep(await Wire.open(self.address, **options))

    def keep(self, wire: Wire) -> Wire:
        """Close ``wire`` when the test is over."""
        self._wires.append(wire)
        return wire

    async def admin(self, method: str, path: str, **headers: str) -> Answered:
        """Ask the admin API at ``/api/v1/path``, over its socket."""
        wire = self.keep(await Wire.open(self.socket))
        wire.send(request(method, f"/api/v1/{path}", b"", **{"host": "", **headers}))
        return await wire.answer()

    async def post(self, path: str, body: object, **headers: str) -> Answered:
        """Send one request with the tests' key on a connection of its own; return the answer, read whole."""
        wire = await self.wire()
        return await wire.post(path, body, **{"authorization": BEARER, **headers})

    async def get(self, path: str, method: str = "GET", **headers: str) -> Answered:
        """The same without a body."""
        wire = await self.wire()
        wire.send(request(method, path, b"", **{"authorization": BEARER, **headers}))
        return await wire.answer(bodiless=method == "HEAD")

    async def chat(self, model: str = "up/m", said: str = "Hi", **fields: Any) -> Answered:
        return await self.post("/v1/chat/completions", chat_body(model, said, **fields))

    async def messages(self, model: str = "up/m", said: str = "Hi", **fields: Any) -> Answered:
        return await self.post("/v1/messages", messages_body(model, said, **fields))

    async def ask(self, surface: str, **fields: Any) -> Answered:
        """Ask in the dialect of ``surface``, ``"chat"`` or ``"messages"``."""
        return await (self.chat if surface == "chat" else self.messages)(**fields)

    def close(self) -> None:
        for wire in self._wires:
            wire.leave()


PATHS = {"chat": "/v1/chat/completions", "messages": "/v1/messages"}


def body_of(surface: str, model: str = "up/m", said: str = "Hi", **fields: Any) -> dict[str, Any]:
    return (chat_body if surface == "chat" else messages_body)(model, said, **fields)


def chat_body(model: str = "up/m", said: str = "Hi", **fields: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": said}], **fields}


def messages_body(model: str = "up/m", said: str = "Hi", **fields: Any) -> dict[str, Any]:
    return {"max_tokens": 4096, **chat_body(model, said, **fields)}


def _written(text: str, directory: Path) -> Path:
    path = directory / "config.toml"
    path.write_text(text)
    return path


@asynccontextmanager
async def gateway(
    text: str,
    environ: Mapping[str, str] | None = None,
    directory: Path | None = None,
    *,
    path: Path | None = None,
    census: bool = False,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Gateway]:
    """Run a gateway of the configuration ``text``, whose relative paths are in ``directory``: by default one of its own.

    ``path`` is where it would be read from if it were read again, ``tls`` whom it trusts upstream, by default nobody. ``census``: it
    asks its upstreams for their models, as no script expects it to.
    """
    with (
        tempfile.TemporaryFile() as written,
        tempfile.TemporaryDirectory(prefix="splice-") as own,
    ):
        log = Log(written.fileno(), level="debug", form="json", now=time.time)
        path = path or _written(text, directory or Path(own))
        config = loads(text, path, environ or {})
        root = logging.getLogger()
        handlers, level = root.handlers[:], root.level
        running = await start(
            config, log, environ or {}, sweep=SWEEP, census=census, tls=tls or _TLS
        )
        found = Gateway(running, log, written.fileno(), path)
        try:
            yield found
        finally:
            found.close()
            await running.drain(0)
            await running.close()
            root.handlers, root.level = handlers, level
            for line in found.lines:
                print(line)  # noqa: T201 - shown where a test fails
        broken = [line for line in found.lines if line["level"] == "error"]
    assert not broken, broken[:3]


@asynccontextmanager
async def in_front_of(
    script: Any, dialect: str = "openai-chat", **sections: str
) -> AsyncIterator[tuple[Gateway, Scripted]]:
    """Run a gateway in front of one scripted upstream that speaks ``dialect``, with models ``up/…``."""
    async with (
        Scripted(script) as up,
        gateway(config_text(upstream(up.url, dialect), **sections)) as front,
    ):
        yield front, up
