"""The few fields that are checked on every call, spliced or translated: what is held, limited and billed hangs on them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy.dialects.gemini.native import look
from proxy.errors import invalid

MAX_CHOICES = 8
"""Answers at once. Each is billed in full, and nobody has been seen to ask for more."""

_TURNS: Mapping[str, str | None] = {"chat": "messages", "messages": "messages", "responses": None}
"""The field without which there is nothing to answer; Responses can go on from stored ones."""
_LIMITS: Mapping[str, tuple[str, ...]] = {
    "chat": ("max_tokens", "max_completion_tokens"),
    "messages": ("max_tokens",),
    "responses": ("max_output_tokens",),
}


def check(dialect: str, document: Mapping[str, Any]) -> None:
    """Raise the 400 that names the first of these fields that is not what it must be; null counts as absent."""
    if dialect == "gemini":
        _check_gemini(document)
        return
    turns = _TURNS[dialect]
    if turns is not None:
        _check_turns(turns, document.get(turns))
    for name in _LIMITS[dialect]:
        limit = document.get(name)
        # A JSON true is an int to Python. 0 asks Anthropic to fill a cache and say nothing.
        if limit is not None and (type(limit) is not int or limit < 0):
            raise invalid(name, f"`{name}` must be a whole number from 0; found {_shown(limit)}.")
    choices = document.get("n")
    if choices is not None and dialect == "chat":
        if type(choices) is not int:
            raise invalid("n", f"`n` must be a whole number; found {_shown(choices)}.")
        if not 1 <= choices <= MAX_CHOICES:
            raise invalid("n", f"`n` must be from 1 to {MAX_CHOICES}; found {choices}.")


def _check_gemini(document: Mapping[str, Any]) -> None:
    contents = document.get("contents")
    # Google's own examples write one content where there is only one.
    if not isinstance(contents, dict):
        _check_turns("contents", contents)
    config = look(document, "generationConfig")
    if not isinstance(config, dict):
        return
    limit = look(config, "maxOutputTokens")
    if limit is not None and (not _is_whole(limit) or limit < 0):
        raise invalid(
            "generationConfig.maxOutputTokens",
            f"`generationConfig.maxOutputTokens` must be a whole number from 0; found {_shown(limit)}.",
        )
    choices = look(config, "candidateCount")
    if choices is not None and (not _is_whole(choices) or not 1 <= choices <= MAX_CHOICES):
        raise invalid(
            "generationConfig.candidateCount",
            f"`generationConfig.candidateCount` must be from 1 to {MAX_CHOICES}; found {_shown(choices)}.",
        )


def _is_whole(value: object) -> bool:
    """Tell whether ``value`` is a whole number; Google's SDKs write some of them as 40.0."""
    return type(value) is int or (type(value) is float and value.is_integer())


def _check_turns(name: str, turns: object) -> None:
    if turns is None:
        raise invalid(name, f"`{name}` is missing: expected a list of at least one message.")
    if not isinstance(turns, list):
        raise invalid(name, f"`{name}` must be a list; found {_shown(turns)}.")
    if not turns:
        raise invalid(name, f"`{name}` is empty: expected at least one message.")


def _shown(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str():
            return "a string"
        case dict():
            return "an object"
        case list():
            return "a list"
        case _:
            return str(value)[:32]
