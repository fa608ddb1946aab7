"""Every recorded answer through the running gateway, to each surface, whole and cut at random places."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from proxy.providers import ALIASES, BUILTIN, Flags
from tests.corpus import table
from tests.corpus.comparison import (
    Reason,
    excuses,
    passed_differences,
    reasons,
    refusal_for,
    told_of,
    translated_differences,
)
from tests.corpus.reading import Told
from tests.corpus.recordings import Recording, absent, model_calls
from tests.corpus.refusals import Refusal
from tests.corpus.surfaces import SURFACES, Sdks, Surface
from tests.corpus.table import CUTS, SEED, Row
from tests.corpus.upstream import Player
from tests.integration.gateway import Gateway, config_text, gateway, upstream
from tests.integration.wire import Answered

pytestmark = [
    pytest.mark.skipif(absent() is not None, reason=str(absent())),
    pytest.mark.timeout(240),
]

_LONGEST = 10
"""Seconds that one answer may take before it counts as none."""

_USED: set[Reason] = set()
_TRIED: set[str] = set()

_BUILTIN_NAMES = {"gemini_openai_compat": "gemini-openai"}
"""Recorded providers whose built-in row has another name."""
_MINTED = re.compile(
    rb'(call_|toolu_|msg_|chatcmpl-|req_|resp_|rs_|fc_|ctc_|ig_|"responseId":")[0-9a-z]{24,26}'
)
_CREATED = re.compile(rb'"created(_at)?":\d+')

PROVIDERS = sorted({recording.provider for recording in model_calls()}) or ["none"]


@dataclass(frozen=True, slots=True)
class Case:
    recording: Recording
    surface: Surface
    told: Told
    refusal: Refusal | None

    @property
    def native(self) -> bool:
        """Whether the bytes pass. A stream of Google's without ``alt=sse`` is one document, and is played as events."""
        array = self.recording.stream and self.recording.body.lstrip()[:1] == b"["
        return self.recording.wire == self.surface.native and not array

    @property
    def stream(self) -> bool:
        """Whether the client streams: as the recorded one did."""
        return (
            self.recording.stream if self.recording.status == 200 else self.recording.request_stream
        )


@pytest.mark.parametrize("surface", SURFACES.values(), ids=SURFACES)
@pytest.mark.parametrize("provider", PROVIDERS)
async def test_recorded_answers_arrive_as_they_were_given(provider: str, surface: Surface) -> None:
    row = table.row(provider, surface.name)
    recordings = [recording for recording in model_calls() if recording.provider == provider]
    player, sdks = Player(recordings), Sdks()
    cases = [_case(recording, surface) for recording in recordings]
    try:
        async with _in_front(player, provider) as running:
            for case in cases:
                if case.refusal is None:
                    await _try(case, player, running, sdks, row)
        for case in cases:
            if case.refusal is not None:
                # A gateway of its own: a failing account is of no use to the recordings after it.
                async with _in_front(player, provider) as running:
                    await _try(case, player, running, sdks, row)
    finally:
        await sdks.close()
    _TRIED.add(f"{provider} {surface.name}")
    assert not row.differing, f"seed {SEED}\n" + "\n".join(row.differing)


def test_every_written_reason_is_needed() -> None:
    if len(_TRIED) < len(PROVIDERS) * len(SURFACES):
        pytest.skip("not every provider was tried in this run")
    unneeded = [reason for reason in reasons() if reason not in _USED]
    assert not unneeded


async def _try(case: Case, player: Player, running: Gateway, sdks: Sdks, row: Row) -> None:
    """Replay one recording, whole and cut, and enter what came of it in ``row``."""
    row.tried += 1
    player.seed = None
    whole = await _asked(case, running, include_usage=True)
    different = await _differences(case, whole, sdks)
    for number in range(CUTS):
        player.seed = SEED + number
        cut = await _asked(case, running, include_usage=not (case.native and number % 2 == 0))
        if case.native and number % 2 == 0:
            found = passed_differences(
                case.recording, case.surface, case.refusal, cut, include_usage=False
            )
            different |= {
                name: f"cut, {text}" for name, text in found.items() if name not in different
            }
        elif _without_minted(cut.body) != _without_minted(whole.body):
            different["cut bytes"] = (
                f"seed {player.seed}: {_first_difference(cut.body, whole.body)}"
            )
    where = (
        f"{case.recording.id} ({case.recording.wire}, {'stream' if case.stream else 'document'})"
    )
    if not different:
        row.equal += 1
        return
    used = excuses(case.recording, case.surface.name, set(different))
    lines = "".join(f"\n    {name}: {text}" for name, text in different.items())
    if used is None:
        row.differing.append(f"{where}{lines}")
    else:
        row.excused.append(case.recording.id)
        _USED.update(used)


async def _differences(case: Case, answered: Answered, sdks: Sdks) -> dict[str, str]:
    if not answered.whole:
        return {"status": "no whole answer came"}
    if case.native:
        return passed_differences(
            case.recording, case.surface, case.refusal, answered, include_usage=True
        )
    heard = await case.surface.hear(sdks, answered, stream=case.stream)
    return translated_differences(case.surface, case.told, case.refusal, heard)


async def _asked(case: Case, running: Gateway, *, include_usage: bool) -> Answered:
    model = f"{case.recording.wire}/{case.recording.id}"
    body = case.surface.body(model, stream=case.stream, include_usage=include_usage)
    _heal(running)
    try:
        async with asyncio.timeout(_LONGEST):
            return await running.post(case.surface.address(model, stream=case.stream), body)
    except TimeoutError:
        return Answered(0, {}, b"", whole=False)


def _heal(running: Gateway) -> None:
    """Forget what earlier recordings said about the accounts: each is replayed as if it were the first."""
    pool = running.running.gateway.pool
    for account in pool.accounts(asyncio.get_running_loop().time()):
        seat = pool.seat(account.name)
        assert seat is not None
        seat.clear()


def _case(recording: Recording, surface: Surface) -> Case:
    told = told_of(recording, reasoning_outside=_flags(recording.provider).reasoning_outside)
    return Case(recording, surface, told, refusal_for(recording, told))


def _flags(provider: str) -> Flags:
    name = _BUILTIN_NAMES.get(provider, provider)
    row = BUILTIN.get(ALIASES.get(name, name))
    return row.flags if row is not None else Flags()


@asynccontextmanager
async def _in_front(player: Player, provider: str) -> AsyncIterator[Gateway]:
    """Run a gateway with an account for each wire format of ``provider``, named for it, all of which are ``player``."""
    outside = "true" if _flags(provider).reasoning_outside else "false"
    async with player.upstream() as server:
        tables = [
            upstream(server.url, dialect, dialect, flags=f"{{ reasoning_outside = {outside} }}")
            for dialect in ("openai-chat", "openai-responses", "anthropic", "gemini")
        ]
        async with gateway(config_text(*tables)) as running:
            yield running


def _without_minted(body: bytes) -> bytes:
    return _CREATED.sub(b'"created\\1":0', _MINTED.sub(b"\\1", body))


def _first_difference(one: bytes, other: bytes) -> str:
    at = next(
        (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b),
        min(len(one), len(other)),
    )
    return f"{one[max(at - 60, 0) : at + 100]!r} where the whole answer gave {other[max(at - 60, 0) : at + 100]!r}"
