"""How far an estimate is from the truth: recorded streams whose provider told the tokens, estimated as if it had not."""

from __future__ import annotations

import re
from dataclasses import dataclass
from statistics import median

import pytest

from proxy.dialects.chat.splice import ChatSplice
from proxy.dialects.messages.splice import MessagesSplice
from proxy.dialects.pace import Paces
from proxy.dialects.responses.splice import ResponsesSplice
from proxy.dialects.splice import Splice
from proxy.providers import BUILTIN, Dialect, Flags
from tests.corpus import reading, table
from tests.corpus.recordings import Recording, absent, model_calls
from tests.corpus.test_prices import OURS, model_of

pytestmark = pytest.mark.skipif(absent() is not None, reason=absent() or "")

LEAST = 16
LONG = 50
"""Tokens. What a provider bills beside the text, some three to ten of them, is most of a short answer."""
WANTED = 0.15
"""Of the long ones the median of the error."""
# What is billed and never said, or said in other events than those of text.
_NOT_TEXT = re.compile(
    rb'"(?:server_tool_use|web_search\w*|redacted_thinking|citations?|annotations|compaction|tool_search\w*|mcp_\w+|container'
    rb'|code_interpreter\w*|code_execution\w*|file_search\w*|search_results|num_search_queries|moderation|image_url|audio)" ?:? ?[\["{:]?'
)
# Gemini tells its usage with every chunk, so there is nothing to estimate.
SPLICES: dict[Dialect, type[ChatSplice | MessagesSplice | ResponsesSplice]] = {
    "openai-chat": ChatSplice,
    "anthropic": MessagesSplice,
    "openai-responses": ResponsesSplice,
}


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream of text and nothing else, read to its end. ``told`` is the provider's count of what it said."""

    id: str
    wire: Dialect
    model: str
    told: int
    body: bytes


def splice_of(wire: Dialect, pace: float | None) -> Splice:
    kind = SPLICES[wire]
    if kind is ChatSplice:
        return ChatSplice("r", Flags(), lambda: 0, include_usage=True, pace=pace)
    return kind("r", Flags(), lambda: 0, pace=pace)  # type: ignore[call-arg]


def read_through(stream: Stream, pace: float | None) -> Splice:
    """Return the splice that has read ``stream`` an event at a time, as it came."""
    splice = splice_of(stream.wire, pace)
    for frame in re.split(rb"(?<=\n\n)", stream.body.replace(b"\r\n", b"\n")):
        if frame:
            splice.feed(frame)
    return splice


def streams() -> list[Stream]:
    return [one for one in map(of, model_calls()) if one is not None]


def of(recording: Recording) -> Stream | None:
    """Return the stream of a recording; None: it is none, nobody told its tokens, or not all that was billed is in its text."""
    provider = OURS.get(recording.provider, recording.provider)
    if recording.status != 200 or not recording.stream or recording.wire not in SPLICES:
        return None
    flags = BUILTIN[provider].flags if provider in BUILTIN else Flags()
    told = reading.read(
        recording.wire, recording.body, stream=True, reasoning_outside=flags.reasoning_outside
    )
    tokens = told.tokens
    if tokens is None or told.cut or told.error or tokens.completion < LEAST:
        return None
    hidden = tokens.reasoning and not told.reasoning
    several = b'"index":1' in recording.body.replace(b" ", b"") or (recording.request or {}).get(
        "n"
    )
    if told.calls or told.images or hidden or several or _NOT_TEXT.search(recording.body):
        return None
    return Stream(
        recording.id,
        recording.wire,
        f"{provider}/{model_of(recording)}",
        tokens.completion,
        recording.body,
    )


def learned(every: list[Stream], but: Stream) -> float | None:
    """Return what the other streams of its model teach."""
    paces = Paces()
    for one in every:
        if one.model == but.model and one is not but:
            paces.learn(one.model, one.told, read_through(one, None).events)
    return paces.of(but.model)


def errors(every: list[Stream], least: int) -> list[float]:
    """Return by how much the estimates are off, as a share of the truth, of what has at least ``least`` tokens."""
    long = [one for one in every if one.told >= least]
    return [read_through(one, learned(every, one)).seen / one.told - 1 for one in long]


def test_half_of_the_estimates_are_near_the_truth():
    every = streams()
    for least in (LEAST, LONG):
        for wire in (*SPLICES, None):
            found = errors([one for one in every if wire in (None, one.wire)], least)
            if found:
                table.ESTIMATES.append(
                    f"{wire or 'all':18} of {least} tokens or more: {len(found):3} streams, "
                    f"median error {median(map(abs, found)):.1%}, of all together {sum(found) / len(found):+.1%}, "
                    f"{sum(one > 0 for one in found)} above the truth"
                )
    assert median(map(abs, errors(every, LONG))) <= WANTED


def test_what_a_model_sends_is_enough_to_know_where_it_is_known():
    every = [one for one in streams() if one.told >= LEAST]
    for one in every:
        events = read_through(one, None).events
        assert read_through(one, one.told / events).seen <= one.told, one.id
