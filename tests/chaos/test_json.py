"""Bodies that are JSON, almost JSON, or JSON without end, on every route: a 400 that says where, never a 5xx, and the next client is served."""

from __future__ import annotations

import json
from collections import Counter
from itertools import cycle
from typing import Any

import pytest

from tests.chaos.amount import AMOUNT, FIGURES
from tests.chaos.documents import Case, around, deep, huge, values
from tests.chaos.everywhere import ROUTES, Route, everywhere
from tests.chaos.four import leaks
from tests.chaos.stalls import Stalls
from tests.integration.gateway import BEARER, Gateway
from tests.integration.scripted import Scripted, settled
from tests.integration.wire import Answered, Wire, encoded

HUGE = (2 << 20) if AMOUNT.is_short else (31 << 20)
PLACE = (
    "line ", "nested deeper", "expected a JSON object", "backslash", "objects and arrays", "stands twice",
)  # fmt: skip
"""Of these words a refusal of the document has one."""


def inside(route: Route, provider: str, value: bytes) -> bytes:
    """Return a request of ``route`` with ``value`` as a member that the gateway has no use for."""
    good = encoded(route.body(f"{provider}/m", "Hi"))
    return good[:-1] + b',"splice_odd":' + value + b"}"


class Asking:
    """One connection to one route, and what was said on it."""

    def __init__(self, front: Gateway, up: Scripted, route: Route) -> None:
        self._front, self._up, self._route = front, up, route
        self._wire: Wire | None = None
        self.seen: Counter[str] = Counter()

    async def ask(self, body: bytes, provider: str) -> Answered:
        """Send ``body``; if the answer lets the connection live, it must serve the next request."""
        if self._wire is None:
            self._wire = await self._front.wire(limit=1 << 26)
        path = self._route.path(f"{provider}%2Fm")
        answered = await self._wire.post(path, body, authorization=BEARER)
        if answered.headers.get("connection") == "close":
            # It would read on for a while, and throw away what comes.
            self._wire.leave()
            self._wire = None
        self.seen[str(answered.status)] += 1
        return answered

    async def works(self) -> None:
        good = encoded(self._route.body(f"{self._route.native}/m", "Hi"))
        assert (await self.ask(good, self._route.native)).status == 200

    def forwarded(self, before: int) -> list[bytes]:
        return [one.body for one in self._up.requests[before:]]


def refused(answered: Answered, case: Case) -> None:
    assert answered.status == 400, (case.name, answered)
    assert any(word in answered.error["message"] for word in PLACE), (case.name, answered.error)


def strictly(body: bytes) -> Any:
    """Return the JSON of ``body`` by another parser than ours, which takes no NaN here."""

    def no(word: str) -> None:
        raise AssertionError(f"{word} was sent on")

    return json.loads(body, parse_constant=no)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
async def test_documents_that_are_almost_json(route):
    async with everywhere() as (front, up):
        asking = Asking(front, up, route)
        providers = cycle(route.providers)
        with Stalls() as stalls:
            for case in values():
                for provider in route.providers if not AMOUNT.is_short else next(providers):
                    body = inside(route, provider, case.value)
                    before = len(up.requests)
                    answered = await asking.ask(body, provider)
                    sent = asking.forwarded(before)
                    assert answered.status < 500, (case.name, provider, answered)
                    if case.kind == "n":
                        refused(answered, case)
                        assert not sent, case.name
                    elif case.kind == "y":
                        assert answered.status == 200, (case.name, provider, answered)
                    for one in sent:
                        strictly(one)
                        if provider == route.native:
                            assert case.value in one, case.name
            good = encoded(route.body(f"{route.native}/m", "Hi"))
            for case in around(good):
                answered = await asking.ask(case.value, route.native)
                if case.kind == "n":
                    refused(answered, case)
                else:
                    assert answered.status == 200, case.name
            await asking.works()
        await settled(lambda: not leaks(front))
    FIGURES.append(
        f"JSON on {route.name}: {sum(asking.seen.values())} bodies, {dict(asking.seen)}, longest hold of the loop "
        f"{stalls.longest * 1e3:.1f} ms of CPU"
    )


@pytest.mark.timeout(600)
@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
async def test_documents_without_end(route):
    """The client runs in the same loop, so the time to hand a body over is in the figure, too."""
    held: dict[str, float] = {}
    async with everywhere() as (front, up):
        asking = Asking(front, up, route)
        for case in (*deep(long=not AMOUNT.is_short), *huge(HUGE)):
            with Stalls() as stalls:
                answered = await asking.ask(case.value, route.native)
            held[case.name] = stalls.longest
            assert answered.status < 500, (case.name, answered)
            if case.kind == "n":
                refused(answered, case)
        await asking.works()
        await settled(lambda: not leaks(front))
    worst = sorted(held.items(), key=lambda one: -one[1])[:6]
    told = ", ".join(f"{name} {seconds * 1e3:.0f} ms" for name, seconds in worst)
    FIGURES.append(f"huge on {route.name} ({HUGE >> 20} MiB): {dict(asking.seen)}; {told}")
