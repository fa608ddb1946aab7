"""Turns as the ``system`` and ``messages`` of Anthropic's Messages API."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any, assert_never

import orjson

from proxy.dialects.conversation import (
    Audio,
    Call,
    File,
    Image,
    Json,
    Redacted,
    Refusal,
    Result,
    Text,
    Thinking,
    Turn,
)
from proxy.dialects.depth import loads
from proxy.dialects.envelope import PREFIX, open_blocks
from proxy.dialects.names import Names, call_id_for, flat_name
from proxy.dialects.repair import anchored, merged
from proxy.errors import invalid, unsupported

Block = dict[str, Any]

GO_ON = "Continue."
"""What the user is taken to say after an answer that the model may not be asked to extend."""

_IMAGE_TYPES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
_FILE_ID = "file_"


def write_system(texts: Sequence[Text]) -> list[Block]:
    """Return the system prompt as an array, so that each text keeps its own cache marker."""
    return [_text(text.text, text.cache) for text in texts if text.text]


def write_messages(
    turns: Sequence[Turn],
    names: Names,
    call_ids: Mapping[str, str],
    *,
    mid_system: bool,
    prefill: bool,
) -> list[Block]:
    """Return ``turns`` as messages.

    ``mid_system``: the model obeys system messages between the others. ``prefill``: it may be asked to extend an answer that
    the last turn begins.
    """
    own = [turn for turn in map(_without_foreign_thinking, turns) if turn.parts]
    placed = _system_placed(own) if mid_system else merged(list(map(_spoken, own)))
    messages = [
        {"role": turn.role, "content": _content(turn, names, call_ids)} for turn in anchored(placed)
    ]
    if messages[-1]["role"] == "assistant":
        _close_for_user(messages, prefill=prefill)
    return messages


def own_thinking(part: Thinking | Redacted) -> list[Block]:
    """Return the blocks of thinking that Anthropic sealed itself; nobody else's means anything to it."""
    opaque = part.signature if isinstance(part, Thinking) else part.data
    if opaque.startswith(PREFIX):
        return [block for one in open_blocks(opaque) for block in own_thinking(one)]
    if not opaque:
        return []
    if isinstance(part, Thinking):
        return [{"type": "thinking", "thinking": part.text, "signature": opaque}]
    return [{"type": "redacted_thinking", "data": opaque}]


# Turns in the places where the API takes them.


def _without_foreign_thinking(turn: Turn) -> Turn:
    kept = [
        part
        for part in turn.parts
        if not isinstance(part, Thinking | Redacted) or own_thinking(part)
    ]
    return turn if len(kept) == len(turn.parts) else Turn(turn.role, kept, turn.effort)


def _system_placed(turns: Sequence[Turn]) -> list[Turn]:
    """Return ``turns`` with each system turn behind a user turn, and last or before an assistant's: nowhere else is it legal.

    One after which nobody speaks becomes what the user says.
    """
    out: list[Turn] = []
    waiting: list[Turn] = []
    for turn in turns:
        if turn.role == "system":
            waiting.append(turn)
            continue
        if turn.role == "assistant" and out and out[-1].role == "user":
            out += waiting
            waiting = []
        out.append(turn)
    if out and out[-1].role == "user":
        out += waiting
    else:
        out += map(_spoken, waiting)
    return merged(out)


def _spoken(turn: Turn) -> Turn:
    """Return a system turn as what the user says, marked as more than that; any other turn as it is."""
    if turn.role != "system":
        return turn
    return Turn(
        "user",
        [
            Text(f"<system>\n{part.text}\n</system>", part.cache)
            if isinstance(part, Text)
            else part
            for part in turn.parts
        ],
    )


def _close_for_user(messages: list[Block], *, prefill: bool) -> None:
    """Make ``messages``, which end with the assistant, end as the model accepts it."""
    content = messages[-1]["content"]
    last = content[-1]
    if last["type"] == "text":
        # White space at the end of what the assistant said last is refused.
        last["text"] = last["text"].rstrip()
        if not last["text"]:
            content.pop()
        if not content:
            messages.pop()
            return
        if prefill:
            return
    messages.append({"role": "user", "content": [_text(GO_ON)]})


# Parts.


def _content(turn: Turn, names: Names, call_ids: Mapping[str, str]) -> list[Block]:
    """Return the blocks of a turn: thinking first and calls last, as the API demands of the assistant."""
    thinking: list[Block] = []
    said: list[Block] = []
    calls: list[Block] = []
    for part in turn.parts:
        match part:
            case Thinking() | Redacted():
                thinking += own_thinking(part)
            case Call():
                calls.append(_call(part, names, call_ids))
            case Result():
                said.append(_result(part, call_ids))
            case Refusal():
                said.append(_text(part.text))
            case Text():
                said.append(_text(part.text, part.cache))
            case Image() | File() | Audio():
                if turn.role == "assistant":
                    raise unsupported(
                        part.path,
                        "found media that the assistant sent; an Anthropic model takes it from users only",
                    )
                said.append(_media(part))
            case _:
                assert_never(part)
    return [*thinking, *said, *calls]


def _text(text: str, cache: Json | None = None) -> Block:
    return _cached({"type": "text", "text": text}, cache)


def _call(call: Call, names: Names, call_ids: Mapping[str, str]) -> Block:
    block: Block = {
        "type": "tool_use",
        "id": call_ids.get(call.id) or call_id_for("anthropic", call.id),
        "name": names.to_upstream(flat_name(call.namespace, call.name)),
        "input": {"input": call.arguments} if call.custom else tool_input(call.arguments),
    }
    return _cached(block, call.cache)


def tool_input(arguments: str) -> Block:
    """Return the object that ``arguments`` are; what is no JSON object travels inside one, as a model may well break its JSON."""
    if not arguments.strip():
        return {}
    try:
        value = loads(arguments)
    except orjson.JSONDecodeError:
        value = None
    return value if isinstance(value, dict) else {"_raw_arguments": arguments}


def _result(result: Result, call_ids: Mapping[str, str]) -> Block:
    block: Block = {
        "type": "tool_result",
        "tool_use_id": call_ids.get(result.call_id) or call_id_for("anthropic", result.call_id),
    }
    content = [part for part in result.content if not isinstance(part, Text) or part.text]
    match content:
        case [] if not result.in_parts:
            block["content"] = ""
        case [Text(text=text, cache=None)] if not result.in_parts:
            block["content"] = text
        case _:
            block["content"] = [
                _text(part.text, part.cache) if isinstance(part, Text) else _media(part)
                for part in content
            ]
    if result.is_error:
        block["is_error"] = True
    return _cached(block, result.cache)


# Media.


def _media(part: Image | File | Audio) -> Block:
    match part:
        case Image():
            return _cached({"type": "image", "source": _image_source(part)}, part.cache)
        case File():
            block: Block = {"type": "document", "source": _document_source(part)}
            if part.name is not None:
                block["title"] = part.name
            return _cached(block, part.cache)
        case Audio():
            raise unsupported(
                part.path,
                "found audio, which Anthropic models do not take; expected text, an image or a document",
            )
        case _:
            assert_never(part)


def _image_source(image: Image) -> Block:
    if image.data is not None:
        mime = _mime(image.mime)
        # A common misnomer.
        mime = "image/jpeg" if mime == "image/jpg" else mime
        if mime not in _IMAGE_TYPES:
            raise unsupported(
                image.path, f"found an image of type {mime[:64]!r}, expected JPEG, PNG, GIF or WebP"
            )
        return {"type": "base64", "media_type": mime, "data": image.data}
    return _remote_source(image)


def _document_source(file: File) -> Block:
    if file.data is None:
        return _remote_source(file)
    mime = _mime(file.mime)
    if mime == "application/pdf":
        return {"type": "base64", "media_type": mime, "data": file.data}
    if mime != "text/plain":
        raise unsupported(
            file.path, f"found a file of type {mime[:64]!r}, expected a PDF or plain text"
        )
    try:
        plain = base64.b64decode(file.data, validate=True).decode()
    except (binascii.Error, ValueError):
        raise invalid(file.path, "found a text file that is not UTF-8 in base64") from None
    return {"type": "text", "media_type": "text/plain", "data": plain}


def _remote_source(part: Image | File) -> Block:
    if part.url is not None and part.url.startswith("https://"):
        return {"type": "url", "url": part.url}
    if part.file_id is not None and part.file_id.startswith(_FILE_ID):
        return {"type": "file", "file_id": part.file_id}
    raise unsupported(
        part.path,
        "found an address or file that Anthropic cannot read, expected an https URL or a file of its own",
    )


def _mime(mime: str | None) -> str:
    """Return a media type without its parameters."""
    return (mime or "").partition(";")[0].strip().lower()


def _cached(block: Block, cache: Json | None) -> Block:
    if cache is not None:
        block["cache_control"] = dict(cache)
    return block
