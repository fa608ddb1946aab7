"""The items of a Responses request's ``input``, read into turns."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

from proxy.dialects import envelope
from proxy.dialects.conversation import (
    Audio,
    Call,
    Conversation,
    File,
    Image,
    Part,
    Redacted,
    Refusal,
    Result,
    Text,
    Thinking,
    Turn,
)
from proxy.dialects.fields import (
    TEXT_OR_PARTS,
    Object,
    entries,
    join,
    needed_mapping,
    needed_objects,
    needed_string,
    needed_word,
    objects,
    shown,
    string,
)
from proxy.errors import GatewayError, Kind, invalid, unsupported

P = TypeVar("P", bound=Part)

Additional = list[tuple[str, Object]]
"""Tools that stand among the input items, each with its path."""

_HOSTED = frozenset(
    {
        "apply_patch_call",
        "apply_patch_call_output",
        "code_interpreter_call",
        "computer_call",
        "computer_call_output",
        "configuration_update",
        "file_search_call",
        "image_generation_call",
        "local_shell_call",
        "local_shell_call_output",
        "mcp_approval_request",
        "mcp_approval_response",
        "mcp_call",
        "mcp_list_tools",
        "program",
        "program_output",
        "shell_call",
        "shell_call_output",
        "tool_search_call",
        "tool_search_output",
        "web_search_call",
    }
)
"""Traces of OpenAI's own tools: no other model knows what to make of them."""

_DATA_URL = re.compile(r"data:([^;,]*)[^,]*;base64,")
_MIME_BY_SUFFIX = {
    "pdf": "application/pdf",
    "txt": "text/plain",
    "md": "text/markdown",
    "csv": "text/csv",
}


def read_input(conversation: Conversation, value: Any) -> Additional:
    """Add the turns of ``input`` to ``conversation``; return the tools that stood among them."""
    additional: Additional = []
    last = 0
    if isinstance(value, str):
        conversation.turns.append(Turn("user", [Text(value)]))
        return additional
    for path, item in entries(value, "input", TEXT_OR_PARTS):
        kind = string(item, "type", path) or "message"
        if kind == "additional_tools":
            additional += needed_objects(item, "tools", path)
        elif kind in _HOSTED:
            conversation.given[f"input[{kind}]"] = f"input[{kind}]"
        elif kind == "message":
            before = len(conversation.system)
            _read_message(conversation, item, path)
            last = len(conversation.system) - before or last
        elif kind in _PARTS:
            role, read = _PARTS[kind]
            parts = read(item, path)
            if parts:
                conversation.turns.append(Turn(role, parts))
        elif kind == "item_reference":
            raise _stored(join(path, "id"), "an item")
        else:
            raise unsupported(path, f"items of the type {shown(kind)} cannot be sent to this model")
    conversation.let_last_speak(last)
    return additional


def _read_message(conversation: Conversation, item: dict[str, Any], path: str) -> None:
    role = needed_word(item, "role", ("user", "assistant", "system", "developer"), path)
    if role == "user":
        conversation.turns.append(Turn("user", _parts(item, "content", path, _USER)))
    elif role == "assistant":
        conversation.turns.append(Turn("assistant", _parts(item, "content", path, _ASSISTANT)))
    else:
        texts = _parts(item, "content", path, _SYSTEM)
        if conversation.turns:
            conversation.turns.append(Turn("system", [*texts]))
        else:
            conversation.system += texts


def _read_call(item: dict[str, Any], path: str) -> list[Part]:
    return [
        Call(
            needed_string(item, "call_id", path),
            needed_string(item, "name", path),
            needed_string(item, "arguments", path),
            namespace=string(item, "namespace", path),
        )
    ]


def _read_custom_call(item: dict[str, Any], path: str) -> list[Part]:
    return [
        Call(
            needed_string(item, "call_id", path),
            needed_string(item, "name", path),
            needed_string(item, "input", path),
            custom=True,
            namespace=string(item, "namespace", path),
        )
    ]


def _read_output(item: dict[str, Any], path: str) -> list[Part]:
    return [Result(needed_string(item, "call_id", path), _parts(item, "output", path, _OUTPUT))]


def _read_reasoning(item: dict[str, Any], path: str) -> list[Part]:
    """Return the thinking that a reasoning item carries; its id is not looked at, since clients leave it out."""
    said = [
        needed_string(entry, "text", where)
        for key in ("content", "summary")
        for where, entry in objects(item, key, path)
    ]
    thought = "\n\n".join(said)
    sealed = string(item, "encrypted_content", path) or ""
    if not sealed.startswith(envelope.PREFIX):
        # Made by OpenAI itself, in an earlier turn that another upstream answered.
        seal = envelope.wrap("oai", sealed) if sealed else ""
    elif sealed.startswith(f"{envelope.PREFIX}ant:"):
        return [*envelope.open_blocks(sealed)]
    else:
        seal = sealed
    if thought:
        return [Thinking(thought, seal)]
    return [Redacted(seal)] if seal else []


_PARTS: dict[str, tuple[Any, Callable[[dict[str, Any], str], list[Part]]]] = {
    "function_call": ("assistant", _read_call),
    "custom_tool_call": ("assistant", _read_custom_call),
    "function_call_output": ("user", _read_output),
    "custom_tool_call_output": ("user", _read_output),
    "reasoning": ("assistant", _read_reasoning),
}


# Content.


def _parts(
    item: dict[str, Any], key: str, path: str, table: dict[str, Callable[[dict[str, Any], str], P]]
) -> list[P]:
    """Return the parts of a content field: a string, or an array of parts whose types ``table`` knows."""
    value, where = item.get(key), join(path, key)
    if isinstance(value, str):
        return [table["input_text"]({"text": value}, where)]
    parts = []
    for part_path, part in entries(value, where, TEXT_OR_PARTS):
        kind = needed_string(part, "type", part_path)
        read = table.get(kind)
        if read is None:
            raise unsupported(
                part_path, f"content of the type {shown(kind)} cannot be sent to this model here"
            )
        parts.append(read(part, part_path))
    return parts


def _read_text(part: dict[str, Any], path: str) -> Text:
    return Text(needed_string(part, "text", path))


def _read_refusal(part: dict[str, Any], path: str) -> Refusal:
    return Refusal(needed_string(part, "refusal", path))


def _read_image(part: dict[str, Any], path: str) -> Image:
    if part.get("file_id") is not None:
        raise _stored(join(path, "file_id"), "a file")
    url = needed_string(part, "image_url", path)
    where = join(path, "image_url")
    detail = string(part, "detail", path)
    data_url = _data_url(url, where)
    if data_url is None:
        return Image(url=url, detail=detail, path=where)
    return Image(data=data_url[1], mime=data_url[0] or "image/png", detail=detail, path=where)


def _read_file(part: dict[str, Any], path: str) -> File:
    if part.get("file_id") is not None:
        raise _stored(join(path, "file_id"), "a file")
    name = string(part, "filename", path)
    url = string(part, "file_url", path)
    if url is not None:
        return File(url=url, name=name, path=join(path, "file_url"))
    data, where = needed_string(part, "file_data", path), join(path, "file_data")
    guessed = _MIME_BY_SUFFIX.get((name or "").rpartition(".")[2].lower(), "application/pdf")
    mime, data = _data_url(data, where) or ("", data)
    return File(data=data, mime=mime or guessed, name=name, path=where)


def _read_audio(part: dict[str, Any], path: str) -> Audio:
    audio, where = needed_mapping(part, "input_audio", path), join(path, "input_audio")
    return Audio(needed_string(audio, "data", where), needed_string(audio, "format", where), where)


def _data_url(url: str, path: str) -> tuple[str, str] | None:
    """Return the MIME type and the base64 data of a data URL, or None for another kind of URL."""
    if not url.startswith("data:"):
        return None
    head = _DATA_URL.match(url)
    if head is None:
        raise invalid(path, f"`{path}`: expected a data URL such as data:image/png;base64,…")
    return head[1].lower(), url[head.end() :]


def _stored(param: str, what: str) -> GatewayError:
    return GatewayError(
        Kind.UNSUPPORTED_PARAMETER,
        f"`{param}` names {what} that is stored at OpenAI, which this model cannot reach.",
        param=param,
    )


_TEXTS: dict[str, Callable[[dict[str, Any], str], Text]] = {
    "input_text": _read_text,
    "output_text": _read_text,
    "text": _read_text,
}
_SYSTEM = _TEXTS
_ASSISTANT: dict[str, Callable[[dict[str, Any], str], Part]] = {**_TEXTS, "refusal": _read_refusal}
_OUTPUT: dict[str, Callable[[dict[str, Any], str], Text | Image | File | Audio]] = {
    **_TEXTS,
    "input_image": _read_image,
    "input_file": _read_file,
    "input_audio": _read_audio,
}
_USER: dict[str, Callable[[dict[str, Any], str], Part]] = {**_OUTPUT}
