"""The list of models, in the shape of whoever asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import parse_qsl

from proxy.errors import invalid
from proxy.server.gemini_path import EMBEDDING, GENERATING

Shape = Literal["openai", "anthropic", "gemini"]

_MOST = 1000
"""Models that Anthropic and Google put on a page at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A model under its public name.

    ``pricing`` is what the caller pays, in USD for one token; ``context`` and ``max_output`` are tokens. None: nobody knows.
    ``dialects`` are those that its provider speaks; a call in any other is translated.
    """

    name: str
    pricing: dict[str, str] | None = None
    context: int | None = None
    max_output: int | None = None
    dialects: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a list is wanted. ``limit`` None: all that follows. Of ``after`` and ``before`` one is given at most."""

    limit: int | None = None
    after: str | None = None
    before: str | None = None


def shape_of(path: str, headers: Mapping[str, str]) -> Shape:
    """Return the shape that a client expects: Google's are known by their headers, Anthropic's by the version that they send."""
    if path.startswith("/v1beta/") or "x-goog-api-key" in headers or "x-goog-api-client" in headers:
        return "gemini"
    return "anthropic" if "anthropic-version" in headers else "openai"


def page_of(shape: Shape, query: str) -> Page:
    """Return the page that a query asks for, in the words of the shape; OpenAI's list has none. Raises the 400."""
    if shape == "openai":
        return Page()
    asked = dict(parse_qsl(query))
    if shape == "gemini":
        # Google sends fewer than were asked for where that was too many.
        size = _size(asked, "pageSize", 1 << 31)
        return Page(min(size, _MOST) if size else None, asked.get("pageToken") or None)
    after = asked.get("after_id") or None
    before = None if after else asked.get("before_id") or None
    return Page(_size(asked, "limit", _MOST), after, before)


def _size(asked: Mapping[str, str], name: str, most: int) -> int | None:
    told = asked.get(name)
    if told is None:
        return None
    # More digits than int() takes are no number of models either.
    if not (told.isascii() and told.isdigit() and len(told) < 11) or not int(told) <= most:
        raise invalid(name, f"`{name}` is {told[:20]!r}, expected a whole number up to {most}.")
    # A size of nothing is Google's word for any.
    return int(told) or None


def cut(names: Sequence[str], page: Page) -> tuple[Sequence[str], bool]:
    """Return the names of a page, and whether there are more in the direction in which it was turned.

    A name that is gone since the page before was read ends the list.
    """
    if page.before is not None:
        end = names.index(page.before) if page.before in names else 0
        start = max(end - page.limit, 0) if page.limit else 0
        return names[start:end], start > 0
    start = 0
    if page.after is not None:
        start = names.index(page.after) + 1 if page.after in names else len(names)
    end = start + page.limit if page.limit else len(names)
    return names[start:end], end < len(names)


def render(entries: Sequence[Entry], shape: Shape, created: int, *, more: bool) -> dict[str, Any]:
    """Return a page of the list; ``more``: it is not the last one."""
    data = [render_one(entry, shape, created) for entry in entries]
    if shape == "gemini":
        return {"models": data, **({"nextPageToken": entries[-1].name} if more else {})}
    if shape == "anthropic":
        first, last = (entries[0].name, entries[-1].name) if entries else (None, None)
        return {"data": data, "has_more": more, "first_id": first, "last_id": last}
    return {"object": "list", "data": data}


def render_one(entry: Entry, shape: Shape, created: int) -> dict[str, Any]:
    """Return one model."""
    name = entry.name
    if shape == "gemini":
        # Nobody says what a model can do, but models for embeddings are called so.
        methods = EMBEDDING if "embed" in name.lower() else GENERATING
        return _told(
            {
                "name": f"models/{name}",
                "displayName": name,
                "inputTokenLimit": entry.context,
                "outputTokenLimit": entry.max_output,
                "supportedGenerationMethods": list(methods),
            }
        )
    if shape == "anthropic":
        moment = datetime.fromtimestamp(created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return _told(
            {
                "type": "model",
                "id": name,
                "display_name": name,
                "created_at": moment,
                "lifecycle": "active",
                "max_input_tokens": entry.context,
                "max_tokens": entry.max_output,
            }
        )
    return _told(
        {
            "id": name,
            "object": "model",
            "created": created,
            "owned_by": name.partition("/")[0] if "/" in name else "splice",
            "context_length": entry.context,
            "max_output_tokens": entry.max_output,
            "dialects": list(entry.dialects),
            "pricing": entry.pricing,
        }
    )


def _told(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
