"""Requests that two readers may take for different ones, direct and behind proxies: nobody gets an answer to what another asked."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import cast

import pytest

from proxy.server.guard import Guard
from tests.chaos.amount import AMOUNT, FIGURES
from tests.chaos.forged import ROLES, Reading, marked, marker
from tests.chaos.four import leaks
from tests.chaos.smuggled import Variant, pieces, variants
from tests.integration import spoken
from tests.integration.fronts import ELSEWHERE, HERE, PROXIES, Connect, behind, key_from
from tests.integration.gateway import BEARER, Gateway, config_text, gateway, upstream
from tests.integration.scripted import Scripted, settled
from tests.integration.wire import Wire

VARIANTS = int(os.environ.get("SPLICE_CHAOS_VARIANTS", "310" if AMOUNT.is_short else "3100"))
CLIENTS = 8
QUIET = 0.15
"""Seconds without a byte after which a connection is taken to wait for more of the request."""
PATIENCE = 10.0
_SAYS_CLOSE = b"\nconnection: close\r\n"
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})")
_MARK = re.compile(rb"(?:%b)-\d{6}" % b"|".join(role.encode() for role in ROLES))

ONLY_HERE = "sk-splice-for-the-proxy-alone"
"""A key that is good where the proxy has added no client's address: for requests that it did not see as such."""


@dataclass(slots=True)
class Trial:
    """What came of the variants so far."""

    front: Gateway
    connect: Connect
    seed: int
    asked: Counter[str]
    """Markers of the requests that have reached the upstream."""
    is_direct: bool
    statuses: Counter[str] = field(default_factory=Counter)
    desyncs: list[tuple[Variant, str]] = field(default_factory=list)
    stalls: int = 0
    """Ordinary requests that the proxy has kept, or answered with a 502 of its own."""

    async def client(self, wanted: Iterator[Variant]) -> None:
        """Send variants one after the other, and after each somebody else's request on a connection of their own."""
        victim = await self.connect()
        for variant in wanted:
            rng = random.Random(f"{self.seed} {variant.number} pieces")
            follow = marked("follow", variant.number)
            sent = pieces(rng, variant.data, follow)
            is_refused = self.is_direct and variant.reading is Reading.refused
            patience = PATIENCE if is_refused else QUIET
            last = marker("follow", variant.number)
            said, closed = await self._exchange(sent, last, patience)
            self._judge(variant, said, closed=closed)
            victim = await self._victim(victim, variant)
        victim.leave()

    async def _exchange(self, sent: list[bytes], last: str, patience: float) -> tuple[bytes, bool]:
        """Return what comes back, and whether the connection was closed at its end."""
        wire = await self.connect()
        said = b""
        try:
            for piece in sent:
                if wire.writer.is_closing():
                    break
                wire.send(piece)
                await asyncio.sleep(0.002 if piece is not sent[-1] else 0)
            while last.encode() not in said:
                async with asyncio.timeout(patience):
                    data = await wire.reader.read(65536)
                if _SAYS_CLOSE in data.lower():
                    patience = QUIET
                if not data:
                    return said, True
                said += data
        except TimeoutError:
            return said, False
        except ConnectionError:
            return said, True
        finally:
            wire.leave()
        return said, False

    def _judge(self, variant: Variant, said: bytes, *, closed: bool) -> None:
        statuses = [status.decode() for status in _STATUS.findall(said) if status != b"100"]
        self.statuses.update(statuses or ["none"])
        found = [mark.decode() for mark in _MARK.findall(said)]
        roles = [mark.rpartition("-")[0] for mark in found]
        if any(
            mark != marker(role, variant.number) for mark, role in zip(found, roles, strict=True)
        ):
            self.desyncs.append((variant, f"an answer to somebody else: {found}"))
        wanted = ["carrier", "second", "third", "follow"]
        if variant.reading is Reading.open and self.is_direct:
            wanted.insert(3, "hidden")
        if roles != [role for role in wanted if role in roles]:
            self.desyncs.append((variant, f"answers out of order: {roles}"))
        if not (self.is_direct and variant.reading is Reading.refused):
            return
        # A reset, because of what still comes and is not read, may overtake the answer; and before it closes the gateway
        # waits a little for the client to do so.
        is_end = closed or _SAYS_CLOSE in said.lower()
        if roles or len(statuses) > 1 or any(one < "400" for one in statuses) or not is_end:
            why = f"not refused: {statuses} {roles} closed {is_end}"
            self.desyncs.append((variant, why))

    async def _victim(self, wire: Wire, variant: Variant) -> Wire:
        wire.send(marked("victim", variant.number))
        try:
            async with asyncio.timeout(PATIENCE):
                answered = await wire.answer()
        except TimeoutError:
            asked = self.asked[marker("victim", variant.number)]
            if self.is_direct or asked or await self._is_stuck():
                self.desyncs.append((variant, "somebody else waits for an answer"))
            self.stalls += 1
            wire.leave()
            return await self.connect()
        except (ConnectionError, asyncio.IncompleteReadError) as error:
            self.desyncs.append((variant, f"somebody else got no answer: {error!r}"))
            wire.leave()
            return await self.connect()
        wanted = marker("victim", variant.number)
        if answered.status == 502 and "x-request-id" not in answered.headers and not self.is_direct:
            # The proxy's own: it wrote on a connection that was just being closed. It is counted, and is nobody's answer.
            self.stalls += 1
        elif answered.status != 200 or answered.text != wanted:
            self.desyncs.append((variant, f"somebody else got {answered}"))
        if answered.headers.get("connection") == "close":
            wire.leave()
            return await self.connect()
        return wire

    async def _is_stuck(self) -> bool:
        """Tell whether a request is on its way in, or in the gateway, and stays there: those of the others end at once."""
        before = self._unanswered()
        await asyncio.sleep(1)
        return bool(before & self._unanswered())

    def _unanswered(self) -> set[tuple[int, int]]:
        guards = [cast(Guard, one) for one in self.front.running._servers[0].connections]
        # One that is closing only waits for its client to do so.
        return {(id(one), one._request_count) for one in guards if one.busy and not one._close}

    async def run(self, corpus: list[Variant], name: str) -> None:
        """Try all; nothing may be held afterwards, and no answer of the gateway be a 5xx."""
        wanted = iter(corpus)
        await asyncio.gather(*(self.client(wanted) for _ in range(CLIENTS)))
        await settled(partial(_is_quiet, self.front))
        exempt = {marker("hidden", one.number) for one in corpus if one.reading is Reading.open}
        hidden = [
            one
            for one in corpus
            if marker("hidden", one.number) in self.asked
            and not (self.is_direct and marker("hidden", one.number) in exempt)
        ]
        self.desyncs += [(one, "the hidden request reached the upstream") for one in hidden]
        ours = [line for line in self.front.lines if line["msg"] == "request"]
        failures = [line for line in ours if line["status"] >= 500]
        told = ", ".join(f"{status} {count}" for status, count in sorted(self.statuses.items()))
        FIGURES.append(
            f"smuggling, {name}: seed {self.seed}, {len(corpus)} variants, {len(self.desyncs)} desyncs, "
            f"{self.stalls} not answered by the proxy's fault, "
            f"{len(failures)} 5xx of ours; answers: {told}"
        )
        assert not self.desyncs, "\n".join(
            f"{why}\n  {one.family} {one.number}: {one.data!r}" for one, why in self.desyncs[:12]
        )
        assert not failures, failures[:3]


def _is_quiet(front: Gateway) -> bool:
    return not leaks(front)


def echo(asked: Counter[str]) -> Scripted:
    """Return an upstream that answers with the prompt, which is the marker of whoever asked, and counts those."""

    async def script(reader, writer, request):
        said = json.loads(request.body)["messages"][-1]["content"]
        asked[said] += 1
        writer.write(spoken.told("openai-chat", said))

    return Scripted(script)


@pytest.mark.timeout(60 + VARIANTS)
async def test_no_reading_of_a_request_finds_another_one_in_it():
    asked: Counter[str] = Counter()
    async with (
        echo(asked) as up,
        gateway(config_text(upstream(up.url), key_from("spoof", ONLY_HERE, HERE))) as front,
    ):

        async def connect() -> Wire:
            return front.keep(await Wire.open(front.address, local_addr=(ELSEWHERE, 0)))

        corpus = variants(AMOUNT.seed, VARIANTS, BEARER, f"Bearer {ONLY_HERE}")
        await Trial(front, connect, AMOUNT.seed, asked, is_direct=True).run(corpus, "direct")


@pytest.mark.parametrize("proxy", PROXIES)
@pytest.mark.timeout(60 + VARIANTS)
async def test_no_proxy_and_we_disagree_on_where_a_request_ends(proxy, tmp_path: Path):
    asked: Counter[str] = Counter()
    keys = key_from("only-here", ONLY_HERE, HERE)
    async with (
        echo(asked) as up,
        behind(proxy, tmp_path, upstream(up.url), keys, within=50 + VARIANTS) as (front, connect),
    ):
        hidden = f"Bearer {ONLY_HERE}"
        corpus = variants(AMOUNT.seed, VARIANTS, hidden, hidden)
        await Trial(front, connect, AMOUNT.seed, asked, is_direct=False).run(
            corpus, f"behind {proxy.__name__}"
        )
