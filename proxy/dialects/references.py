"""The ids of stored objects in what is passed on: those that a request refers to, and those that an answer tells of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

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
_OUTPUTS = ("output_file_id", "error_file_id")
FORM = ("file_id", "video_id", "video[id]", "input_reference[file_id]")
"""Fields of forms whose value is an id."""

_OF_NOBODY = frozenset(("auto",))
"""What stands in the place of an id and is none: the container that is to be made."""


class Reference(NamedTuple):
    path: str
    id: str


def in_request(document: object) -> Iterator[Reference]:
    """Yield the ids that a JSON body refers to."""
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
    elif name in _IDS or name in _HOLDERS:
        found = value.get("id") if isinstance(value, dict) else value
        if not isinstance(found, str) or found in _OF_NOBODY:
            return
        if name in _HOLDERS and not isinstance(value, dict):
            return
        if name in _TEXTS and not found.startswith("files/"):
            return
        yield Reference(path, found)


def outputs(document: Mapping[str, Any]) -> list[str]:
    """Return the files that a batch has written: they are its key's too."""
    found = [document.get(name) for name in _OUTPUTS]
    return [one for one in found if isinstance(one, str) and one]
