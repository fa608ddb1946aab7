"""The tools of a chat client's request, also those of the ``functions`` era, in the neutral form."""

from __future__ import annotations

from typing import Literal

from proxy.dialects.chat.fields import (
    Object,
    boolean,
    json_object,
    needed_object,
    needed_string,
    objects,
    path,
    string,
    unknown_word,
    wrong,
)
from proxy.dialects.conversation import Conversation, Tool, ToolChoice
from proxy.errors import GatewayError, Kind

_MODES: dict[str, Literal["auto", "none", "required"]] = {
    "auto": "auto",
    "none": "none",
    "required": "required",
    "any": "required",  # Mistral's word
}


def read_tools(body: Object, conversation: Conversation) -> None:
    """Read ``tools``, or ``functions`` where there are none: then the answer is in their form too."""
    conversation.tools = [_tool(tool, at) for at, tool in objects(body, "tools")]
    functions = [_function(function, at) for at, function in objects(body, "functions")]
    if functions and not conversation.tools:
        conversation.tools = functions
        conversation.legacy_functions = True


def read_tool_choice(body: Object, conversation: Conversation) -> None:
    choice = body.get("tool_choice")
    if choice is not None:
        conversation.tool_choice = _choice(choice)
        conversation.given["tool_choice"] = "tool_choice"
        return
    call = body.get("function_call")
    if call is None:
        return
    conversation.given["tool_choice"] = "function_call"
    if isinstance(call, dict):
        conversation.tool_choice = ToolChoice("tool", needed_string(call, "name", "function_call"))
    else:
        conversation.tool_choice = ToolChoice(_mode(call, "function_call"))


def _tool(tool: Object, at: str) -> Tool:
    kind = string(tool, "type", at) or "function"  # which many servers take it for
    if kind == "function":
        made = _function(needed_object(tool, "function", at), path(at, "function"))
    elif kind == "custom":
        made = _custom(needed_object(tool, "custom", at), path(at, "custom"))
    else:
        raise GatewayError(
            Kind.TOOL_NOT_SUPPORTED,
            f'`{at}`: tools of the type "{kind[:40]}" run at their own provider only; expected "function" or "custom".',
            param=path(at, "type"),
        )
    made.cache = made.cache or json_object(tool, "cache_control", at)
    return made


def _function(function: Object, at: str) -> Tool:
    return Tool(
        name=_name(function, at),
        description=string(function, "description", at),
        parameters=json_object(function, "parameters", at),
        strict=boolean(function, "strict", at),
        cache=json_object(function, "cache_control", at),
    )


def _custom(custom: Object, at: str) -> Tool:
    made = Tool(name=_name(custom, at), description=string(custom, "description", at), custom=True)
    form = json_object(custom, "format", at) or {}
    at = path(at, "format")
    if string(form, "type", at) == "grammar":
        grammar = needed_object(form, "grammar", at)
        at = path(at, "grammar")
        made.grammar = (
            needed_string(grammar, "syntax", at),
            needed_string(grammar, "definition", at),
        )
    return made


def _name(holder: Object, at: str) -> str:
    name = needed_string(holder, "name", at)
    if not name:
        raise unknown_word(path(at, "name"), "", "a name")
    return name


def _choice(choice: object) -> ToolChoice:
    if not isinstance(choice, dict):
        return ToolChoice(_mode(choice, "tool_choice"))
    kind = needed_string(choice, "type", "tool_choice")
    if kind in {"function", "custom"}:
        named = needed_object(choice, kind, "tool_choice")
        return ToolChoice("tool", needed_string(named, "name", f"tool_choice.{kind}"))
    if kind == "allowed_tools":
        at = "tool_choice.allowed_tools"
        allowed = needed_object(choice, "allowed_tools", "tool_choice")
        mode = _mode(allowed.get("mode") or "auto", f"{at}.mode")
        return ToolChoice(
            mode,
            allowed=tuple(_allowed(tool, where) for where, tool in objects(allowed, "tools", at)),
        )
    raise unknown_word("tool_choice.type", kind, '"function", "custom" or "allowed_tools"')


def _allowed(tool: Object, at: str) -> str:
    kind = needed_string(tool, "type", at)
    if kind not in {"function", "custom"}:
        raise unknown_word(path(at, "type"), kind, '"function" or "custom"')
    return needed_string(needed_object(tool, kind, at), "name", path(at, kind))


def _mode(value: object, param: str) -> Literal["auto", "none", "required"]:
    if not isinstance(value, str):
        raise wrong(param, value, "a string or an object")
    mode = _MODES.get(value)
    if mode is None:
        raise unknown_word(param, value, '"auto", "none" or "required"')
    return mode
