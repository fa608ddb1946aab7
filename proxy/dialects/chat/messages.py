"""The turns of the neutral form as the messages of a chat request."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence

import orjson

from proxy.dialects import envelope
from proxy.dialects.conversation import (
    Audio,
    Call,
    Conversation,
    File,
    Image,
    Part,
    Refusal,
    Result,
    Text,
    Thinking,
    Turn,
    is_web_link,
)
from proxy.dialects.fields import Object
from proxy.dialects.names import Names, call_ids_for, flat_name
from proxy.dialects.reply import Upstream
from proxy.errors import unsupported

BETWEEN_TEXTS = "\n\n"
"""What stands between texts of one message that are sent as one string."""
NO_WORDS = "Error"
"""What a tool that failed without a word is taken to have said."""
_PDF = "application/pdf"


def write_messages(conversation: Conversation, upstream: Upstream, names: Names) -> list[Object]:
    """Return the messages of ``conversation`` in their order; raises GatewayError 400 for content without a form."""
    writer = _Writer(
        upstream, names, call_ids_for("openai-chat", conversation, nine=upstream.flags.tool_id_nine)
    )
    written = (
        [{"role": "system", "content": _joined(conversation.system)}] if conversation.system else []
    )
    for turn in conversation.turns:
        if turn.role == "user":
            written += writer.user(turn)
        elif turn.role == "assistant":
            written.append(writer.assistant(turn))
        else:
            written.append({"role": "system", "content": _joined(turn.parts)})
    return written


class _Writer:
    """Renders turns for one upstream; ``ids`` maps call ids to what is sent for them."""

    def __init__(self, upstream: Upstream, names: Names, ids: dict[str, str]) -> None:
        self._names = names
        self._ids = ids
        self._reasoning_field = upstream.flags.reasoning_field
        # Google's own OpenAI-compatible API wants its seals back; other servers refuse the field.
        self._seals = upstream.model.rpartition("/")[2].startswith("gemini-")

    def user(self, turn: Turn) -> list[Object]:
        """Return a message for each tool result, then one for all else that the user said.

        A tool message can hold text only, so pictures and files of a result follow as the user's, with the call's name.
        """
        written: list[Object] = []
        content: list[Object] = []
        for part in turn.parts:
            if not isinstance(part, Result):
                continue
            call_id = self._ids[part.call_id]
            said = _joined(part.content) or (NO_WORDS if part.is_error else "")
            written.append({"role": "tool", "tool_call_id": call_id, "content": said})
            for shown in part.content:
                if not isinstance(shown, Text):
                    kind = "image" if isinstance(shown, Image) else "file"
                    content.append(
                        {"type": "text", "text": f"[{kind} returned by tool call {call_id}]"}
                    )
                    content.append(_part(shown))
        content += [_part(part) for part in turn.parts if not isinstance(part, Result)]
        if content:
            written.append({"role": "user", "content": _as_string(content)})
        return written

    def assistant(self, turn: Turn) -> Object:
        texts: list[str] = []
        thoughts: list[str] = []
        calls: list[Object] = []
        for part in turn.parts:
            match part:
                case Text() | Refusal():
                    texts.append(part.text)
                case Thinking():
                    thoughts.append(part.text)
                case Call():
                    calls.append(self._call(part))
                case Image() | File() | Audio():
                    raise unsupported(
                        part.path, f"`{part.path}`: the assistant's turns can hold text only."
                    )
                case _:
                    pass  # redacted: sealed by another provider; results are in user turns
        message: Object = {
            "role": "assistant",
            "content": "".join(texts) or (None if calls else ""),
        }
        thought = "".join(thoughts)
        if self._reasoning_field and (thought or calls):
            message["reasoning_content"] = thought
        if calls:
            message["tool_calls"] = calls
        return message

    def _call(self, call: Call) -> Object:
        arguments = call.arguments or "{}"
        if call.custom:
            arguments = orjson.dumps({"input": call.arguments}).decode()
        name = self._names.to_upstream(flat_name(call.namespace, call.name))
        written: Object = {
            "id": self._ids[call.id],
            "type": "function",
            "function": {"name": name, "arguments": arguments},
        }
        seal = envelope.open_for("gem", call.signature) if self._seals else None
        if seal is not None:
            written["extra_content"] = {"google": {"thought_signature": seal}}
        return written


def _joined(parts: Sequence[Part]) -> str:
    return BETWEEN_TEXTS.join(part.text for part in parts if isinstance(part, Text) and part.text)


def _as_string(content: list[Object]) -> str | list[Object]:
    """Return content that is text only as one string: some servers take no list, and none refuses a string."""
    if all(part["type"] == "text" for part in content):
        return BETWEEN_TEXTS.join(part["text"] for part in content)
    return content


def _part(part: Part) -> Object:
    match part:
        case Text() | Refusal() | Thinking():
            return {"type": "text", "text": part.text}
        case Image():
            return {"type": "image_url", "image_url": _image(part)}
        case Audio():
            return {
                "type": "input_audio",
                "input_audio": {"data": part.data, "format": part.format},
            }
        case File():
            return _file(part)
        case _:
            raise TypeError(f"a user turn cannot hold a {type(part).__name__}")


def _image(image: Image) -> Object:
    if image.data is not None:
        written: Object = {"url": f"data:{image.mime};base64,{image.data}"}
    elif image.url is not None and is_web_link(image.url):
        written = {"url": image.url}
    else:
        raise unsupported(
            image.path,
            f"`{image.path}`: this model sees images as data or by a link to the web only.",
        )
    if image.detail is not None:
        written["detail"] = image.detail
    return written


def _file(file: File) -> Object:
    """Return a PDF as a file and plain text as text; chat has no form for other documents, nor for their addresses."""
    mime = (file.mime or "").partition(";")[0]
    if file.data is None or not (mime == _PDF or mime.startswith("text/")):
        told = "by address or file id" if file.data is None else f'of the type "{mime}"'
        raise unsupported(file.path, f"`{file.path}`: this model cannot read files {told}.")
    if mime == _PDF:
        name = file.name or "document.pdf"
        return {
            "type": "file",
            "file": {"filename": name, "file_data": f"data:{_PDF};base64,{file.data}"},
        }
    try:
        text = base64.b64decode(file.data, validate=True).decode()
    except (binascii.Error, ValueError) as exc:
        raise unsupported(file.path, f"`{file.path}`: expected base64 of UTF-8 text.") from exc
    return {"type": "text", "text": text}
