"""The tools of a chat client's request, also those of the ``functions`` era, in the neutral form."""

from __future__ import annotations

from typing import Literal

from proxy.dialects.conversation import Conversation, Tool, ToolChoice
from proxy.dialects.fields import (
    Object,
    boolean,
    join,
    mapping,
    needed_mapping,
    needed_string,
    needed_word,
    objects,
    shown,
    string,
    wrong_type,
    wrong_value,
    wrong_word,
)
from proxy.errors import GatewayError, Kind

_MODES: dict[str, Literal["auto", "none", "required"]] = {
    "auto": "auto",
    "none": "none",
    "required": "required",
    "any": "required",  # Mistral's word
}
_CALLABLE = ("function", "custom")


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
        made = _function(needed_mapping(tool, "function", at), join(at, "function"))
    elif kind == "custom":
        made = _custom(needed_mapping(tool, "custom", at), join(at, "custom"))
    else:
        raise GatewayError(
            Kind.TOOL_NOT_SUPPORTED,
            f"`{at}`: tools of the type {shown(kind)} run at their own provider only; expected function or custom.",
            param=join(at, "type"),
        )
    made.cache = made.cache or mapping(tool, "cache_control", at)
    return made


def _function(function: Object, at: str) -> Tool:
    return Tool(
        name=_name(function, at),
        description=string(function, "description", at),
        parameters=mapping(function, "parameters", at),
        strict=boolean(function, "strict", at),
        cache=mapping(function, "cache_control", at),
    )


def _custom(custom: Object, at: str) -> Tool:
    made = Tool(name=_name(custom, at), description=string(custom, "description", at), custom=True)
    form = mapping(custom, "format", at) or {}
    at = join(at, "format")
    if string(form, "type", at) == "grammar":
        grammar = needed_mapping(form, "grammar", at)
        at = join(at, "grammar")
        made.grammar = (
            needed_string(grammar, "syntax", at),
            needed_string(grammar, "definition", at),
        )
    return made


def _name(holder: Object, at: str) -> str:
    name = needed_string(holder, "name", at)
    if not name:
        raise wrong_value(join(at, "name"), "", "a name")
    return name


def _choice(choice: object) -> ToolChoice:
    if not isinstance(choice, dict):
        return ToolChoice(_mode(choice, "tool_choice"))
    kind = needed_string(choice, "type", "tool_choice")
    if kind in _CALLABLE:
        named = needed_mapping(choice, kind, "tool_choice")
        return ToolChoice("tool", needed_string(named, "name", f"tool_choice.{kind}"))
    if kind == "allowed_tools":
        at = "tool_choice.allowed_tools"
        allowed = needed_mapping(choice, "allowed_tools", "tool_choice")
        mode = _mode(allowed.get("mode") or "auto", f"{at}.mode")
        return ToolChoice(
            mode,
            allowed=tuple(_allowed(tool, where) for where, tool in objects(allowed, "tools", at)),
        )
    raise wrong_word("tool_choice.type", kind, (*_CALLABLE, "allowed_tools"))


def _allowed(tool: Object, at: str) -> str:
    kind = needed_word(tool, "type", _CALLABLE, at)
    return needed_string(needed_mapping(tool, kind, at), "name", join(at, kind))


def _mode(value: object, param: str) -> Literal["auto", "none", "required"]:
    if not isinstance(value, str):
        raise wrong_type(param, value, "a string or an object")
    mode = _MODES.get(value)
    if mode is None:
        raise wrong_word(param, value, ("auto", "none", "required"))
    return mode
