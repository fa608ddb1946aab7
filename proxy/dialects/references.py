"""What a request refers to that a provider keeps: stored responses, files, caches and the like, by their ids.

Accounts are shared by keys, and a provider shows an account all of its own, so whoever may use an id is for the gateway to say.
Rules that hold here:

1. The names that ids have are looked for wherever they stand: one id too many is a 404 where one too few is another key's file.
2. What is left out is what nobody but the client and the model look into: schemas, arguments, results, citations. There a name like
   ``file_id`` refers to nothing. Of a body that is passed on nobody here knows the shape, and nothing is left out.
3. What a model has said is replayed with ids that may be nobody's: those of ``replayed`` must not be another key's, and that is all.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
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
        b"vector_store_id",
        b"container",
        b"skill_id",
    ),
    "chat": (b"file_id",),
    "messages": (b"file_id", b"container", b"skill_id"),
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
        "upload_id",
    )
)
"""Fields whose value is an id, or an object that has one."""
_LISTS = frozenset(
    ("file_ids", "vector_store_ids", "fileSearchStoreNames", "file_search_store_names")
)
_URIS = frozenset(("fileUri", "file_uri"))
_OFTEN: Mapping[str, str] = {
    "fileName": "files/",
    "file_name": "files/",
    "skill_id": "skill_",
    "video": "video_",
}
"""Fields that hold an id where the value begins like this, and something else otherwise: a skill of the provider's own, a video's address."""
_NEW = "auto"
"""What stands in the place of an id and is none: the container that is to be made."""
_GOOGLES = "generativelanguage.googleapis.com"
_UPLOADED = re.compile(r"(?:\w+://[^/]*/(?:\w+/)*)?(files/[\w-]+)(?::\w+)?(?:[?#].*)?", re.DOTALL)
_SAID_IN = re.compile(r"input\[\d+\](?:\.environment)?")
_OWN: Mapping[str, frozenset[str]] = {
    "responses": frozenset(
        (
            "parameters",
            "schema",
            "arguments",
            "metadata",
            "annotations",
            "results",
            "headers",
            "env",
            "attributes",
            "filters",
            "action",
            "logprobs",
        )
    ),
    "chat": frozenset(
        ("parameters", "schema", "arguments", "metadata", "annotations", "logit_bias")
    ),
    "messages": frozenset(("input_schema", "schema", "input", "metadata", "citations")),
    "gemini": frozenset(
        (
            "parameters",
            "parametersJsonSchema",
            "parameters_json_schema",
            "response",
            "responseSchema",
            "response_schema",
            "responseJsonSchema",
            "response_json_schema",
            "args",
            "labels",
        )
    ),
}
"""What is not looked into: the client's own data and the model's."""


def in_call(dialect: str, body: bytes, document: Mapping[str, Any]) -> list[Reference]:
    """Return what ``document``, parsed from ``body``, refers to, the call of a model."""
    if not _may_refer(dialect, body):
        return []
    return [*(_of_responses(document) if dialect == "responses" else ()), *_all(document, dialect)]


def replayed(dialect: str, body: bytes, document: Mapping[str, Any]) -> list[Reference]:
    """Return the ids of what a model has said that ``document`` says again, which a provider may have kept."""
    if dialect != "responses" or not _may_refer(dialect, body):
        return []
    found = []
    for at, item in _dicts("input", document.get("input")):
        if not _is_reference(item):
            environment = item.get("environment")
            found += [(f"{at}.{name}", item.get(name)) for name in ("id", "container_id")]
            if isinstance(environment, dict):
                found.append((f"{at}.environment.container_id", environment.get("container_id")))
    return [Reference(param, one) for param, one in found if isinstance(one, str)]


def anywhere(document: object) -> Iterator[Reference]:
    """Yield what a JSON body refers to whose shape is nobody's here to know."""
    return _all(document, "")


def _may_refer(dialect: str, body: bytes) -> bool:
    """Tell from its bytes whether a body may. Escaped letters in a key are nobody's way of writing one."""
    return b"\\u" in body or any(mark in body for mark in _MARKS[dialect])


def _of_responses(document: Mapping[str, Any]) -> Iterator[Reference]:
    """Yield what is told to be an id by where it stands."""
    prompt = document.get("prompt")
    if isinstance(prompt, dict) and isinstance(prompt.get("id"), str):
        yield Reference("prompt.id", prompt["id"])
    elif isinstance(prompt, str):
        yield Reference("prompt", prompt)
    for at, item in _dicts("input", document.get("input")):
        if _is_reference(item) and isinstance(item.get("id"), str):
            yield Reference(f"{at}.id", item["id"])


def _is_reference(item: Mapping[str, Any]) -> bool:
    """Tell whether an item stands for another. Of such a one the type may be left out, as of a message, which has a role."""
    return item.get("type", "item_reference") == "item_reference" and "role" not in item


def _all(document: object, dialect: str) -> Iterator[Reference]:
    own: Collection[str] = _OWN.get(dialect, ())
    level: list[tuple[str, object]] = [("", document)]
    while level:
        path, value = level.pop()
        if isinstance(value, list):
            level += [(f"{path}[{place}]", one) for place, one in enumerate(value)]
        elif isinstance(value, dict) and not _is_result(value, dialect):
            for name, one in value.items():
                if name in own:
                    continue
                inner = f"{path}.{name}" if path else name
                if path != "prompt.variables" and not _is_said(dialect, path, name):
                    yield from _named(name, inner, one)
                if isinstance(one, dict | list):
                    level.append((inner, one))


def _is_result(value: Mapping[str, Any], dialect: str) -> bool:
    """Tell whether it is what a tool of Anthropic's own has answered, which it has in its own store."""
    kind = value.get("type")
    return dialect == "messages" and isinstance(kind, str) and kind.endswith("_tool_result")


def _is_said(dialect: str, path: str, name: str) -> bool:
    """Tell whether it is the container of an item that a model has said: ``replayed`` tells of that."""
    return dialect == "responses" and name == "container_id" and bool(_SAID_IN.fullmatch(path))


def _named(name: str, path: str, value: object) -> Iterator[Reference]:
    if name in _LISTS and isinstance(value, list):
        for place, one in enumerate(value):
            if isinstance(one, str):
                yield Reference(f"{path}[{place}]", one)
    elif name in _URIS:
        yield from _uploaded(path, value)
    elif name == "characters":
        for at, one in _dicts(path, value):
            if isinstance(one.get("id"), str):
                yield Reference(f"{at}.id", one["id"])
    elif name in _IDS or name in _OFTEN:
        if isinstance(value, dict) and name != "skill_id":
            path, value = f"{path}.id", value.get("id")
        elif isinstance(value, str) and not value.startswith(_OFTEN.get(name, "")):
            return
        if isinstance(value, str) and value != _NEW:
            yield Reference(path, value)


def _uploaded(path: str, uri: object) -> Iterator[Reference]:
    """Yield the file of Google's own store that ``uri`` leads to, or itself if it leads elsewhere in that; any other is fetched."""
    if isinstance(uri, str) and uri and ("://" not in uri or _GOOGLES in uri.lower()):
        found = _UPLOADED.fullmatch(uri)
        yield Reference(path, uri if found is None else found[1])


def _dicts(at: str, value: object) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for number, one in enumerate(value if isinstance(value, list) else ()):
        if isinstance(one, dict):
            yield f"{at}[{number}]", one


FORM = ("file_id", "video_id", "video[id]", "input_reference[file_id]")
"""Fields of forms whose value is an id."""


def in_form(fields: Mapping[str, Any]) -> Iterator[Reference]:
    """Yield what the ``fields`` of a form refer to."""
    return (Reference(name, fields[name]) for name in FORM if name in fields)


# What an answer tells.

_OUTPUTS = ("output_file_id", "error_file_id")


def outputs(document: Mapping[str, Any]) -> list[str]:
    """Return the files that a batch has written: they are its key's too."""
    found = [document.get(name) for name in _OUTPUTS]
    return [one for one in found if isinstance(one, str) and one]
