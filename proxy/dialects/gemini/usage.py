"""What Gemini says that a call consumed: ``usageMetadata`` and the searches of ``groundingMetadata``.

Every chunk of a stream carries a snapshot, not an increment; a field that a later chunk leaves out
keeps its earlier value. Cached tokens are inside the prompt's, thinking is beside the candidates'.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy.dialects import capabilities
from proxy.dialects.gemini.reasons import is_blocked
from proxy.providers import Flags
from proxy.usage import Usage, count, inclusive

_AUDIO = ("AUDIO", 4)
"""The modality's name, and its number where enums are numbers."""

_BILLED_BY_QUERY = 3
_COUNTS = frozenset({"promptTokenCount", "candidatesTokenCount", "totalTokenCount"})
_NO_FLAGS = Flags()


def read_usage(raw: object, flags: Flags = _NO_FLAGS) -> Usage:  # noqa: ARG001 - as in every dialect
    """Return the usage that a ``usageMetadata`` object tells; nothing readable is no tokens."""
    if not isinstance(raw, dict):
        return Usage()
    prompt = count(raw.get("promptTokenCount"))
    tool_prompt = count(raw.get("toolUsePromptTokenCount"))
    candidates = count(raw.get("candidatesTokenCount"))
    thoughts = count(raw.get("thoughtsTokenCount"))
    total = count(raw.get("totalTokenCount"))
    if not prompt:
        # Recorded for a PDF: only the total knew what the prompt had cost.
        prompt = max(0, total - tool_prompt - candidates - thoughts)
    output = candidates + thoughts
    if thoughts and prompt + tool_prompt + candidates == total:
        output = candidates  # some models count their thinking among the candidates' tokens
    heard = _audio(raw, "promptTokensDetails") + _audio(raw, "toolUsePromptTokensDetails")
    tier = raw.get("serviceTier") or raw.get("trafficType")
    return inclusive(
        input_total=prompt + tool_prompt,
        output=output,
        cache_read=count(raw.get("cachedContentTokenCount")),
        reasoning=thoughts,
        audio_input=max(0, heard - _audio(raw, "cacheTokensDetails")),
        audio_output=_audio(raw, "candidatesTokensDetails"),
        tier=tier if isinstance(tier, str) else None,
    )


def document_usage(document: Mapping[str, Any], flags: Flags) -> Usage | None:
    """Return what a whole answer tells, or None. A refused prompt is not billed, as was recorded."""
    tally = Tally(flags)
    tally.see(document)
    usage = tally.usage
    if usage is None and not document.get("candidates") and is_blocked(document):
        return Usage()
    return usage


def write_usage(usage: Usage) -> dict[str, Any]:
    """Return ``usage`` as a ``usageMetadata`` object."""
    return {
        "promptTokenCount": usage.input_total,
        "cachedContentTokenCount": usage.cache_read,
        "candidatesTokenCount": usage.output - usage.reasoning,
        "thoughtsTokenCount": usage.reasoning,
        "totalTokenCount": usage.total,
    }


class Tally:
    """Keeps count over the chunks of one answer, and over the answers that continue it.

    ``see`` takes each chunk, parsed; ``usage`` is what all of them told, None before a count was told.
    """

    __slots__ = ("_before", "_flags", "_metadata", "_model", "_queries", "_used_web")

    def __init__(self, flags: Flags = _NO_FLAGS) -> None:
        self._flags = flags
        self._before: Usage | None = None
        self._clear()

    def see(self, chunk: Mapping[str, Any]) -> bool:
        """Take in what ``chunk`` tells; return whether it told anything."""
        told = False
        metadata = chunk.get("usageMetadata")
        if isinstance(metadata, dict):
            told = True
            if None in metadata.values():
                metadata = {name: value for name, value in metadata.items() if value is not None}
            self._metadata.update(metadata)
        candidates = chunk.get("candidates")
        for candidate in candidates if isinstance(candidates, list) else ():
            if isinstance(candidate, dict) and "groundingMetadata" in candidate:
                self._see_searches(candidate["groundingMetadata"], chunk.get("modelVersion"))
                told = True
        return told

    def hop(self) -> None:
        """The next chunk belongs to a further request, whose usage adds to this one's."""
        self._before = self.usage
        self._clear()

    @property
    def usage(self) -> Usage | None:
        """Everything told so far, as one usage."""
        searches = self._searches if self._queries else 0
        if not searches and _COUNTS.isdisjoint(self._metadata):
            return self._before
        usage = read_usage(self._metadata, self._flags)
        if searches:
            usage = usage._replace(searches=searches)
        return usage if self._before is None else _sum(self._before, usage)

    def _clear(self) -> None:
        self._metadata: dict[str, Any] = {}
        self._queries: set[str] = set()
        self._used_web = False
        self._model = ""

    @property
    def _searches(self) -> int:
        # From Gemini 3 on each query is billed, before that each prompt that was grounded. Sources
        # without a query are pages that the prompt named.
        if capabilities.gemini(self._model).generation >= _BILLED_BY_QUERY:
            return len(self._queries)
        return 1 if self._used_web else 0

    def _see_searches(self, grounding: object, model: object) -> None:
        if not isinstance(grounding, dict):
            return
        if isinstance(model, str):
            self._model = model
        queries = grounding.get("webSearchQueries")
        if isinstance(queries, list):
            self._queries.update(query for query in queries if isinstance(query, str))
        sources = grounding.get("groundingChunks")
        if isinstance(sources, list) and any(isinstance(s, dict) and s.get("web") for s in sources):
            self._used_web = True


def _audio(metadata: Mapping[str, Any], name: str) -> int:
    """Return the audio tokens of a list of tokens by modality."""
    details = metadata.get(name)
    tokens = 0
    if isinstance(details, list):
        for entry in details:
            if isinstance(entry, dict) and entry.get("modality") in _AUDIO:
                tokens += count(entry.get("tokenCount"))
    return tokens


def _sum(first: Usage, second: Usage) -> Usage:
    return Usage(
        input=first.input + second.input,
        cache_read=first.cache_read + second.cache_read,
        output=first.output + second.output,
        reasoning=first.reasoning + second.reasoning,
        audio_input=first.audio_input + second.audio_input,
        audio_output=first.audio_output + second.audio_output,
        searches=first.searches + second.searches,
        tier=second.tier or first.tier,
    )
