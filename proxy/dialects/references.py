"""What a request refers to that a provider keeps: stored responses, files, caches and the like, by their ids.

Accounts are shared by keys, and a provider shows an account all of its own, so whoever may use an id is for the gateway to say.
There are two ways of reading:

1. ``in_call`` looks at the places where a dialect has such ids, and nowhere else: the call of a model also holds texts, and tools
   with a parameter called ``file_id``, which refer to nothing.
2. ``anywhere`` looks for the names that such ids have, wherever they stand: of a body that is passed on nobody here knows the shape,
   and one id too many is a 404 where one too few is another key's file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple


class Reference(NamedTuple):
    """``param`` is the path of ``id`` in the request."""

    param: str
    id: str


_MARKS: Mapping[str, tuple[bytes, ...]] = {
    "responses": (
        b"previous_response_id",
        b"conversation",
        b"prompt",
        b'"id"',
        b"file_id",
        b"vector_store_ids",
        b"container",
    ),
    "chat": (b"file_id",),
    "messages": (b"file_id", b"container"),
    "gemini": (
        b"cachedContent",
        b"cached_content",
        b"fileUri",
        b"file_uri",
        b"StoreNames",
        b"store_names",
    ),
}
"""One of these is in every body that refers to something. They are of names: in a value a slash may be escaped too."""
_UPLOADED = re.compile(
    r"(?:https?://generativelanguage\.googleapis\.com(?::\d+)?/(?:\w+/)*)?(files/[^/?#]+).*",
    re.DOTALL | re.IGNORECASE,
)
"""A file of Google's own store; any other address is fetched from wherever it leads."""


def in_call(dialect: str, body: bytes, document: Mapping[str, Any]) -> list[Reference]:
    """Return what ``document``, parsed from ``body``, refers to, the call of a model, in the order in which it stands there."""
    if b"\\u" not in body and not any(mark in body for mark in _MARKS[dialect]):
        return []
    found = _READERS[dialect](document)
    return [Reference(param, one) for param, one in found if isinstance(one, str)]


Found = Iterator[tuple[str, object]]


def _responses(document: Mapping[str, Any]) -> Found:
    yield "previous_response_id", document.get("previous_response_id")
    for name in ("conversation", "prompt"):
        value = document.get(name)
        yield (f"{name}.id", value.get("id")) if isinstance(value, dict) else (name, value)
    for at, item in _dicts("input", document.get("input")):
        # Of a reference the type may be left out, as of a message, which has a role.
        if item.get("type", "item_reference") == "item_reference" and "role" not in item:
            yield f"{at}.id", item.get("id")
        for name in ("content", "output"):
            value = item.get(name)
            yield from _files(f"{at}.{name}", [value] if isinstance(value, dict) else value)
    for at, tool in _dicts("tools", document.get("tools")):
        yield from _hosted(at, tool)


def _hosted(at: str, tool: Mapping[str, Any]) -> Found:
    yield from _names(f"{at}.vector_store_ids", tool.get("vector_store_ids"))
    for name in ("container", "environment"):
        held = tool.get(name)
        if isinstance(held, dict):
            yield f"{at}.{name}.container_id", held.get("container_id")
            yield from _names(f"{at}.{name}.file_ids", held.get("file_ids"))
        else:
            yield f"{at}.{name}", held
    mask = tool.get("input_image_mask")
    if isinstance(mask, dict):
        yield f"{at}.input_image_mask.file_id", mask.get("file_id")


def _chat(document: Mapping[str, Any]) -> Found:
    for at, message in _dicts("messages", document.get("messages")):
        for there, part in _dicts(f"{at}.content", message.get("content")):
            file = part.get("file")
            if isinstance(file, dict):
                yield f"{there}.file.file_id", file.get("file_id")


def _messages(document: Mapping[str, Any]) -> Found:
    container = document.get("container")
    if isinstance(container, dict):
        yield "container.id", container.get("id")
    else:
        yield "container", container
    for at, message in _dicts("messages", document.get("messages")):
        yield from _blocks(f"{at}.content", message.get("content"))


def _blocks(at: str, blocks: object) -> Found:
    for here, block in _dicts(at, blocks):
        if block.get("type") == "container_upload":
            yield f"{here}.file_id", block.get("file_id")
        source = block.get("source")
        if isinstance(source, dict):
            yield f"{here}.source.file_id", source.get("file_id")
        if block.get("type") == "tool_result":
            yield from _blocks(f"{here}.content", block.get("content"))


def _gemini(document: Mapping[str, Any]) -> Found:
    for name in ("cachedContent", "cached_content"):
        yield name, document.get(name)
    contents = document.get("contents")
    turns = [contents] if isinstance(contents, dict) else contents
    for at, content in _dicts("contents", turns):
        for there, part in _dicts(f"{at}.parts", content.get("parts")):
            for name in ("fileData", "file_data"):
                data = part.get(name)
                if isinstance(data, dict):
                    yield from _uploaded(f"{there}.{name}", data)
    for at, tool in _dicts("tools", document.get("tools")):
        for name in ("fileSearch", "file_search"):
            search = tool.get(name)
            if isinstance(search, dict):
                for stores in ("fileSearchStoreNames", "file_search_store_names"):
                    yield from _names(f"{at}.{name}.{stores}", search.get(stores))


def _uploaded(at: str, data: Mapping[str, Any]) -> Found:
    for name in ("fileUri", "file_uri"):
        uri = data.get(name)
        found = _UPLOADED.fullmatch(uri) if isinstance(uri, str) else None
        if found is not None:
            yield f"{at}.{name}", found[1]


def _files(at: str, parts: object) -> Found:
    for here, part in _dicts(at, parts):
        yield f"{here}.file_id", part.get("file_id")


def _names(at: str, value: object) -> Found:
    for number, one in enumerate(value if isinstance(value, list) else ()):
        yield f"{at}[{number}]", one


def _dicts(at: str, value: object) -> Iterator[tuple[str, Mapping[str, Any]]]:
    entries: Iterable[object] = value if isinstance(value, list) else ()
    for number, one in enumerate(entries):
        if isinstance(one, dict):
            yield f"{at}[{number}]", one


_READERS = {"responses": _responses, "chat": _chat, "messages": _messages, "gemini": _gemini}


# Wherever they stand.

_IDS = frozenset(
    (
        "file_id",
        "input_file_id",
        "image_file_id",
        "training_file",
        "validation_file",
        "batch_id",
        "video_id",
        "previous_response_id",
        "previous_interaction_id",
        "conversation",
        "container",
        "container_id",
        "vector_store_id",
        "cachedContent",
        "cached_content",
        "fileUri",
        "file_uri",
        "fileName",
        "file_name",
        "upload_id",
    )
)
"""Fields whose value is an id, or an object that has one."""
_LISTS = frozenset(
    ("file_ids", "vector_store_ids", "fileSearchStoreNames", "file_search_store_names")
)
_HOLDERS = frozenset(("video",))
"""Fields that may hold an object with an id, and something else otherwise."""
_TEXTS = frozenset(("fileName", "file_name"))
"""Fields that name a file of the provider only where the value looks like it."""
FORM = ("file_id", "video_id", "video[id]", "input_reference[file_id]")
"""Fields of forms whose value is an id."""
_NEW = "auto"
"""What stands in the place of an id and is none: the container that is to be made."""


def anywhere(document: object) -> Iterator[Reference]:
    """Yield what a JSON body refers to whose shape is nobody's here to know."""
    level: list[tuple[str, object]] = [("", document)]
    while level:
        path, value = level.pop()
        if isinstance(value, list):
            level += [(f"{path}[{place}]", one) for place, one in enumerate(value)]
        elif isinstance(value, dict):
            for name, one in value.items():
                inner = f"{path}.{name}" if path else name
                yield from _named(name, inner, one)
                if isinstance(one, dict | list):
                    level.append((inner, one))


def _named(name: str, path: str, value: object) -> Iterator[Reference]:
    if name in _LISTS and isinstance(value, list):
        for place, one in enumerate(value):
            if isinstance(one, str):
                yield Reference(f"{path}[{place}]", one)
    elif name in _IDS or (name in _HOLDERS and isinstance(value, dict)):
        found = value.get("id") if isinstance(value, dict) else value
        if not isinstance(found, str) or found == _NEW:
            return
        if name not in _TEXTS or found.startswith("files/"):
            yield Reference(path, found)


def in_form(fields: Mapping[str, Any]) -> Iterator[Reference]:
    """Yield what the ``fields`` of a form refer to."""
    return (Reference(name, fields[name]) for name in FORM if name in fields)


# What an answer tells.

_OUTPUTS = ("output_file_id", "error_file_id")


def outputs(document: Mapping[str, Any]) -> list[str]:
    """Return the files that a batch has written: they are its key's too."""
    found = [document.get(name) for name in _OUTPUTS]
    return [one for one in found if isinstance(one, str) and one]
