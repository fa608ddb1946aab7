"""What OpenAI's Chat Completions API accepts, with the rules by which it refuses the rest."""

from __future__ import annotations

from proxy.demo import openai
from proxy.demo.models import Dialect, Model, find
from proxy.demo.node import Node
from proxy.demo.openai_request import (
    EFFORTS,
    check_attachment,
    check_call_id,
    check_tool_name,
    read_audio,
    read_choice,
    read_schema,
    read_tool,
)
from proxy.demo.picture import Attachment, data_url
from proxy.demo.prompt import Format, Prompt, Tool, Turn, joined
from proxy.demo.refusal import Refused

_FIELDS = frozenset(
    [
        "audio",
        "frequency_penalty",
        "function_call",
        "functions",
        "logit_bias",
        "logprobs",
        "max_completion_tokens",
        "max_tokens",
        "messages",
        "metadata",
        "modalities",
        "model",
        "moderation",
        "n",
        "parallel_tool_calls",
        "prediction",
        "presence_penalty",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "reasoning_effort",
        "response_format",
        "safety_identifier",
        "seed",
        "service_tier",
        "stop",
        "store",
        "stream",
        "stream_options",
        "temperature",
        "tool_choice",
        "tools",
        "top_logprobs",
        "top_p",
        "user",
        "verbosity",
        "web_search_options",
    ]
)
_ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
_MAX_CALL_ID = 40
_MAX_STOPS = 4


def read_prompt(root: Node) -> Prompt:
    """The prompt of a body; Refused where the real API would answer 400 or 404."""
    root.only(_FIELDS)
    model = _model(root)
    if root.get("stream_options") and not root.flag("stream"):
        raise root.invalid("stream_options", "it is only allowed when 'stream' is enabled")
    root.number("temperature", 0, 2)
    root.number("top_p", 0, 1)
    root.number("presence_penalty", -2, 2)
    root.number("frequency_penalty", -2, 2)
    tools = _tools(root)
    return Prompt(
        model=model,
        turns=_turns(root),
        tools=tools,
        choice=read_choice(root, tools, Node.need_node),
        parallel=root.get("parallel_tool_calls") is not False,
        thinking=_thinking(root),
        format=_format(root),
        stop=_stop(root),
        max_tokens=_limit(root),
    )


def _model(root: Node) -> Model:
    name = root.text("model")
    if not name:
        raise Refused(400, "you must provide a model parameter")
    model = find(name, Dialect.CHAT)
    if model is None:
        raise openai.unknown_model(name)
    return model


def _turns(root: Node) -> tuple[Turn, ...]:
    if root.get("messages") is None:
        raise root.missing("messages")
    messages = root.nodes("messages")
    if not messages:
        raise Refused(
            400,
            "Invalid 'messages': empty array. Expected an array with minimum length 1, "
            "but got an empty array instead.",
            "messages",
            "empty_array",
        )
    turns = tuple(map(_turn, messages))
    _check_pairs(messages)
    return turns


def _turn(message: Node) -> Turn:
    role = message.word("role", _ROLES)
    if role is None:
        raise message.missing("role")
    text, attachments = _content(message)
    match role:
        case "system" | "developer":
            return Turn("system", text)
        case "user":
            if message.get("content") is None:
                raise message.wrong("content", "a string or an array")
            return Turn("user", text, attachments)
        case "tool":
            return Turn("user", results=((message.need("tool_call_id"), text),))
        case "function":
            return Turn("user", results=((message.need("name"), text),))
        case _:
            calls = tuple(map(_past_call, message.nodes("tool_calls")))
            said = any(message.get(name) for name in ("refusal", "function_call", "audio"))
            if not (calls or said) and message.get("content") is None:
                raise message.wrong("content", "a string, as there are no tool calls")
            return Turn("assistant", text, calls=calls)


def _past_call(call: Node) -> tuple[str, str]:
    call_id = call.need("id")
    check_call_id(call_id, call.at("id"), _MAX_CALL_ID)
    if call.word("type", {"function", "custom"}) == "custom":
        return call_id, call.need_node("custom").need("name")
    function = call.need_node("function")
    check_tool_name(function.need("name"), function.at("name"))
    function.need("arguments")
    return call_id, function.need("name")


def _check_pairs(messages: list[Node]) -> None:
    """Tool messages directly follow the calls that they answer, and answer all of them."""
    waiting: list[str] = []
    allowed = False
    for message in messages:
        if message.get("role") == "tool":
            call_id = message.need("tool_call_id")
            if not allowed:
                raise Refused(
                    400,
                    "Invalid parameter: messages with role 'tool' must be a response to a "
                    "preceding message with 'tool_calls'.",
                    message.at("role"),
                )
            if call_id not in waiting:
                raise Refused(
                    400,
                    f"Invalid parameter: 'tool_call_id' of '{call_id}' not found in 'tool_calls' "
                    "of the previous message.",
                    message.at("tool_call_id"),
                )
            waiting.remove(call_id)
            continue
        _all_answered(waiting)
        waiting = [call.need("id") for call in message.nodes("tool_calls")]
        allowed = bool(waiting)
    _all_answered(waiting)


def _all_answered(waiting: list[str]) -> None:
    if waiting:
        raise Refused(
            400,
            "An assistant message with 'tool_calls' must be followed by tool messages responding "
            "to each 'tool_call_id'. The following tool_call_ids did not have response messages: "
            f"{', '.join(waiting)}",
            "messages",
        )


def _content(message: Node) -> tuple[str, tuple[Attachment, ...]]:
    content = message.get("content")
    if content is None or isinstance(content, str):
        return content or "", ()
    texts, attachments = [], []
    for part in message.nodes("content"):
        match part.need("type"):
            case "text":
                texts.append(part.need("text"))
            case "refusal":
                texts.append(part.need("refusal"))
            case "image_url" | "file" | "input_audio" if message.get("role") in ("user", "tool"):
                attachments.append(_attachment(part))
            case other:
                raise part.invalid("type", f"'{other}' is not a content type of this role")
    return joined(texts), tuple(attachments)


def _attachment(part: Node) -> Attachment:
    kind = part.need("type")
    if kind == "input_audio":
        return check_attachment(*read_audio(part))
    inner = part.need_node(kind)
    if kind == "file" and inner.text("file_id"):
        return Attachment("file", url=inner.need("file_id"))
    name = "url" if kind == "image_url" else "file_data"
    return check_attachment(data_url(inner.need(name)), inner.at(name))


def _tools(root: Node) -> tuple[Tool, ...]:
    tools = []
    for entry in root.nodes("tools"):
        if entry.word("type", {"function", "custom"}) is None:
            raise entry.missing("type")
        if entry.get("type") == "custom":
            continue  # free text has no schema to fill
        tools.append(read_tool(entry.need_node("function")))
    if not root.get("tools"):
        for name in ("tool_choice", "parallel_tool_calls"):
            if root.get(name) is not None:
                raise root.invalid(name, "it is only allowed when 'tools' are specified")
    return tuple(tools)


def _thinking(root: Node) -> bool | None:
    effort = root.word("reasoning_effort", EFFORTS)
    return None if effort is None else effort != "none"


def _format(root: Node) -> Format | None:
    form = root.node("response_format")
    match form and form.need("type"):
        case None | "text":
            return None
        case "json_object":
            if "json" not in str(root.get("messages")).lower():
                raise Refused(
                    400,
                    "'messages' must contain the word 'json' in some form, to use "
                    "'response_format' of type 'json_object'.",
                    "messages",
                )
            return Format()
        case "json_schema":
            outer = root.need_node("response_format").need_node("json_schema")
            return read_schema(outer, "response_format")
        case other:
            raise root.invalid("response_format.type", f"'{other}' is not supported")


def _stop(root: Node) -> tuple[str, ...]:
    raw = root.get("stop")
    stops = (raw,) if isinstance(raw, str) else root.texts("stop")
    if len(stops) > _MAX_STOPS:
        raise root.invalid("stop", f"expected at most {_MAX_STOPS} strings")
    return stops


def _limit(root: Node) -> int | None:
    new, old = root.whole("max_completion_tokens", 1), root.whole("max_tokens", 1)
    if new is not None and old is not None:
        raise Refused(
            400,
            "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.",
            "max_tokens",
        )
    return new if new is not None else old
