"""A request for an upstream that speaks the Responses dialect.

Nothing is stored there: each request brings the whole conversation, and the model's sealed reasoning with it.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

from proxy.dialects import capabilities, envelope
from proxy.dialects.conversation import (
    Audio,
    Call,
    Conversation,
    Effort,
    File,
    Image,
    Part,
    Redacted,
    Refusal,
    Result,
    Text,
    Thinking,
    Turn,
    is_web_link,
)
from proxy.dialects.identity import identity_fields
from proxy.dialects.names import Names, call_ids_for, flat_name
from proxy.dialects.reply import Upstream, Written
from proxy.dialects.responses.tools import tool_names, write_tool_choice, write_tools
from proxy.errors import invalid, unsupported

PATH = "/v1/responses"
MIN_OUTPUT_TOKENS = 16
"""Below this the API answers 400."""
_TIERS = {"standard_only": "default"}


def write_request(conversation: Conversation, upstream: Upstream) -> Written:
    """Return the request that puts ``conversation``, repaired, to ``upstream``.

    Raises GatewayError 400 for content that has no form here.
    """
    names = tool_names(conversation)
    body: dict[str, Any] = {"model": upstream.model}
    if conversation.stream:
        body["stream"] = True
    body["store"] = False
    body["include"] = ["reasoning.encrypted_content"]
    if conversation.system:
        body["instructions"] = "\n\n".join(text.text for text in conversation.system)
    body["input"] = _Items(conversation, names).written()
    _write_tool_fields(body, conversation, names)
    if conversation.max_tokens is not None:
        body["max_output_tokens"] = max(MIN_OUTPUT_TOKENS, conversation.max_tokens)
        conversation.carry("max_tokens")
    _write_reasoning(body, conversation, upstream)
    _write_text(body, conversation)
    if conversation.logprobs:
        body["include"].append("message.output_text.logprobs")
        body["top_logprobs"] = conversation.top_logprobs or 0
        conversation.carry("logprobs", "top_logprobs")
    body.update(identity_fields(conversation))
    if conversation.service_tier is not None:
        body["service_tier"] = _TIERS.get(conversation.service_tier, conversation.service_tier)
        conversation.carry("service_tier")
    if conversation.metadata is not None and not conversation.user_is_opaque:
        body["metadata"] = conversation.metadata
        conversation.carry("metadata")
    conversation.carry("stream", "include_usage")
    return Written(
        path=PATH,
        body=body,
        names=names,
        dropped=conversation.dropped,
        weakened=conversation.weakened,
        stream=conversation.stream,
    )


# Parameters.


def _write_tool_fields(body: dict[str, Any], conversation: Conversation, names: Names) -> None:
    tools = write_tools(conversation, names)
    choice = write_tool_choice(conversation, names)
    if not tools:
        # Without tools OpenAI refuses the fields.
        conversation.choose_of_nothing()
        conversation.carry("tools", "parallel")
        return
    body["tools"] = tools
    if choice is not None:
        body["tool_choice"] = choice
    if conversation.parallel is not None:
        body["parallel_tool_calls"] = conversation.parallel
    conversation.carry("tools", "tool_choice", "parallel")


def _write_reasoning(body: dict[str, Any], conversation: Conversation, upstream: Upstream) -> None:
    """Write how much to think, and the sampling parameters, which OpenAI refuses of a model that thinks.

    A model of OpenAI's gets the nearest effort that it accepts; what others accept is not known, so they get what was asked.
    """
    row = capabilities.openai(upstream.model)
    wanted = _wanted_effort(conversation)
    reasoning = conversation.reasoning
    if not row.efforts and upstream.flags.official:
        thinks = False
        (conversation.carry if wanted in (None, "none") else conversation.weaken)("reasoning")
    else:
        if wanted is not None and row.efforts:
            wanted = capabilities.snap(wanted, row.efforts)
        thinks = (wanted or row.default) != "none"
        fields: dict[str, str] = {} if wanted is None else {"effort": wanted}
        if reasoning is not None and reasoning.want_text == "yes" and (thinks or wanted is None):
            fields["summary"] = "auto"
        if fields:
            body["reasoning"] = fields
        conversation.carry("reasoning")
    if row.efforts and thinks:
        return
    for name, value in (("temperature", conversation.temperature), ("top_p", conversation.top_p)):
        if value is not None:
            body[name] = value
            conversation.carry(name)


def _wanted_effort(conversation: Conversation) -> Effort | None:
    """Return the effort asked for: a message of the system may change it, and the last word counts."""
    for turn in reversed(conversation.turns):
        if turn.effort is not None:
            return turn.effort
    return (
        None
        if conversation.reasoning is None
        else capabilities.wanted_effort(conversation.reasoning)
    )


def _write_text(body: dict[str, Any], conversation: Conversation) -> None:
    text: dict[str, Any] = {}
    form = conversation.format
    if form.kind == "json":
        text["format"] = {"type": "json_object"}
    elif form.kind == "schema":
        text["format"] = {
            "type": "json_schema",
            "name": form.name or "output",
            **({} if form.description is None else {"description": form.description}),
            **({} if form.strict is None else {"strict": form.strict}),
            "schema": form.schema or {},
        }
    if conversation.verbosity is not None:
        text["verbosity"] = conversation.verbosity
    if text:
        body["text"] = text
    conversation.carry("format", "verbosity")


# Items.


class _Items:
    """Turns as input items: a message gathers neighbouring content, each call and each result is an item of its own."""

    def __init__(self, conversation: Conversation, names: Names) -> None:
        self._turns = conversation.turns
        self._names = names
        self._ids = call_ids_for("openai-responses", conversation)
        self._custom = {
            part.id
            for turn in self._turns
            for part in turn.parts
            if isinstance(part, Call) and part.custom
        }
        self._items: list[dict[str, Any]] = []

    def written(self) -> list[dict[str, Any]]:
        for turn in self._turns:
            if turn.role == "assistant":
                self._write_assistant(turn)
            else:
                self._write_other(turn)
        return self._items

    def _write_other(self, turn: Turn) -> None:
        role = "developer" if turn.role == "system" else "user"
        content: list[dict[str, Any]] = []
        for part in turn.parts:
            if isinstance(part, Result):
                self._say(role, content)
                content = []
                self._items.append(self._output(part))
            else:
                content.append(_input_part(part))
        self._say(role, content)

    def _write_assistant(self, turn: Turn) -> None:
        # Reasoning must be followed by what it led to, or the API refuses it: a last one that led to nothing stays out.
        reasoning: list[dict[str, Any]] = []
        content: list[dict[str, Any]] = []
        for part in turn.parts:
            match part:
                case Thinking() | Redacted():
                    sealed = _reasoning_item(part)
                    if sealed is not None:
                        self._say("assistant", content)
                        content = []
                        reasoning.append(sealed)
                    continue
                case Call():
                    self._say("assistant", content)
                    content = []
                    self._items += [*reasoning, self._call(part)]
                case Text():
                    self._items += reasoning
                    content.append({"type": "output_text", "text": part.text})
                case Refusal():
                    self._items += reasoning
                    content.append({"type": "refusal", "refusal": part.text})
                case Image() | File() | Audio():
                    raise unsupported(part.path, "An assistant's message can only hold text here.")
                case _:  # a result is never an assistant's
                    continue
            reasoning = []
        self._say("assistant", content)

    def _say(self, role: str, content: list[dict[str, Any]]) -> None:
        if content:
            self._items.append({"type": "message", "role": role, "content": content})

    def _call(self, call: Call) -> dict[str, Any]:
        name = self._names.to_upstream(flat_name(call.namespace, call.name))
        if call.custom:
            return {
                "type": "custom_tool_call",
                "call_id": self._ids[call.id],
                "name": name,
                "input": call.arguments,
            }
        return {
            "type": "function_call",
            "call_id": self._ids[call.id],
            "name": name,
            "arguments": call.arguments or "{}",
        }

    def _output(self, result: Result) -> dict[str, Any]:
        kind = (
            "custom_tool_call_output" if result.call_id in self._custom else "function_call_output"
        )
        output: str | list[dict[str, Any]]
        match result.content:
            case []:
                output = "Error" if result.is_error else ""
            case [Text(text=text)]:
                output = text
            case content:
                output = [_input_part(part) for part in content]
        return {"type": kind, "call_id": self._ids[result.call_id], "output": output}


def _reasoning_item(part: Thinking | Redacted) -> dict[str, Any] | None:
    """Return the reasoning item of ``part`` if OpenAI sealed it; it takes back no other reasoning."""
    text, opaque = (part.text, part.signature) if isinstance(part, Thinking) else ("", part.data)
    encrypted = envelope.open_for("oai", opaque)
    if encrypted is None:
        return None
    summary = [{"type": "summary_text", "text": text}] if text else []
    return {"type": "reasoning", "summary": summary, "encrypted_content": encrypted}


def _input_part(part: Part) -> dict[str, Any]:
    match part:
        case Text():
            return {"type": "input_text", "text": part.text}
        case Image():
            detail = {} if part.detail is None else {"detail": part.detail}
            return {"type": "input_image", **_image_source(part), **detail}
        case File():
            return _file_part(part)
        case Audio():
            raise unsupported(
                part.path, "Audio cannot be sent to this model; it takes text, images and files."
            )
        case _:  # thinking, calls and refusals are the assistant's
            raise unsupported(
                "messages", f"A {type(part).__name__.lower()} cannot stand in a user's message."
            )


def _image_source(image: Image) -> dict[str, str]:
    if image.data is not None:
        return {"image_url": f"data:{image.mime};base64,{image.data}"}
    if image.url is not None and is_web_link(image.url):
        return {"image_url": image.url}
    return {"file_id": _own_file_id(image)}


def _file_part(file: File) -> dict[str, Any]:
    if file.url is not None and is_web_link(file.url):
        return {"type": "input_file", "file_url": file.url}
    if file.data is None:
        return {"type": "input_file", "file_id": _own_file_id(file)}
    if file.mime == "text/plain":
        return {"type": "input_text", "text": _decoded(file)}
    name = file.name or ("document.pdf" if file.mime == "application/pdf" else "document")
    return {
        "type": "input_file",
        "filename": name,
        "file_data": f"data:{file.mime};base64,{file.data}",
    }


def _own_file_id(part: Image | File) -> str:
    if part.file_id is None or not part.file_id.startswith("file-"):
        raise unsupported(
            part.path, "The file is stored at another provider, which this model cannot reach."
        )
    return part.file_id


def _decoded(file: File) -> str:
    try:
        return base64.b64decode(file.data or "", validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as exc:
        raise invalid(file.path, "found other data, expected base64 of UTF-8 text") from exc
