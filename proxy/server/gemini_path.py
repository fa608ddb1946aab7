"""What the path of a Gemini client says: the model, and what is to be done with it."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import parse_qsl, unquote

_MODELS = "/models/"
BEGINNINGS = ("/v1/models/", "/v1beta/models/")
"""Newer SDKs of Google call v1, older ones v1beta."""
GENERATING = ("generateContent", "streamGenerateContent", "countTokens")
EMBEDDING = ("embedContent", "batchEmbedContents")
METHODS = frozenset((*GENERATING, *EMBEDDING))


class Called(NamedTuple):
    """``array``: the stream is to be one JSON array, as it is without ``alt=sse``."""

    model: str
    stream: bool
    array: bool


def method_of(path: str) -> str | None:
    """Return which of ``METHODS`` the path names, or None if it is no such call. The model's name may hold colons too."""
    if not path.startswith(BEGINNINGS):
        return None
    name, _, method = path.rpartition(":")
    return method if method in METHODS and not name.endswith(_MODELS) else None


def is_geminis(path: str) -> bool:
    """Tell whether errors of ``path`` are told in Google's shape."""
    return path.startswith("/v1beta/") or method_of(path) is not None


def template(path: str) -> str | None:
    """Return the route of a call of a model, or None if the path is no such call."""
    method = method_of(path)
    if method is None:
        return None
    return path[: path.index(_MODELS) + len(_MODELS)] + "{id}:" + method


def called(path: str, query: str) -> Called:
    """Return what ``path`` calls; it has been found to be such a call."""
    stream = method_of(path) == "streamGenerateContent"
    return Called(name_in(path.rpartition(":")[0]), stream, stream and not _asks_events(query))


def name_in(path: str) -> str:
    """Return the model's name in ``/v1/models/{name}`` and ``/v1beta/models/{name}``."""
    for beginning in BEGINNINGS:
        if path.startswith(beginning):
            return unquote(path[len(beginning) :])
    return ""


def _asks_events(query: str) -> bool:
    return any(value == "sse" for name, value in parse_qsl(query) if name in ("alt", "$alt"))
