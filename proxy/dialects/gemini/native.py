"""A Gemini request for a Gemini upstream: the model stands in the path, and only seals that Google did not make have to go.

Protocol buffers read ``generationConfig`` and ``generation_config`` alike, so both are looked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from proxy.dialects import envelope
from proxy.dialects.gemini.seal import ENVELOPE_IN_BASE64, SKIP, read_seal
from proxy.dialects.gemini.write import resource
from proxy.dialects.native import with_model

Json = dict[str, Any]

_MARKS = (envelope.PREFIX.encode(), ENVELOPE_IN_BASE64.encode())
_SETTINGS = {
    "max_tokens": "maxOutputTokens",
    "max_completion_tokens": "maxOutputTokens",
    "max_output_tokens": "maxOutputTokens",
    "temperature": "temperature",
    "top_p": "topP",
    "top_k": "topK",
    "stop": "stopSequences",
    "seed": "seed",
    "n": "candidateCount",
    "presence_penalty": "presencePenalty",
    "frequency_penalty": "frequencyPenalty",
}
"""The settings of a configured model that stand in ``generationConfig`` here; any other is a field of the request."""
_SNAKE = {
    "generationConfig": "generation_config",
    "maxOutputTokens": "max_output_tokens",
    "topP": "top_p",
    "topK": "top_k",
    "stopSequences": "stop_sequences",
    "candidateCount": "candidate_count",
    "presencePenalty": "presence_penalty",
    "frequencyPenalty": "frequency_penalty",
    "generateContentRequest": "generate_content_request",
}


def rewritten(body: bytes, document: Json, model: str) -> bytes:
    """Return the bytes to send: the client's, without a seal that another provider made.

    ``document`` is what ``body`` was parsed from; it stays as it is, since another account may be asked from it.
    """
    if any(body.find(mark) >= 0 for mark in _MARKS):
        # The marks may be words of a text as well: the bytes are kept unless there is such a seal.
        document = orjson.loads(body)
        if _drop_foreign_seals(document):
            body = orjson.dumps(document)
    if "model" in document:
        body = with_model(body, dict(document), resource(model))
    return body


def look(document: Mapping[str, Any], name: str) -> Any:
    """Return the field ``name`` in either spelling; None if it is absent."""
    value = document.get(name)
    return document.get(_SNAKE.get(name, name)) if value is None else value


def output_limit(document: Mapping[str, Any]) -> int:
    """Return the most tokens that the answer may have, 0 where the request does not say."""
    config = look(document, "generationConfig")
    limit = look(config, "maxOutputTokens") if isinstance(config, dict) else None
    return int(limit) if isinstance(limit, int | float) else 0


def limit_output(document: Json, tokens: int) -> None:
    """Have the answer to ``document`` end after so many tokens."""
    name = "generationConfig" if "generationConfig" in document else "generation_config"
    config = document.get(name)
    if not isinstance(config, dict):
        name, config = "generationConfig", {}
    config.pop("max_output_tokens", None)
    document[name] = {**config, "maxOutputTokens": tokens}


def candidates(document: Mapping[str, Any]) -> int:
    """Return how many answers are wanted."""
    config = look(document, "generationConfig")
    wanted = look(config, "candidateCount") if isinstance(config, dict) else None
    return wanted if type(wanted) is int and wanted > 0 else 1


def unwrapped(document: Json) -> Json:
    """Return the request whose tokens are to be counted, which may be wrapped in the question."""
    inner = look(document, "generateContentRequest")
    return inner if isinstance(inner, dict) else document


def apply_settings(
    document: Json, defaults: Mapping[str, object], override: Mapping[str, object]
) -> bool:
    """Fill in a configured model's defaults and set its overrides; tell whether that changed anything."""
    edited = False
    for settings, always in ((defaults, False), (override, True)):
        for told, value in settings.items():
            name = _SETTINGS.get(told)
            holder = document if name is None else _config(document)
            name = name or told
            found = look(holder, name)
            if found is None or (always and found != value):
                holder.pop(_SNAKE.get(name, name), None)
                holder[name] = value
                edited = True
    return edited


def _config(document: Json) -> Json:
    """Return the object of ``generationConfig``; one that is no object is left to be refused where it is read."""
    config = look(document, "generationConfig")
    if config is None:
        config = document["generationConfig"] = {}
    return config if isinstance(config, dict) else {}


def _drop_foreign_seals(document: Json) -> bool:
    """Take the seals of other providers out of ``document``; tell whether there were any.

    Google refuses what it did not seal. From Gemini 3 on a call must have a seal, so it gets the word that passes for one.
    """
    found = False
    for part in _parts(document):
        for name in ("thoughtSignature", "thought_signature"):
            value = part.get(name)
            if not isinstance(value, str):
                continue
            seal = read_seal(value)
            if not seal:
                continue
            own = envelope.open_for("gem", seal)
            if own == value:
                continue
            found = True
            if own is not None:
                part[name] = own
            elif "functionCall" in part or "function_call" in part:
                part[name] = SKIP
            else:
                del part[name]
    return found


def _parts(document: Json) -> Iterator[Json]:
    contents = document.get("contents")
    for content in contents if isinstance(contents, list) else [contents]:
        parts = content.get("parts") if isinstance(content, dict) else None
        for part in parts if isinstance(parts, list) else [parts]:
            if isinstance(part, dict):
                yield part
