"""Recorded exchanges with providers, read from a directory that is not part of the project."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from proxy.providers import Dialect

VARIABLE = "SPLICE_CORPUS"
"""Names the directory of the recordings."""
_BESIDE = Path(__file__).resolve().parents[3] / "shared" / "corpus"

WIRES: dict[str, Dialect] = {
    "chat.completions": "openai-chat",
    "responses": "openai-responses",
    "messages": "anthropic",
    "generateContent": "gemini",
    "streamGenerateContent": "gemini",
}
"""The endpoints that are model calls, and the wire format of each."""

EMBEDDINGS = ("embeddings", "embedContent", "batchEmbedContents")
"""The endpoints that answer with vectors."""

_REPLAYED_HEADERS = ("content-type", "retry-after", "retry-after-ms")


@dataclass(frozen=True, slots=True)
class Recording:
    """One exchange. ``body`` is what the provider sent, white space in front included; ``request`` is None where only the
    answer was kept. ``stream`` says that the answer is one, ``request_stream`` that one was asked for."""

    id: str
    provider: str
    endpoint: str
    wire: Dialect | None
    status: int
    headers: dict[str, str]
    body: bytes
    stream: bool
    request: dict[str, Any] | None
    request_stream: bool
    url: str
    features: frozenset[str]


def directory() -> Path:
    """Return where the recordings are, if they are anywhere."""
    named = os.environ.get(VARIABLE)
    return Path(named) if named else _BESIDE


def absent() -> str | None:
    """Return why there is nothing to replay, or None."""
    if (directory() / "index.csv").is_file():
        return None
    return f"no recordings in {directory()}: name their directory in {VARIABLE}"


@cache
def load() -> tuple[Recording, ...]:
    """Return every recording, by id."""
    if absent() is not None:
        return ()
    found = [_read(path) for path in directory().glob("*/*.json")]
    return tuple(sorted(found, key=lambda recording: recording.id))


def model_calls() -> list[Recording]:
    """Return the recordings of calls that an endpoint of ours can be asked for."""
    return [recording for recording in load() if recording.wire is not None]


def _read(path: Path) -> Recording:
    raw = json.loads(path.read_text("utf-8"))
    body = raw["response_body"]
    text = (
        body
        if isinstance(body, str)
        else json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    )
    headers = {name.lower(): value for name, value in (raw["response_headers"] or {}).items()}
    return Recording(
        id=raw["id"],
        provider=raw["provider"],
        endpoint=raw["endpoint"],
        wire=WIRES.get(raw["endpoint"]),
        status=raw["status"],
        headers={name: headers[name] for name in _REPLAYED_HEADERS if name in headers},
        body=((raw.get("response_leading_whitespace") or "") + text).encode(),
        stream=raw["stream"],
        request=raw["request_body"] if isinstance(raw["request_body"], dict) else None,
        request_stream=bool(raw["request_stream"]),
        url=raw["url"],
        features=frozenset(raw["features"]),
    )
