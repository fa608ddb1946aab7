"""The tools of a /v1/messages request: functions, the provider's search, and those that wait until they are found."""

from __future__ import annotations

from proxy.dialects.conversation import Conversation, Tool, ToolChoice, WebSearch
from proxy.dialects.fields import (
    Object,
    boolean,
    mapping,
    needed_string,
    needed_word,
    shown,
    string,
)
from proxy.dialects.messages.read_messages import History
from proxy.errors import GatewayError, Kind

WEB_SEARCH = "tools[web_search]"
_CHOICES = {"auto": "auto", "any": "required", "tool": "tool", "none": "none"}
_LOCATION_KEYS = ("city", "region", "country", "timezone")
_SEARCH_OPTIONS = ("allowed_domains", "blocked_domains", "max_uses")


def read_tools(
    tools: list[tuple[str, Object]], history: History, conversation: Conversation
) -> None:
    """Put the tools that the model may see into ``conversation``.

    A deferred tool stays hidden until the history names it: a search found it, it was added, or it was called. From then on it
    is a tool like any other; other dialects have no deferral.
    """
    for path, declared in (*tools, *history.definitions):
        _read_tool(declared, path, conversation)
    named = history.named_tools
    conversation.tools = [
        tool for tool in conversation.tools if named.get(tool.name, not tool.deferred)
    ]
    for tool in conversation.tools:
        tool.deferred = False


def _read_tool(tool: Object, path: str, conversation: Conversation) -> None:
    kind = string(tool, "type", path)
    if kind is not None and kind.startswith("web_search_"):
        _read_web_search(tool, path, conversation)
    elif kind is None or kind == "custom":
        conversation.tools.append(
            Tool(
                name=needed_string(tool, "name", path),
                description=string(tool, "description", path),
                parameters=mapping(tool, "input_schema", path),
                strict=boolean(tool, "strict", path),
                deferred=bool(boolean(tool, "defer_loading", path)),
                cache=mapping(tool, "cache_control", path),
            )
        )
    else:
        raise GatewayError(
            Kind.TOOL_NOT_SUPPORTED,
            f"found {shown(kind)}, which only an Anthropic upstream knows; expected a tool with an input_schema",
            param=f"{path}.type",
        )


def _read_web_search(tool: Object, path: str, conversation: Conversation) -> None:
    place = mapping(tool, "user_location", path)
    location = None
    if place is not None:
        told = {key: string(place, key, f"{path}.user_location") for key in _LOCATION_KEYS}
        location = {key: value for key, value in told.items() if value is not None}
    conversation.web_search = WebSearch(location or None)
    conversation.given["web_search"] = WEB_SEARCH
    if location:
        conversation.given["web_search.location"] = f"{WEB_SEARCH}.user_location"
    for option in _SEARCH_OPTIONS:
        if tool.get(option) is not None:
            conversation.given[f"web_search.{option}"] = f"{WEB_SEARCH}.{option}"


def read_tool_choice(choice: Object, conversation: Conversation) -> None:
    """Put the choice and whether calls may be parallel into ``conversation``."""
    kind = needed_word(choice, "type", _CHOICES, "tool_choice")
    conversation.given["tool_choice"] = "tool_choice"
    if kind == "tool":
        conversation.tool_choice = ToolChoice("tool", needed_string(choice, "name", "tool_choice"))
    else:
        conversation.tool_choice = ToolChoice(_CHOICES[kind])  # type: ignore[arg-type]  # the table's values are modes
    if boolean(choice, "disable_parallel_tool_use", "tool_choice"):
        conversation.parallel = False
        conversation.given["parallel"] = "tool_choice.disable_parallel_tool_use"
