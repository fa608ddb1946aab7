"""What a client must hear of a recording, and where what it heard differs."""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tests.corpus import passed
from tests.corpus.reading import Tokens, Told, arguments_of, read
from tests.corpus.recordings import Recording
from tests.corpus.refusals import (
    CONTEXT,
    INVALID,
    LARGE,
    LIMITED,
    MALFORMED,
    TRUNCATED,
    Refusal,
    refusal_inside,
    refusal_of,
)
from tests.corpus.surfaces import Failed, Heard, Surface
from tests.integration.wire import Answered

REASONS = Path(__file__).with_name("reasons.toml")

_FINISH = {
    "chat": {"stop_sequence": "stop", "pause": "length", "broken": "stop"},
    "messages": {
        "stop": "end_turn",
        "length": "max_tokens",
        "tool_calls": "tool_use",
        "content_filter": "refusal",
        "pause": "max_tokens",
        "broken": "end_turn",
    },
    "responses": {
        "stop": "completed",
        "stop_sequence": "completed",
        "tool_calls": "completed",
        "broken": "completed",
        "length": "max_output_tokens",
        "pause": "max_output_tokens",
        "content_filter": "content_filter",
    },
    "gemini": {
        "stop": "STOP",
        "stop_sequence": "STOP",
        "length": "MAX_TOKENS",
        "tool_calls": "STOP",
        "content_filter": "SAFETY",
        "pause": "MAX_TOKENS",
        "broken": "OTHER",
    },
}


_FAILED = {CONTEXT: "context_length_exceeded", LIMITED: "rate_limit_exceeded"}
"""The words of a response that has failed; of any other failure it says that it is the server's."""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why some recordings may differ in some ``fields``: the one with this ``id``, or all that have this ``feature``."""

    fields: frozenset[str]
    why: str
    id: str | None = None
    feature: str | None = None
    surface: str | None = None

    def covers(self, recording: Recording, surface: str) -> bool:
        if self.surface not in (None, surface):
            return False
        return recording.id == self.id or self.feature in recording.features


@cache
def reasons() -> tuple[Reason, ...]:
    """Return the written reasons."""
    raw = tomllib.loads(REASONS.read_text("utf-8")).get("reason", [])
    return tuple(Reason(**{**entry, "fields": frozenset(entry["fields"])}) for entry in raw)


@cache
def refusals() -> tuple[str, ...]:
    """Return the patterns of what a recorded request may be refused with, each of which has its reason in the file."""
    raw = tomllib.loads(REASONS.read_text("utf-8")).get("refusal", [])
    assert all(entry["why"] for entry in raw)
    return tuple(entry["words"] for entry in raw)


def excuses(recording: Recording, surface: str, fields: set[str]) -> set[Reason] | None:
    """Return the reasons that cover all differing ``fields``, or None if there is a field that none covers."""
    used = {
        reason
        for reason in reasons()
        if reason.covers(recording, surface) and reason.fields & fields
    }
    return used if fields <= {name for reason in used for name in reason.fields} else None


def told_of(recording: Recording, *, reasoning_outside: bool) -> Told:
    """Return what the recording says."""
    if recording.status != 200:
        return Told(error={"status": recording.status})
    assert recording.wire is not None
    return read(
        recording.wire, recording.body, stream=recording.stream, reasoning_outside=reasoning_outside
    )


def refusal_for(recording: Recording, told: Told) -> Refusal | None:
    """Return how a client is told of the failure that the recording is, or None if it is none."""
    if recording.status != 200:
        return refusal_of(recording.status, recording.body)
    if told.error is not None:
        return refusal_inside(told.error)
    if told.cut:
        return TRUNCATED
    if told.finish == "broken" and not (told.text or told.reasoning or told.calls):
        return MALFORMED
    return None


def passed_differences(
    recording: Recording,
    surface: Surface,
    refusal: Refusal | None,
    answered: Answered,
    *,
    include_usage: bool,
) -> dict[str, str]:
    """Return what is wrong with an answer that passes on a recording in the surface's own dialect, by field."""
    if recording.stream and answered.status == 200:
        match surface.name:
            case "chat":
                frames = passed.chat(recording.body, include_usage=include_usage)
            case "messages":
                frames = passed.messages(recording.body)
            case "responses":
                frames = passed.responses(recording.body)
            case _:
                frames = passed.gemini(recording.body)
        found = passed.difference(answered.body, frames)
        return {"bytes": found} if found else {}
    if surface.name in ("gemini", "responses") and refusal is MALFORMED:
        # Google says itself, to its own client, that the answer is broken; and one in the background has not ended.
        refusal = None
    if refusal is None:
        if answered.status != 200:
            return {"status": f"{answered.status} {answered.body[:300]!r}, expected 200"}
        return (
            {} if answered.body == recording.body else {"bytes": f"found {answered.body[:300]!r}"}
        )
    if answered.status != refusal.status:
        return {"status": f"{answered.status}, expected {refusal}"}
    if (
        recording.status != 200
        and refusal in (INVALID, CONTEXT, LARGE)
        and recording.body.lstrip()[:1] == b"{"
    ):
        # The provider's words about the client's own request, in the client's own dialect.
        return (
            {} if answered.body == recording.body else {"bytes": f"found {answered.body[:300]!r}"}
        )
    error = json.loads(answered.body)["error"]
    match surface.name:
        case "chat" | "responses":
            right = error.get("code") == refusal.code
        case "messages":
            right = error["type"] == refusal.kind
        case _:
            right = error["status"] == refusal.google
    return {} if right or refusal.code is None else {"error": f"{error}, expected {refusal}"}


def translated_differences(
    surface: Surface, told: Told, refusal: Refusal | None, heard: Heard
) -> dict[str, str]:
    """Return in which fields what an SDK heard of a translated answer differs from what the recording says."""
    if isinstance(heard, Failed):
        if refusal is None:
            return {"status": f"{heard}, expected an answer"}
        if heard.status not in (200, refusal.status):
            return {"status": f"{heard}, expected {refusal}"}
        match surface.name:
            case "chat":
                right = heard.code == refusal.code
            case "responses":
                told_inside = _FAILED.get(refusal, "server_error")
                right = heard.code == (told_inside if heard.status == 200 else refusal.code)
            case "messages":
                right = heard.kind == refusal.kind
            case _:
                right = heard.kind == refusal.google
        return (
            {}
            if right or (refusal.code is None and surface.name in ("chat", "responses"))
            else {"error": f"{heard}, expected {refusal}"}
        )
    if refusal is not None:
        return {"status": f"an answer, expected {refusal}"}
    wanted = _wanted(surface.name, told)
    if wanted.tokens is None:
        heard.tokens = None
    return {
        name: f"{_short(getattr(heard, name))}, expected {_short(getattr(wanted, name))}"
        for name in (
            "text",
            "reasoning",
            "refusal",
            "explanation",
            "images",
            "calls",
            "finish",
            "tokens",
            "cut",
        )
        if _comparable(name, getattr(heard, name)) != _comparable(name, getattr(wanted, name))
    }


def _wanted(surface: str, told: Told) -> Told:
    finish = _FINISH[surface].get(told.finish, told.finish)
    wanted = Told(
        text=told.text,
        reasoning=told.reasoning,
        calls=told.calls,
        finish=finish,
        tokens=_bounded(told.tokens),
    )
    wanted.images = told.images
    if surface in ("chat", "responses"):
        wanted.refusal = told.refusal or told.explanation
        return wanted
    if surface == "gemini":
        # An explanation is sent, but Google's SDK does not read it.
        if wanted.tokens is not None:
            wanted.tokens.written = 0
        if told.refusal:
            wanted.text, wanted.finish = told.text + told.refusal, "SAFETY"
        if not (wanted.text or wanted.calls or wanted.images):
            # Gemini CLI takes an answer without any text for a broken one.
            wanted.text = " "
        return wanted
    wanted.explanation = told.explanation or told.refusal
    if told.refusal:
        # Anthropic's dialect says a refusal as text, and why it stopped.
        wanted.text, wanted.finish = told.text + told.refusal, "refusal"
    return wanted


def _bounded(tokens: Tokens | None) -> Tokens | None:
    """Return counts of which no share is larger than its whole, as some providers tell them."""
    if tokens is None:
        return None
    return Tokens(
        tokens.prompt,
        min(tokens.cached, tokens.prompt),
        tokens.written,
        tokens.completion,
        min(tokens.reasoning, tokens.completion),
    )


def _comparable(name: str, value: Any) -> Any:
    if name != "calls":
        return value
    out = []
    for called, written in value:
        arguments = arguments_of(written)
        # What is no JSON object travels through Anthropic's dialect inside one.
        if isinstance(arguments, dict) and arguments.keys() == {"_raw_arguments"}:
            arguments = arguments_of(arguments["_raw_arguments"])
        out.append((called, arguments))
    return out


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) < 240 else f"{shown[:120]} … {shown[-110:]}"
