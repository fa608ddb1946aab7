"""A client's body that is not read whole: as much of its beginning as says where it goes, and the rest as it comes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import cast

from aiohttp import web

from proxy.dialects.form import Form
from proxy.errors import GatewayError, Kind, invalid
from proxy.server.body import CRUMBS, TICK, Pace, ask_for_body, check_head, too_large
from proxy.server.guard import Guard

FIRST = 256 * 1024
"""Bytes that are read before an account is asked. A body that ends within them can be sent again, to another account."""


class Upload:
    """``open``, then ``opening`` for each account that is asked, then ``read`` until it brings nothing."""

    def __init__(
        self,
        request: web.BaseRequest,
        form: Form | None,
        *,
        limit: int,
        now: Callable[[], float],
    ) -> None:
        """``limit`` is how many bytes the body may have. ``form`` reads along."""
        self.length: int | None = None
        self.begun = False
        self.ended = False
        self.form = form
        self.check: Callable[[], Awaitable[None]] | None = None
        """Looks at what has come before it goes on."""
        self._request = request
        self._limit = limit
        self._now = now
        self._first = b""
        self._total = 0
        self._pace = Pace()
        self._waited = 0.0

    async def open(self, most: int, wanted: Collection[str] = ()) -> None:
        """Read the beginning: until the form's ``wanted`` fields have come, of which ``most`` bytes are looked through.

        Raises the 400 if a field of these comes later than that.
        """
        request = self._request
        check_head(request, self._limit)
        ask_for_body(request)
        parts: list[bytes] = []
        while self._total < FIRST or (self._total < most and not self._has(wanted)):
            data = await self._next()
            if not data:
                break
            parts.append(data)
        self._first = b"".join(parts)
        length = request.content_length
        self.length = None if length is None else length - self._total

    def _has(self, wanted: Collection[str]) -> bool:
        return self.form is None or all(name in self.form.fields for name in wanted)

    def opening(self, model: str | None) -> bytes:
        """Return what has been read, asking for ``model`` where the form names another."""
        at = self.form.at.get("model") if self.form is not None else None
        if at is None or model is None:
            return self._first
        start, end = at
        return self._first[:start] + model.encode() + self._first[end:]

    async def read(self) -> bytes:
        """Return the next bytes; none at the end. Raises GatewayError."""
        self.begun = True
        before = len(self.form.fields) if self.form is not None else 0
        data = await self._next()
        if self.form is not None and len(self.form.fields) > before:
            name = list(self.form.fields)[-1]
            if name == "purpose":
                return await self._checked(data)
            # An account is at work on it already.
            raise invalid(
                name, f"`{name}` comes behind a large file in the form: put it in front of it."
            )
        return await self._checked(data)

    async def _checked(self, data: bytes) -> bytes:
        if self.check is not None:
            await self.check()
        return data

    async def _next(self) -> bytes:
        content, guard = self._request.content, cast(Guard, self._request.protocol)
        data = b""
        while not data and not content.at_eof():
            began = self._now()
            try:
                async with asyncio.timeout(TICK):
                    data = await content.readany()
            except TimeoutError:
                pass
            self._waited += self._now() - began
            if self._waited >= TICK:
                # An upstream that does not take more is not the client's fault: only waiting for the client counts.
                self._waited = 0.0
                if self._pace.is_too_slow(content.total_bytes):
                    raise GatewayError(
                        Kind.SLOW_BODY,
                        "The body comes too slowly: less than 16 KiB a second for 30 seconds.",
                    )
        broken = content.exception()
        if broken is not None:
            raise broken
        self._total += len(data)
        if self._total > self._limit:
            raise too_large(self._limit)
        if guard.body_wire > 2 * content.total_bytes + CRUMBS:
            raise GatewayError(
                Kind.BODY_TOO_LARGE, "The body comes in chunks that are smaller than their framing."
            )
        if self.form is not None:
            self.form.feed(data) if data else self.form.close()
        if not data:
            self.ended = True
        return data
