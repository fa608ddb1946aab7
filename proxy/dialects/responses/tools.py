"""Tools and tool choices of a Responses request, read and written."""

from __future__ import annotations

from typing import Any, Literal

from proxy.dialects.conversation import Conversation, Tool, ToolChoice, WebSearch
from proxy.dialects.fields import (
    Object,
    boolean,
    mapping,
    needed_objects,
    needed_string,
    needed_word,
    string,
    wrong_type,
)
from proxy.dialects.names import Names, flat_name
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
_MODES: tuple[Literal["auto", "none", "required"], ...] = ("auto", "none", "required")
_ALLOWED_MODES: tuple[Literal["auto", "required"], ...] = ("auto", "required")
_CALLABLE = ("function", "custom")
NO_ARGUMENTS: dict[str, Any] = {"type": "object", "properties": {}}


# Reading.


def read_tools(conversation: Conversation, tools: list[tuple[str, Object]]) -> None:
    """Add ``tools``, each with its path, to those of ``conversation``; one that is declared twice counts once."""
    for where, tool in tools:
        kind = needed_string(tool, "type", where)
        if kind.startswith("web_search"):
            _read_web_search(conversation, tool, where)
        elif kind == "namespace":
            namespace = needed_string(tool, "name", where)
            for inner_path, inner in needed_objects(tool, "tools", where):
                needed_word(inner, "type", _CALLABLE, inner_path)
                _add(conversation, _read_tool(inner, inner_path, namespace))
        elif kind in _CALLABLE:
            _add(conversation, _read_tool(tool, where, None))
        else:
            name = f"tools[{kind if kind in _HOSTED else 'unknown'}]"
            conversation.given[name] = name


def read_tool_choice(body: Object) -> ToolChoice:
    """Return the choice that ``body`` has; one that forces a tool of OpenAI's own is a 400."""
    path, value = "tool_choice", body["tool_choice"]
    if isinstance(value, str):
        return ToolChoice(needed_word(body, path, _MODES))
    if not isinstance(value, dict):
        raise wrong_type(path, value, "a string or an object")
    kind = needed_string(value, "type", path)
    if kind in _CALLABLE:
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
    name = needed_string(tool, "name", path)
    description = string(tool, "description", path)
    if tool["type"] == "function":
        return Tool(
            name,
            description,
            mapping(tool, "parameters", path),
            boolean(tool, "strict", path),
            namespace=namespace,
        )
    form = mapping(tool, "format", path) or {}
    grammar = None
    if form.get("type") == "grammar":
        where = f"{path}.format"
        grammar = (needed_string(form, "syntax", where), needed_string(form, "definition", where))
    return Tool(name, description, custom=True, grammar=grammar, namespace=namespace)


def _read_web_search(conversation: Conversation, tool: dict[str, Any], path: str) -> None:
    location = mapping(tool, "user_location", path)
    if location is not None:
        location = {
            key: value for key, value in location.items() if key != "type" and value is not None
        }
    size = string(tool, "search_context_size", path)
    conversation.web_search = WebSearch(location or None, size)
    name = "tools[web_search]"
    conversation.given["web_search"] = name
    if location:
        conversation.given["web_search.location"] = f"{name}.user_location"
    if size is not None:
        conversation.given["web_search.context_size"] = f"{name}.search_context_size"
    if tool.get("filters") is not None:
        conversation.given["web_search.filters"] = f"{name}.filters"


def _read_allowed(choice: dict[str, Any], path: str) -> ToolChoice:
    mode = needed_word(choice, "mode", _ALLOWED_MODES, path)
    names = [
        _chosen_name(tool, where)
        for where, tool in needed_objects(choice, "tools", path)
        if needed_string(tool, "type", where) in _CALLABLE
    ]
    if names:
        return ToolChoice(mode, allowed=tuple(names))
    if mode == "required":
        raise _hosted_choice(path)
    return ToolChoice("none")


def _chosen_name(choice: dict[str, Any], path: str) -> str:
    return flat_name(string(choice, "namespace", path), needed_string(choice, "name", path))


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
        size = {} if search.context_size is None else {"search_context_size": search.context_size}
        tools.append({"type": "web_search", **location, **size})
        conversation.carry("web_search", "web_search.location", "web_search.context_size")
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
