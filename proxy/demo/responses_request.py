"""What OpenAI's Responses API accepts, with the rules by which it refuses the rest."""

from __future__ import annotations

from proxy.demo.models import Dialect, Model, find
from proxy.demo.node import Node
from proxy.demo.opaque import is_ours
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
        "access_programs",
        "background",
        "client_metadata",
        "context_management",
        "conversation",
        "image",
        "include",
        "input",
        "instructions",
        "max_output_tokens",
        "max_tool_calls",
        "metadata",
        "model",
        "moderation",
        "parallel_tool_calls",
        "previous_response_id",
        "prompt",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "reasoning",
        "safety_identifier",
        "service_tier",
        "store",
        "stream",
        "stream_options",
        "temperature",
        "text",
        "tool_choice",
        "tools",
        "top_logprobs",
        "top_p",
        "truncation",
        "user",
    ]
)
_EFFORTS = EFFORTS | {"max"}
_MIN_OUTPUT = 16
_MAX_CALL_ID = 64

# What a role may say; an assistant speaks output, everybody else input.
_INPUT = frozenset({"input_text", "input_image", "input_file", "input_audio"})
_OUTPUT = frozenset({"output_text", "refusal"})


def read_prompt(root: Node) -> Prompt:
    """The prompt of a body; Refused where the real API would answer 400 or 404."""
    root.only(_FIELDS)
    model = _model(root)
    root.number("temperature", 0, 2)
    root.number("top_p", 0, 1)
    for name in ("previous_response_id", "conversation"):
        if isinstance(held := root.get(name), str):
            raise Refused(
                400, f"Previous response with id '{held}' not found.", name, f"{name}_not_found"
            )
    instructions = root.text("instructions")
    tools = _tools(root)
    return Prompt(
        model=model,
        turns=(*([Turn("system", instructions)] if instructions else []), *_turns(root)),
        tools=tools,
        choice=read_choice(root, tools, lambda node, _: node),
        parallel=root.get("parallel_tool_calls") is not False,
        thinking=_thinking(root),
        format=_format(root),
        max_tokens=_limit(root),
    )


def _model(root: Node) -> Model:
    name = root.text("model")
    if not name:
        raise root.missing("model")
    model = find(name, Dialect.RESPONSES)
    if model is None:
        raise Refused(
            400, f"The requested model '{name}' does not exist.", "model", "model_not_found"
        )
    return model


def _limit(root: Node) -> int | None:
    limit = root.whole("max_output_tokens", 0)
    if limit is not None and limit < _MIN_OUTPUT:
        raise Refused(
            400,
            "Invalid 'max_output_tokens': integer below minimum value. Expected a value >= "
            f"{_MIN_OUTPUT}, but got {limit} instead.",
            "max_output_tokens",
            "integer_below_min_value",
        )
    return limit


# Input items


def _turns(root: Node) -> list[Turn]:
    raw = root.get("input")
    if raw is None:
        raise root.missing("input")
    if isinstance(raw, str):
        return [Turn("user", raw)]
    items = root.nodes("input")
    if not items:
        raise root.invalid("input", "expected at least one item")
    _check_pairs(items)
    return [turn for item in items if (turn := _turn(item)) is not None]


def _turn(item: Node) -> Turn | None:
    match item.text("type") or "message":
        case "message":
            return _message(item)
        case "function_call" | "custom_tool_call":
            check_tool_name(item.need("name"), item.at("name"))
            field = "arguments" if item.get("type") == "function_call" else "input"
            item.need(field)
            return Turn("assistant", calls=((_call_id(item), item.need("name")),))
        case "function_call_output" | "custom_tool_call_output":
            text, attachments = _said(item, "output", _INPUT)
            shown = joined([text, *(shown.describe() for shown in attachments)])
            return Turn("user", results=((_call_id(item), shown),))
        case "reasoning":
            _check_reasoning(item)
            return None
        case "item_reference":
            raise Refused(404, f"Item with id '{item.need('id')}' not found.", "input")
        case _:
            return None  # history of tools that the provider runs itself


def _message(item: Node) -> Turn:
    role = item.word("role", {"user", "assistant", "system", "developer"})
    if role is None:
        raise item.missing("role")
    text, attachments = _said(item, "content", _OUTPUT if role == "assistant" else _INPUT)
    match role:
        case "user":
            return Turn("user", text, attachments)
        case "assistant":
            return Turn("assistant", text)
        case _:
            return Turn("system", text)


def _said(item: Node, field: str, allowed: frozenset[str]) -> tuple[str, tuple[Attachment, ...]]:
    content = item.get(field)
    if content is None:
        raise item.missing(field)
    return (content, ()) if isinstance(content, str) else _parts(item, field, allowed)


def _parts(item: Node, field: str, allowed: frozenset[str]) -> tuple[str, tuple[Attachment, ...]]:
    texts, attachments = [], []
    for part in item.nodes(field):
        kind = part.need("type")
        if kind not in allowed:
            supported = " and ".join(f"'{name}'" for name in sorted(allowed))
            raise Refused(
                400,
                f"Invalid value: '{kind}'. Supported values are: {supported}.",
                part.path,
                "invalid_value",
            )
        match kind:
            case "input_text" | "output_text":
                texts.append(part.need("text"))
            case "refusal":
                texts.append(part.need("refusal"))
            case _:
                attachments.append(_attachment(part))
    return joined(texts), tuple(attachments)


def _attachment(part: Node) -> Attachment:
    if part.text("file_id"):
        return Attachment("file", url=part.need("file_id"))
    match part.need("type"):
        case "input_image":
            name = "image_url"
        case "input_audio":
            return check_attachment(*read_audio(part))
        case _:
            name = "file_url" if part.text("file_url") else "file_data"
    return check_attachment(data_url(part.need(name)), part.at(name))


def _call_id(item: Node) -> str:
    call_id = item.need("call_id")
    if not call_id:
        raise item.missing("call_id")
    check_call_id(call_id, item.at("call_id"), _MAX_CALL_ID)
    return call_id


def _check_pairs(items: list[Node]) -> None:
    """Every call has its output, and every output a call before it."""
    open_calls: list[str] = []
    for item in items:
        kind = item.text("type")
        if kind in ("function_call", "custom_tool_call"):
            open_calls.append(_call_id(item))
        elif kind in ("function_call_output", "custom_tool_call_output"):
            call_id = _call_id(item)
            if call_id not in open_calls:
                raise Refused(
                    400,
                    f"No tool call found for function call output with call_id {call_id}.",
                    "input",
                )
            open_calls.remove(call_id)
    if open_calls:
        raise Refused(400, f"No tool output found for function call {open_calls[0]}.", "input")


def _check_reasoning(item: Node) -> None:
    if not isinstance(item.get("summary"), list):
        raise item.missing("summary")
    sealed = item.text("encrypted_content")
    if sealed is not None and not is_ours(sealed):
        raise Refused(
            400,
            f"The encrypted content for item {item.text('id') or ''} could not be verified.",
            None,
            "invalid_encrypted_content",
        )


# Tools and the shape of the answer


def _tools(root: Node) -> tuple[Tool, ...]:
    tools = []
    for entry in root.nodes("tools"):
        if entry.need("type") != "function":
            continue  # run by the provider, or without a schema to fill
        tools.append(read_tool(entry))
    return tuple(tools)


def _thinking(root: Node) -> bool | None:
    reasoning = root.node("reasoning")
    if reasoning is None:
        return None
    effort = reasoning.word("effort", _EFFORTS)
    summary = reasoning.word("summary", {"auto", "concise", "detailed"})
    if effort is None:
        return True if summary else None
    return effort != "none"


def _format(root: Node) -> Format | None:
    text = root.node("text")
    form = text.node("format") if text else None
    if form is None:
        return None
    match form.need("type"):
        case "text":
            return None
        case "json_object":
            if "json" not in str(root.get("input")).lower():
                raise Refused(
                    400,
                    "Response input messages must contain the word 'json' in some form to use "
                    "'text.format' of type 'json_object'.",
                    "input",
                )
            return Format()
        case "json_schema":
            return read_schema(form, "text.format")
        case other:
            raise form.invalid("type", f"'{other}' is not supported")
