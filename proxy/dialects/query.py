"""The query of what is passed on: nothing of it goes on but what is known to change neither what is told nor who asks.

Google's ``fields`` leaves the usage out of an answer and ``access_token`` is a credential; other providers have others, or will.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from urllib.parse import parse_qsl, urlencode

from proxy.providers import Dialect

CALLS: Mapping[Dialect, Collection[str]] = {
    "anthropic": ("beta",),
    "gemini": ("alt", "$alt"),
    "openai-chat": ("api-version",),
    "openai-responses": ("api-version",),
}
"""Of the call of a model by a provider's own path."""
OBJECTS = ("variant", "api-version")
"""Of what is passed on: whether the video is meant or a picture of it, and Azure's."""
_VALUES = {"alt": ("sse", "json"), "$alt": ("sse", "json")}
"""In other forms an answer tells nobody what it has used."""


def kept(query: str, names: Collection[str]) -> str:
    """Return what goes on of ``query``, with its question mark if it is anything."""
    pairs = [
        (name, value)
        for name, value in parse_qsl(query, keep_blank_values=True)
        if name in names and value in _VALUES.get(name, (value,))
    ]
    return f"?{urlencode(pairs)}" if pairs else ""
