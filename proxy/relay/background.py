"""A response that its provider works on in the background: looked after until it has ended, because only then is its usage told.

The client has its answer, ``queued``, and may never ask again; what was used is billed all the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import orjson

from proxy.errors import GatewayError, Kind
from proxy.relay.means import Means
from proxy.routing.seat import Seat
from proxy.upstream.probe import Heard, ask, fault

FIRST, LAST = 1.0, 15.0
"""Seconds between two looks, which grow: most are over in a minute, and some take an hour."""
_GROWTH = 1.5
LONGEST = 24 * 3600.0
"""Seconds. OpenAI gives none of them that long."""
UNHEARD = 1800.0
"""Seconds without an answer after which nobody asks any more."""
_PATIENCE = 30.0
_MOST = 32 * 1024 * 1024
_PENDING = frozenset(("queued", "in_progress"))


class Watch:
    """What happens around such a call: ``answered`` is set when the client has its answer, which is called ``name``.

    ``over``: nobody may wait any more.
    """

    __slots__ = ("_looked", "_stirred", "answered", "name", "over")

    def __init__(self) -> None:
        self.answered = asyncio.Event()
        self.name = ""
        self.over = False
        self._looked = asyncio.Event()
        self._stirred = asyncio.Event()

    def end(self) -> None:
        """Wait no longer."""
        self.over = True
        self._stirred.set()

    async def look(self) -> None:
        """Have it looked at now; return when that was done."""
        self._looked.clear()
        self._stirred.set()
        await self._looked.wait()

    async def pause(self, seconds: float) -> bool:
        """Wait until somebody wants something, and for ``seconds`` at most; tell whether they have passed."""
        try:
            async with asyncio.timeout(seconds):
                await self._stirred.wait()
        except TimeoutError:
            return True
        self._stirred.clear()
        return False

    def looked(self) -> None:
        """Note that it was looked at, whatever was seen."""
        self._looked.set()


def pending(document: bytes) -> str | None:
    """Return the id of the response that ``document`` is if it has not ended, else None."""
    try:
        response = orjson.loads(document)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(response, dict) or response.get("status") not in _PENDING:
        return None
    name = response.get("id")
    return name if isinstance(name, str) and name.replace("_", "").isalnum() else None


async def ended(
    means: Means, seat: Seat, watch: Watch, now: Callable[[], float]
) -> dict[str, Any] | None:
    """Wait until the response of ``watch`` has ended; return it as it is then.

    None: nobody will know, since it is gone, its provider does not answer, or the watch is over.
    """
    began = heard = now()
    pause = FIRST
    while now() - began < LONGEST and now() - heard < UNHEARD:
        if await watch.pause(pause):
            pause = min(pause * _GROWTH, LAST)
        if watch.over:
            return None
        try:
            found = await _look(means, seat, watch.name)
        except GatewayError as error:
            if error.kind is Kind.NOT_FOUND:
                return None
            continue
        finally:
            watch.looked()
        heard = now()
        if found.get("status") not in _PENDING:
            return found
    return None


async def _look(means: Means, seat: Seat, name: str) -> dict[str, Any]:
    url = seat.provider.url("openai-responses", f"/v1/responses/{name}", seat.account.base_url)
    heard = Heard(means.loop, _MOST)
    await ask(
        url,
        seat.account,
        seat.provider,
        means.connections,
        heard,
        _PATIENCE,
        _PATIENCE,
        means.ways.agent,
    )
    error = fault(heard)
    if error is not None:
        raise error
    try:
        found = orjson.loads(heard.text)
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        raise GatewayError(Kind.MALFORMED, evidence="a stored response that is no JSON")
    return found
