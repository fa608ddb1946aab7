"""What a recorded answer says, read from its bytes by nothing but this file.

The gateway's translation is compared with this reading, so it shares no code with it: a mistake would have to be made
twice. It is written for clarity and knows only what the recordings hold.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]


@dataclass(slots=True)
class Tokens:
    """``prompt`` includes what was read from and written to caches, ``completion`` includes reasoning."""

    prompt: int = 0
    cached: int = 0
    written: int = 0
    completion: int = 0
    reasoning: int = 0


@dataclass(slots=True)
class Told:
    """One answer. ``finish`` is a word of OpenAI's chat dialect, or ``stop_sequence``, ``pause`` or ``broken``.

    ``error`` is what the answer failed with, inside a 200 or by its status; ``cut`` says that it never came to its end.
    ``calls`` are (name, arguments as they were written). A ``refusal`` is what the model says, an ``explanation`` what is
    said about its having been stopped.
    """

    text: str = ""
    reasoning: str = ""
    refusal: str = ""
    explanation: str = ""
    images: int = 0
    calls: list[tuple[str, str]] = field(default_factory=list)
    finish: str = "stop"
    tokens: Tokens | None = None
    error: Json | str | None = None
    cut: bool = False


def read(wire: str, body: bytes, *, stream: bool, reasoning_outside: bool = False) -> Told:
    """Return what the answer with status 200 says; ``reasoning_outside`` as in ``proxy.providers.Flags``."""
    text = body.decode().strip()
    if not stream or text.startswith("{"):
        document = json.loads(text)
        told = _error_told(document) or _DOCUMENTS[wire](document)
        told.cut = False
    elif text.startswith("["):
        told = _gemini([*json.loads(text)])
    else:
        told = _STREAMS[wire](events(body))
    if reasoning_outside and told.tokens is not None:
        told.tokens.completion = max(
            told.tokens.completion, _total(wire, body) - told.tokens.prompt
        )
    if told.calls and told.finish == "stop":
        told.finish = "tool_calls"
    return told


def events(body: bytes) -> list[Any]:
    """Return the payloads of an event stream: parsed JSON, or ``"[DONE]"``; what is neither is left out."""
    found: list[Any] = []
    for block in blocks(body):
        data = "\n".join(line[5:].removeprefix(" ") for line in block if line.startswith("data:"))
        if data == "[DONE]":
            found.append(data)
        elif data or block[0].startswith("{"):
            try:
                found.append(json.loads(data or "\n".join(block)))
            except json.JSONDecodeError:
                continue
    return found


def blocks(body: bytes) -> list[list[str]]:
    """Return the lines of each block of an event stream."""
    text = body.decode().removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    return [block.split("\n") for block in re.split(r"\n\n+", text.strip("\n")) if block]


def arguments_of(text: str) -> Any:
    """Return tool arguments as a value: parsed where they are JSON, nothing as no arguments, else the text itself."""
    try:
        return json.loads(text) if text.strip() else {}
    except json.JSONDecodeError:
        return text


def _error_told(document: Any) -> Told | None:
    if isinstance(document, dict) and document.get("error"):
        return Told(error=document["error"])
    return None


# Chat completions.


def _chat_document(document: Json) -> Told:
    choice = (document.get("choices") or [{}])[0]
    if choice.get("error"):
        return Told(error=choice["error"])
    message = choice.get("message") or {}
    told = Told(finish=_CHAT_FINISH.get(choice.get("finish_reason") or "stop", "stop"))
    _chat_message(told, message)
    calls = [_chat_call(call) for call in message.get("tool_calls") or []]
    if message.get("function_call"):
        calls.append(_chat_call({"function": message["function_call"]}))
    # Snowflake fills every field in: a call without a name is none.
    told.calls = [(name, arguments) for name, arguments in calls if name]
    told.tokens = _chat_tokens(document)
    return told


def _chat_stream(payloads: list[Any]) -> Told:
    told = Told()
    calls: dict[Any, list[str]] = {}
    finish: str | None = None
    spoke = False
    """Something was said before the first finish_reason: then nothing counts that is said behind it."""
    for chunk in payloads:
        if chunk == "[DONE]":
            break
        if chunk.get("error"):
            told.error = chunk["error"]
            return told
        told.tokens = _chat_tokens(chunk) or told.tokens
        for choice in chunk.get("choices") or []:
            if choice.get("error"):
                told.error = choice["error"]
                return told
            if choice.get("index", 0) != 0:
                continue
            if finish is None or not spoke:
                delta = choice.get("delta") or {}
                _chat_message(told, delta)
                _chat_calls(calls, delta)
            spoke = bool(told.text or calls)
            finish = choice.get("finish_reason") or finish
    told.calls = [(name, arguments) for name, arguments in calls.values()]
    told.cut = finish is None and "[DONE]" not in payloads
    told.finish = _CHAT_FINISH.get(finish or "stop", "stop")
    return told


def _chat_message(told: Told, message: Json) -> None:
    content = message.get("content")
    parts: list[Json] = (
        content if isinstance(content, list) else [{"type": "text", "text": content}]
    )
    for part in parts:
        if part.get("type") == "text":
            told.text += part.get("text") or ""
        elif part.get("type") == "thinking":
            told.reasoning += "".join(
                piece.get("text") or "" for piece in part.get("thinking") or []
            )
    details = "".join(
        detail.get("text") or detail.get("summary") or ""
        for detail in message.get("reasoning_details") or []
    )
    told.reasoning += message.get("reasoning_content") or message.get("reasoning") or details
    told.refusal += message.get("refusal") or ""


def _chat_calls(calls: dict[Any, list[str]], delta: Json) -> None:
    fragments = list(delta.get("tool_calls") or [])
    if delta.get("function_call"):
        fragments.append({"index": "legacy", "function": delta["function_call"]})
    for fragment in fragments:
        name, arguments = _chat_call(fragment)
        # A fragment that names no index starts a call where it has a name.
        index = fragment.get("index")
        if index is None:
            index = len(calls) if name else len(calls) - 1
        known = calls.setdefault(index, ["", ""])
        known[0] = known[0] or name
        known[1] += arguments


def _chat_call(call: Json) -> tuple[str, str]:
    function = call.get("function") or call.get("custom") or {}
    arguments = function.get("arguments", function.get("input"))
    if isinstance(arguments, dict):
        arguments = json.dumps(arguments)
    return function.get("name") or "", arguments or ""


def _chat_tokens(document: Json) -> Tokens | None:
    usage = document.get("usage") or (document.get("x_groq") or {}).get("usage")
    if not usage:
        return None
    prompt = usage.get("prompt_tokens_details") or {}
    completion = usage.get("completion_tokens_details") or {}
    return Tokens(
        prompt=usage.get("prompt_tokens") or 0,
        cached=prompt.get("cached_tokens") or usage.get("prompt_cache_hit_tokens") or 0,
        written=prompt.get("cache_write_tokens") or 0,
        completion=usage.get("completion_tokens") or 0,
        reasoning=completion.get("reasoning_tokens") or usage.get("reasoning_tokens") or 0,
    )


_CHAT_FINISH = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}


# Messages.


def _messages_document(document: Json) -> Told:
    told = Told(finish=_MESSAGES_FINISH.get(document.get("stop_reason") or "end_turn", "stop"))
    for block in document.get("content") or []:
        _messages_block(told, block)
    told.explanation = (document.get("stop_details") or {}).get("explanation") or ""
    told.tokens = _messages_tokens(document.get("usage"))
    return told


def _messages_stream(payloads: list[Any]) -> Told:
    told = Told(cut=True)
    usage: Json = {}
    called: dict[int, list[str]] = {}
    for event in payloads:
        match event.get("type"):
            case "error":
                told.error = event["error"]
                return told
            case "message_start":
                usage |= event["message"].get("usage") or {}
            case "content_block_start" if event["content_block"]["type"] == "tool_use":
                called[event["index"]] = [event["content_block"]["name"], ""]
            case "content_block_start":
                _messages_block(told, event["content_block"])
            case "content_block_delta":
                delta = event["delta"]
                told.text += delta.get("text") or ""
                told.reasoning += delta.get("thinking") or ""
                if event["index"] in called:
                    called[event["index"]][1] += delta.get("partial_json") or ""
            case "message_delta":
                usage |= {
                    name: value
                    for name, value in (event.get("usage") or {}).items()
                    if value is not None
                }
                told.finish = _MESSAGES_FINISH.get(
                    event["delta"].get("stop_reason") or "end_turn", "stop"
                )
            case "message_stop":
                told.cut = False
            case _:
                pass
    told.calls = [(name, arguments) for name, arguments in called.values()]
    told.tokens = _messages_tokens(usage)
    return told


def _messages_block(told: Told, block: Json) -> None:
    match block.get("type"):
        case "text":
            told.text += block.get("text") or ""
        case "thinking":
            told.reasoning += block.get("thinking") or ""
        case "tool_use":
            told.calls.append((block["name"], json.dumps(block["input"])))
        case _:
            pass


def _messages_tokens(usage: Json | None) -> Tokens | None:
    if not usage:
        return None
    counted = [usage]
    kinds = [entry.get("type") for entry in usage.get("iterations") or []]
    if "compaction" in kinds and "fallback_message" not in kinds:
        # The top level tells the last message alone; each compaction is a call of its own, and is billed.
        counted = [
            entry for entry in usage["iterations"] if entry.get("type") in ("message", "compaction")
        ]

    def total(name: str) -> int:
        return sum(entry.get(name) or 0 for entry in counted)

    cached, written = total("cache_read_input_tokens"), total("cache_creation_input_tokens")
    return Tokens(
        prompt=total("input_tokens") + cached + written,
        cached=cached,
        written=written,
        completion=total("output_tokens"),
        reasoning=(usage.get("output_tokens_details") or {}).get("thinking_tokens") or 0,
    )


_MESSAGES_FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop_sequence",
    "max_tokens": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
    "pause_turn": "pause",
}


# Responses.


def _responses_document(document: Json) -> Told:
    if document.get("status") == "failed":
        return Told(error=document.get("error") or "failed")
    # One that is still being worked on was asked for in the background, which no call of ours is.
    told = Told(finish="broken" if document.get("status") in ("queued", "in_progress") else "stop")
    for item in document.get("output") or []:
        match item.get("type"):
            case "message":
                for part in item.get("content") or []:
                    told.text += part.get("text") or ""
                    told.refusal += part.get("refusal") or ""
            case "reasoning":
                summary = "\n\n".join(part.get("text") or "" for part in item.get("summary") or [])
                told.reasoning += summary or "".join(
                    part.get("text") or "" for part in item.get("content") or []
                )
            case "function_call" | "custom_tool_call":
                told.calls.append(_responses_call(item))
            case "image_generation_call":
                told.images += bool(item.get("result"))
            case _:
                pass
    _responses_end(told, document)
    return told


def _responses_stream(payloads: list[Any]) -> Told:
    told = Told(cut=True)
    for event in payloads:
        if event == "[DONE]":
            continue
        match event.get("type"):
            case "error":
                told.error = event.get("error") or event
                return told
            case "response.failed":
                told.error = event["response"].get("error") or "failed"
                return told
            case "response.output_text.delta":
                told.text += event["delta"]
            case "response.refusal.delta":
                told.refusal += event["delta"]
            case "response.reasoning_summary_part.added" if event.get("summary_index"):
                told.reasoning += "\n\n"
            case "response.reasoning_summary_text.delta" | "response.reasoning_text.delta":
                told.reasoning += event["delta"]
            case "response.output_item.done" if event["item"]["type"] in (
                "function_call",
                "custom_tool_call",
            ):
                told.calls.append(_responses_call(event["item"]))
            case "response.completed" | "response.incomplete":
                told.cut = False
                _responses_end(told, event["response"])
            case _:
                pass
    return told


def _responses_call(item: Json) -> tuple[str, str]:
    # A client that offered no tool for free text is told of one as it is told of every tool: with named arguments.
    free = item["type"] == "custom_tool_call"
    return item["name"], json.dumps({"input": item["input"]}) if free else item.get(
        "arguments"
    ) or ""


def _responses_end(told: Told, response: Json) -> None:
    reason = (response.get("incomplete_details") or {}).get("reason")
    if reason is not None:
        told.finish = {"max_output_tokens": "length", "content_filter": "content_filter"}.get(
            reason, "pause"
        )
    usage = response.get("usage")
    if usage:
        details = usage.get("input_tokens_details") or {}
        told.tokens = Tokens(
            prompt=usage.get("input_tokens") or 0,
            cached=details.get("cached_tokens") or 0,
            written=details.get("cache_write_tokens") or 0,
            completion=usage.get("output_tokens") or 0,
            reasoning=(usage.get("output_tokens_details") or {}).get("reasoning_tokens") or 0,
        )


# Gemini.


def _gemini(payloads: list[Any]) -> Told:
    told = Told(cut=True)
    usage: Json = {}
    for chunk in payloads:
        if chunk.get("error"):
            told.error = chunk["error"]
            return told
        usage |= {
            name: value
            for name, value in (chunk.get("usageMetadata") or {}).items()
            if value is not None
        }
        blocked = chunk.get("promptFeedback") or {}
        if blocked.get("blockReason") and not chunk.get("candidates"):
            told.refusal += blocked.get("blockReasonMessage") or blocked["blockReason"]
            told.finish, told.cut = "content_filter", False
        for candidate in chunk.get("candidates") or []:
            if candidate.get("index", 0) != 0:
                continue
            for part in (candidate.get("content") or {}).get("parts") or []:
                if "functionCall" in part:
                    call = part["functionCall"]
                    told.calls.append((call["name"], json.dumps(call.get("args") or {})))
                elif part.get("thought"):
                    told.reasoning += part.get("text") or ""
                else:
                    told.text += part.get("text") or ""
                    told.images += (
                        (part.get("inlineData") or {}).get("mimeType", "").startswith("image/")
                    )
            reason = candidate.get("finishReason")
            if reason is not None:
                told.finish, told.cut = _gemini_finish(reason), False
                told.explanation = (
                    candidate.get("finishMessage") or "" if told.finish == "content_filter" else ""
                )
    told.tokens = _gemini_tokens(usage) if usage else None
    return told


def _gemini_finish(reason: str | int) -> str:
    if isinstance(reason, int):
        reason = (
            "FINISH_REASON_UNSPECIFIED",
            "STOP",
            "MAX_TOKENS",
            "SAFETY",
            "RECITATION",
            "OTHER",
        )[reason]
    if reason == "STOP":
        return "stop"
    if reason == "MAX_TOKENS":
        return "length"
    if reason in (
        "SAFETY",
        "RECITATION",
        "BLOCKLIST",
        "PROHIBITED_CONTENT",
        "SPII",
        "MODEL_ARMOR",
        "LANGUAGE",
    ):
        return "content_filter"
    return "broken"


def _gemini_tokens(usage: Json) -> Tokens:
    def count(name: str) -> int:
        return usage.get(name) or 0

    candidates, thoughts = count("candidatesTokenCount"), count("thoughtsTokenCount")
    # Of a document behind a URL only the total knows what it has cost.
    asked = count("promptTokenCount") or max(0, count("totalTokenCount") - candidates - thoughts)
    prompt = asked + count("toolUsePromptTokenCount")
    # Some answers count the thoughts among the candidates' tokens: then the total leaves no room for them.
    within = bool(candidates) and prompt + candidates == count("totalTokenCount")
    return Tokens(
        prompt=prompt,
        cached=count("cachedContentTokenCount"),
        completion=candidates if within else candidates + thoughts,
        reasoning=thoughts,
    )


def _total(wire: str, body: bytes) -> int:
    """Return the last ``total_tokens`` of a chat answer."""
    found = re.findall(rb'"total_tokens"\s*:\s*(\d+)', body) if wire == "openai-chat" else []
    return int(found[-1]) if found else 0


_DOCUMENTS: dict[str, Callable[[Json], Told]] = {
    "openai-chat": _chat_document,
    "anthropic": _messages_document,
    "openai-responses": _responses_document,
    "gemini": lambda document: _gemini([document]),
}
_STREAMS: dict[str, Callable[[list[Any]], Told]] = {
    "openai-chat": _chat_stream,
    "anthropic": _messages_stream,
    "openai-responses": _responses_stream,
    "gemini": _gemini,
}
