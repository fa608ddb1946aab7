"""The messages of a chat client's request as turns of the neutral form."""

from __future__ import annotations

from typing import Literal

from proxy.dialects import envelope
from proxy.dialects.chat.parts import read_cache, read_content
from proxy.dialects.conversation import (
    Call,
    Conversation,
    File,
    Image,
    Json,
    Part,
    Redacted,
    Refusal,
    Result,
    Text,
    Thinking,
    Turn,
)
from proxy.dialects.fields import (
    Object,
    join,
    mapping,
    needed_mapping,
    needed_objects,
    needed_string,
    objects,
    string,
    wrong_word,
)
from proxy.dialects.names import hashed_id
from proxy.errors import unsupported

_ROLES = ("system", "developer", "user", "assistant", "tool", "function")
_OPENAI_REASONING = "openai-responses"
_GEMINI_REASONING = "google-gemini"


def read_messages(body: Object, conversation: Conversation) -> None:
    """Read ``messages``: the leading run of system and developer messages is the system prompt, the rest are turns."""
    legacy_calls: dict[str, str] = {}
    leading, last = True, 0
    for position, (at, message) in enumerate(needed_objects(body, "messages")):
        role = needed_string(message, "role", at)
        if role in {"system", "developer"}:
            texts = _texts(message, at)
            if leading:
                texts = [text for text in texts if text.text]
                conversation.system += texts
                last = len(texts) or last
            else:
                conversation.turns.append(Turn("system", list(texts)))
            continue
        leading = False
        if role == "user":
            turn = Turn("user", [*read_content(message, at)])
        elif role == "assistant":
            turn = Turn("assistant", _said(message, at, position, legacy_calls))
        elif role == "tool":
            turn = Turn("user", [_result(message, at, needed_string(message, "tool_call_id", at))])
        elif role == "function":
            name = needed_string(message, "name", at)
            # Results of that era know their call by name only.
            turn = Turn("user", [_result(message, at, legacy_calls.get(name, name))])
        else:
            raise wrong_word(join(at, "role"), role, _ROLES)
        _mark(turn.parts, read_cache(message, at))
        conversation.turns.append(turn)
    conversation.let_last_speak(last)


def _mark(parts: list[Part], cache: Json | None) -> None:
    """Put a whole message's cache marker on its last part, which is where the cached prefix ends."""
    if cache is None or not parts:
        return
    last = parts[-1]
    if isinstance(last, Text | Image | File | Call | Result):
        last.cache = last.cache or cache


def _texts(message: Object, at: str) -> list[Text]:
    texts = []
    for part in read_content(message, at):
        if not isinstance(part, Text):
            raise unsupported(
                join(at, "content"), f"`{at}.content`: a system message can hold text only."
            )
        texts.append(part)
    _mark(list(texts), read_cache(message, at))
    return texts


def _result(message: Object, at: str, call_id: str) -> Result:
    content = [part for part in read_content(message, at) if not isinstance(part, Refusal)]
    return Result(call_id, content, in_parts=isinstance(message.get("content"), list))


# What the assistant said.


def _said(message: Object, at: str, position: int, legacy_calls: dict[str, str]) -> list[Part]:
    if message.get("audio") is not None:
        raise unsupported(
            join(at, "audio"), f"`{at}.audio`: spoken turns of the assistant are not supported."
        )
    parts: list[Part] = [*_thinking(message, at)]
    parts += read_content(message, at)
    refusal = string(message, "refusal", at)
    if refusal:
        parts.append(Refusal(refusal))
    parts += [_call(call, where) for where, call in objects(message, "tool_calls", at)]
    legacy = mapping(message, "function_call", at)
    if legacy is not None:
        where = join(at, "function_call")
        name = needed_string(legacy, "name", where)
        call_id = legacy_calls[name] = hashed_id(str(position), name)
        parts.append(Call(call_id, name, string(legacy, "arguments", where) or ""))
    return parts


def _call(call: Object, at: str) -> Call:
    call_id = needed_string(call, "id", at)
    if string(call, "type", at) == "custom":
        custom = needed_mapping(call, "custom", at)
        at = join(at, "custom")
        return Call(
            call_id,
            needed_string(custom, "name", at),
            string(custom, "input", at) or "",
            custom=True,
        )
    function = needed_mapping(call, "function", at)
    inside = join(at, "function")
    return Call(
        call_id,
        needed_string(function, "name", inside),
        string(function, "arguments", inside) or "",
        signature=_seal_of_call(call),
    )


def _seal_of_call(call: Object) -> str:
    """Return Gemini's seal on a call, in the place where Google's own OpenAI-compatible API has it."""
    match call:
        case {"extra_content": {"google": {"thought_signature": str(seal)}}} if seal:
            return _enveloped("gem", seal)
        case _:
            return ""


def _thinking(message: Object, at: str) -> list[Thinking | Redacted]:
    """Return the sealed reasoning that a client echoes; what has no seal is of no use to any provider.

    Two conventions: ``thinking_blocks`` hold Anthropic's blocks as they are, ``reasoning_details`` are OpenRouter's.
    """
    found: list[Thinking | Redacted] = []
    for where, block in objects(message, "thinking_blocks", at):
        if string(block, "type", where) == "redacted_thinking":
            data = string(block, "data", where)
            if data:
                found.append(Redacted(data))
        else:
            signature = string(block, "signature", where)
            if signature:
                found.append(Thinking(string(block, "thinking", where) or "", signature))
    return found or _reasoning_details(message, at)


def _reasoning_details(message: Object, at: str) -> list[Thinking | Redacted]:
    found: list[Thinking | Redacted] = []
    summary = ""
    for where, detail in objects(message, "reasoning_details", at):
        kind = string(detail, "type", where)
        form = string(detail, "format", where) or ""
        if kind == "reasoning.summary":
            summary += string(detail, "summary", where) or ""
        elif kind == "reasoning.text":
            signature = string(detail, "signature", where)
            if signature and form.startswith("anthropic"):
                found.append(Thinking(string(detail, "text", where) or "", signature))
        elif kind == "reasoning.encrypted":
            data = string(detail, "data", where)
            if data:
                found += _encrypted(form, data, summary)
                summary = ""
    return found


def _encrypted(form: str, data: str, summary: str) -> list[Thinking | Redacted]:
    if form.startswith("anthropic"):
        return [Redacted(data)]
    if form.startswith(_OPENAI_REASONING):
        sealed = _enveloped("oai", data)
        return [Thinking(summary, sealed) if summary else Redacted(sealed)]
    if form.startswith(_GEMINI_REASONING):
        return [Thinking(summary, _enveloped("gem", data))]
    return []


def _enveloped(maker: Literal["oai", "gem"], seal: str) -> str:
    return seal if seal.startswith(envelope.PREFIX) else envelope.wrap(maker, seal)
