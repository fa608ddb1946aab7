"""Tools and tool choices of a Responses request, read and written."""

from __future__ import annotations

from typing import Any, Literal, cast

from proxy.dialects.conversation import Conversation, Tool, ToolChoice, WebSearch
from proxy.dialects.names import Names, flat_name
from proxy.dialects.responses.fields import (
    boolean,
    mapping,
    objects,
    one_of,
    optional,
    required,
    text,
    wrong,
)
from proxy.errors import GatewayError, Kind

_HOSTED = frozenset(
    {
        "apply_patch",
        "code_interpreter",
        "computer",
        "computer_use_preview",
        "file_search",
        "image_generation",
        "local_shell",
        "mcp",
        "programmatic_tool_calling",
        "shell",
        "tool_search",
    }
)
"""Tools that OpenAI runs itself, or whose calls have item types of their own. Elsewhere there is nothing like them."""
NO_ARGUMENTS: dict[str, Any] = {"type": "object", "properties": {}}


# Reading.


def read_tools(conversation: Conversation, tools: list[Any], path: str) -> None:
    """Add ``tools``, which stand at ``path``, to those of ``conversation``; one that is declared twice counts once."""
    for tool, where in objects(tools, path):
        kind = required(tool, "type", where, text)
        if kind.startswith("web_search"):
            _read_web_search(conversation, tool, where)
        elif kind == "namespace":
            namespace = required(tool, "name", where, text)
            for inner, inner_path in required(tool, "tools", where, objects):
                required(inner, "type", inner_path, one_of("function", "custom"))
                _add(conversation, _read_tool(inner, inner_path, namespace))
        elif kind in ("function", "custom"):
            _add(conversation, _read_tool(tool, where, None))
        else:
            name = f"tools[{kind if kind in _HOSTED else 'unknown'}]"
            conversation.given[name] = name


def read_tool_choice(value: Any) -> ToolChoice:
    """Return the client's choice; one that forces a tool of OpenAI's own is a 400."""
    path = "tool_choice"
    if isinstance(value, str):
        mode = one_of("auto", "none", "required")(value, path)
        return ToolChoice(cast('Literal["auto", "none", "required"]', mode))
    if not isinstance(value, dict):
        raise wrong(path, value, "a string or an object")
    kind = required(value, "type", path, text)
    if kind in ("function", "custom"):
        return ToolChoice("tool", name=_chosen_name(value, path))
    if kind == "allowed_tools":
        return _read_allowed(value, path)
    raise _hosted_choice(path)


def _add(conversation: Conversation, tool: Tool) -> None:
    if all(
        (known.namespace, known.name) != (tool.namespace, tool.name) for known in conversation.tools
    ):
        conversation.tools.append(tool)


def _read_tool(tool: dict[str, Any], path: str, namespace: str | None) -> Tool:
    """Return a function or free-text tool.

    ``defer_loading`` is not heeded: the search that would load the tool is one of OpenAI's own.
    """
    name = required(tool, "name", path, text)
    description = optional(tool, "description", path, text)
    if tool["type"] == "function":
        return Tool(
            name,
            description,
            optional(tool, "parameters", path, mapping),
            optional(tool, "strict", path, boolean),
            namespace=namespace,
        )
    form = optional(tool, "format", path, mapping) or {}
    grammar = None
    if form.get("type") == "grammar":
        where = f"{path}.format"
        grammar = (required(form, "syntax", where, text), required(form, "definition", where, text))
    return Tool(name, description, custom=True, grammar=grammar, namespace=namespace)


def _read_web_search(conversation: Conversation, tool: dict[str, Any], path: str) -> None:
    location = optional(tool, "user_location", path, mapping)
    if location is not None:
        location = {
            key: value for key, value in location.items() if key != "type" and value is not None
        }
    conversation.web_search = WebSearch(location or None)
    conversation.given["web_search"] = "tools[web_search]"
    if tool.get("filters") is not None:
        conversation.given["tools[web_search].filters"] = "tools[web_search].filters"


def _read_allowed(choice: dict[str, Any], path: str) -> ToolChoice:
    mode = cast(
        'Literal["auto", "required"]', required(choice, "mode", path, one_of("auto", "required"))
    )
    names = [
        _chosen_name(tool, where)
        for tool, where in required(choice, "tools", path, objects)
        if required(tool, "type", where, text) in ("function", "custom")
    ]
    if names:
        return ToolChoice(mode, allowed=tuple(names))
    if mode == "required":
        raise _hosted_choice(path)
    return ToolChoice("none")


def _chosen_name(choice: dict[str, Any], path: str) -> str:
    return flat_name(
        optional(choice, "namespace", path, text), required(choice, "name", path, text)
    )


def _hosted_choice(path: str) -> GatewayError:
    return GatewayError(
        Kind.TOOL_NOT_SUPPORTED,
        "Only function and custom tools can be forced on this model.",
        param=path,
    )


# Writing.


def tool_names(conversation: Conversation) -> Names:
    """Return the names under which the tools of ``conversation`` are sent."""
    return Names.of(
        "openai-responses", [flat_name(tool.namespace, tool.name) for tool in shown(conversation)]
    )


def shown(conversation: Conversation) -> list[Tool]:
    """Return the tools that the model may see by now."""
    return [tool for tool in conversation.tools if not tool.deferred]


def write_tools(conversation: Conversation, names: Names) -> list[dict[str, Any]]:
    """Return the tools in the flat form of this dialect.

    ``strict`` is always said: where it is absent OpenAI tries to be strict, which changes what optional fields mean.
    """
    tools = [
        _write_tool(tool, names.to_upstream(flat_name(tool.namespace, tool.name)))
        for tool in shown(conversation)
    ]
    search = conversation.web_search
    if search is not None:
        location = (
            {"user_location": {"type": "approximate", **search.location}} if search.location else {}
        )
        tools.append({"type": "web_search", **location})
        conversation.carry("web_search")
    return tools


def write_tool_choice(conversation: Conversation, names: Names) -> str | dict[str, Any] | None:
    """Return the tool choice to send, or None where there is nothing to choose or nothing was said."""
    choice = conversation.tool_choice
    if choice is None:
        return None
    custom = {flat_name(tool.namespace, tool.name) for tool in conversation.tools if tool.custom}

    def chosen(name: str) -> dict[str, Any]:
        return {"type": "custom" if name in custom else "function", "name": names.to_upstream(name)}

    if choice.mode == "tool" and choice.name is not None:
        return chosen(choice.name)
    if choice.allowed is not None:
        return {
            "type": "allowed_tools",
            "mode": choice.mode,
            "tools": [chosen(name) for name in choice.allowed],
        }
    return choice.mode


def _write_tool(tool: Tool, name: str) -> dict[str, Any]:
    described = {} if tool.description is None else {"description": tool.description}
    if not tool.custom:
        parameters = NO_ARGUMENTS if tool.parameters is None else tool.parameters
        strict = bool(tool.strict)
        return {
            "type": "function",
            "name": name,
            **described,
            "parameters": parameters,
            "strict": strict,
        }
    if tool.grammar is None:
        return {"type": "custom", "name": name, **described}
    syntax, definition = tool.grammar
    form = {"type": "grammar", "syntax": syntax, "definition": definition}
    return {"type": "custom", "name": name, **described, "format": form}
