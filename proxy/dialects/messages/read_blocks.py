"""Single content blocks of a /v1/messages request as parts."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import TypeVar, cast

import orjson

from proxy.dialects.conversation import Audio, Call, File, Image, Part, Redacted, Text, Thinking
from proxy.dialects.fields import (
    TEXT_OR_PARTS,
    Object,
    entries,
    mapping,
    needed_mapping,
    needed_objects,
    needed_string,
    needed_word,
    string,
)
from proxy.errors import unsupported

Reader = TypeVar("Reader")
Content = list[Text | Image | File | Audio]
"""What a user message, a tool result and a document may all hold."""


def read_content(
    value: object, path: str, readers: dict[str, Callable[[Object, str], Content]]
) -> Content:
    """Return the parts of ``value``, which is text or an array of blocks that ``readers`` know by their type."""
    if isinstance(value, str):
        return [Text(value)]
    parts: Content = []
    for at, block in blocks(value, path):
        parts += reader_of(block, at, readers)(block, at)
    return parts


def blocks(value: object, path: str) -> list[tuple[str, Object]]:
    """Return the blocks of ``value``, each with its own path."""
    return entries(value, path, TEXT_OR_PARTS)


def reader_of(block: Object, path: str, readers: dict[str, Reader]) -> Reader:
    """Return the reader of a block's type."""
    return readers[needed_word(block, "type", readers, path)]


def cache_of(block: Object, path: str) -> Object | None:
    """Return the cache marker of a block."""
    return mapping(block, "cache_control", path)


# What anybody may say.


def text(block: Object, path: str) -> Text:
    """Return a text block as a part; its citations are left behind, other dialects have none to send."""
    return Text(needed_string(block, "text", path), cache_of(block, path))


def image(block: Object, path: str) -> Image:
    """Return an image block as a part."""
    source = needed_mapping(block, "source", path)
    made = Image(cache=cache_of(block, path), path=path)
    at = f"{path}.source"
    match needed_word(source, "type", ("base64", "url", "file"), at):
        case "base64":
            made.mime, made.data = (
                needed_string(source, "media_type", at),
                needed_string(source, "data", at),
            )
        case "url":
            made.url = needed_string(source, "url", at)
        case _:
            made.file_id = needed_string(source, "file_id", at)
    return made


def document(block: Object, path: str) -> Content:
    """Return a document block as parts; the context that it gives for the document comes before it."""
    source = needed_mapping(block, "source", path)
    at = f"{path}.source"
    title, context = string(block, "title", path), string(block, "context", path)
    parts: Content = [Text(context)] if context else []
    made = File(name=title, cache=cache_of(block, path), path=path)
    match needed_word(source, "type", ("base64", "text", "url", "file", "content"), at):
        case "base64":
            made.mime, made.data = (
                needed_string(source, "media_type", at),
                needed_string(source, "data", at),
            )
        case "text":
            plain = needed_string(source, "data", at).encode("utf-8", "replace")
            made.mime, made.data = "text/plain", base64.b64encode(plain).decode()
        case "url":
            # The API takes no documents but PDF from addresses.
            made.mime, made.url = "application/pdf", needed_string(source, "url", at)
        case "file":
            made.file_id = needed_string(source, "file_id", at)
        case _:
            if title:
                parts.append(Text(title))
            return parts + read_content(
                source.get("content"), f"{at}.content", {"text": _one(text), "image": _one(image)}
            )
    return [*parts, made]


def search_result(block: Object, path: str) -> Content:
    """Return a search result as text: title, source, then what was found, a line each."""
    lines = [needed_string(block, "title", path), needed_string(block, "source", path)]
    lines += [text(entry, at).text for at, entry in needed_objects(block, "content", path)]
    return [Text("\n".join(lines), cache_of(block, path))]


def tool_reference(block: Object, path: str) -> Content:
    """Return what a tool search found as text; the tool itself is declared beside it from then on."""
    return [Text(f"Tool {needed_string(block, 'tool_name', path)} is now available.")]


def refused(block: Object, path: str) -> Content:
    """Refuse a block that only Anthropic's own API can read."""
    raise unsupported(
        path, f"found a block of type {block['type']}, which only an Anthropic upstream can read"
    )


def _one(read: Callable[[Object, str], Text | Image]) -> Callable[[Object, str], Content]:
    return lambda block, path: [read(block, path)]


MEDIA: dict[str, Callable[[Object, str], Content]] = {
    "text": _one(text),
    "image": _one(image),
    "document": document,
    "search_result": search_result,
    "container_upload": refused,
}
"""Blocks of a user message, beside tool results."""

RESULT = {**MEDIA, "tool_reference": tool_reference, "browser_state": refused}
"""Blocks inside a tool result."""


# What the assistant said.


def thinking(block: Object, path: str) -> Thinking:
    """Return the model's thinking with its seal."""
    return Thinking(needed_string(block, "thinking", path), string(block, "signature", path) or "")


def redacted(block: Object, path: str) -> Redacted:
    """Return thinking that is all seal."""
    return Redacted(needed_string(block, "data", path))


def tool_use(block: Object, path: str) -> Call:
    """Return a call with its arguments as compact JSON."""
    arguments = mapping(block, "input", path) or {}
    return Call(
        needed_string(block, "id", path),
        needed_string(block, "name", path),
        orjson.dumps(arguments).decode(),
        cache=cache_of(block, path),
    )


def assistant_part(block: Object, path: str) -> list[Part] | None:
    """Return the parts of an assistant's block, or None for one that a server tool left there.

    Of a server tool's result only plain text is kept: the rest is sealed for the provider that ran the tool.
    """
    kind = block.get("type")
    if isinstance(kind, str) and (kind in _SERVER_TOOLS or kind.endswith("_tool_result")):
        told = block.get("content")
        said = (
            [entry for entry in told if isinstance(entry, dict)] if isinstance(told, list) else []
        )
        texts = [
            entry["text"]
            for entry in said
            if entry.get("type") == "text" and isinstance(entry.get("text"), str)
        ]
        return [Text(one) for one in texts] or None
    return reader_of(block, path, _ASSISTANT)(block, path)


def _listed(read: Callable[[Object, str], Part]) -> Callable[[Object, str], list[Part]]:
    return lambda block, path: [read(block, path)]


_SERVER_TOOLS = frozenset({"server_tool_use", "mcp_tool_use", "mcp_tool_listing", "fallback"})
_ASSISTANT: dict[str, Callable[[Object, str], list[Part]]] = {
    "text": _listed(text),
    "thinking": _listed(thinking),
    "redacted_thinking": _listed(redacted),
    "tool_use": _listed(tool_use),
    "image": _listed(image),
    "document": lambda block, path: cast(list[Part], document(block, path)),
    "container_upload": lambda block, path: cast(list[Part], refused(block, path)),
    "compaction": lambda block, path: cast(list[Part], refused(block, path)),
}
