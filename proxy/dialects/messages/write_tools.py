"""Tools, the choice among them, and the wanted form of the answer, for a Claude model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import orjson

from proxy.dialects.capabilities import Claude
from proxy.dialects.conversation import Conversation, Format, Tool, ToolChoice, WebSearch
from proxy.dialects.messages.schema import closed
from proxy.dialects.names import Names, flat_name

JSON_TOOL = "json"
"""The tool whose forced call stands in for structured output."""
ONE_OBJECT = "Respond only with one valid JSON object."
ONE_VALUE = "Respond only with one JSON value matching this JSON Schema:\n"
MAX_STRICT_TOOLS = 20
_NO_ARGUMENTS: dict[str, Any] = {"type": "object", "properties": {}}
_FREE_TEXT: dict[str, Any] = {
    "type": "object",
    "properties": {"input": {"type": "string"}},
    "required": ["input"],
}


@dataclass(slots=True)
class Tools:
    """What to send: ``tools`` and ``tool_choice``, and ``instructions`` for the end of the system prompt.

    ``optional`` and ``unions`` count what strict tools have used up of a request's limits on compiled schemas.
    """

    tools: list[dict[str, Any]] = field(default_factory=list)
    choice: dict[str, Any] | None = None
    json_tool: str | None = None
    instructions: list[dict[str, Any]] = field(default_factory=list)
    strict: int = 0
    optional: int = 0
    unions: int = 0


def write_tools(
    conversation: Conversation, row: Claude, names: Names, *, thinks_by_budget: bool
) -> Tools:
    """Return the tools and the choice; a forced tool that the model refuses becomes the only one on offer."""
    made = Tools()
    choice = conversation.tool_choice
    forcing = row.forced_tool and not thinks_by_budget
    for tool in conversation.tools:
        if _is_offered(flat_name(tool.namespace, tool.name), choice, forcing=forcing):
            made.tools.append(_tool(tool, row, names, made))
    if conversation.web_search is not None:
        if choice is not None and choice.mode == "tool" and not forcing:
            conversation.weaken("web_search")
        else:
            made.tools.append(_web_search(conversation.web_search))
            conversation.carry("web_search", "web_search.location")
    conversation.carry("parallel")
    if not made.tools:
        conversation.choose_of_nothing()
        return made
    conversation.carry("tool_choice")
    if choice is not None:
        made.choice = _choice(choice, names, forcing=forcing)
        if made.choice["type"] == "auto" != choice.mode:
            conversation.weaken("tool_choice")
    if conversation.parallel is False and (choice is None or choice.mode != "none"):
        made.choice = {**(made.choice or {"type": "auto"}), "disable_parallel_tool_use": True}
    return made


def write_format(
    conversation: Conversation, row: Claude, tools: Tools, *, thinks_by_budget: bool
) -> dict[str, Any] | None:
    """Return ``output_config.format``, or None where ``tools`` now hold another way to the same end, or nothing is wanted.

    The ways, best first: the model's own structured output; a forced tool whose input is the answer; words.
    """
    wanted = conversation.format
    conversation.carry("format")
    if wanted.kind == "text":
        return None
    if wanted.kind == "json" or wanted.schema is None:
        tools.instructions.append({"type": "text", "text": ONE_OBJECT})
        return None
    if row.native_schema:
        compiled = closed(wanted.schema)
        if compiled is not None and compiled.fits(tools.optional, tools.unions):
            return {"type": "json_schema", "schema": compiled.schema}
    if (
        row.forced_tool
        and not thinks_by_budget
        and not tools.tools
        and wanted.schema.get("type") == "object"
    ):
        tools.json_tool = JSON_TOOL
        tools.tools.append(_json_tool(wanted))
        tools.choice = {"type": "tool", "name": JSON_TOOL, "disable_parallel_tool_use": True}
        return None
    tools.instructions.append(
        {"type": "text", "text": ONE_VALUE + orjson.dumps(wanted.schema).decode()}
    )
    return None


def _is_offered(name: str, choice: ToolChoice | None, *, forcing: bool) -> bool:
    if choice is None:
        return True
    if choice.allowed is not None:
        return name in choice.allowed
    return forcing or choice.mode != "tool" or name == choice.name


def _choice(choice: ToolChoice, names: Names, *, forcing: bool) -> dict[str, Any]:
    """Return the choice to send, which is weaker than what the client asked for where nothing can be forced."""
    match choice.mode:
        case "auto" | "none":
            return {"type": choice.mode}
        case _ if not forcing:
            return {"type": "auto"}
        case "required":
            return {"type": "any"}
        case _:
            return {"type": "tool", "name": names.to_upstream(choice.name or "")}


def _tool(tool: Tool, row: Claude, names: Names, made: Tools) -> dict[str, Any]:
    block: dict[str, Any] = {"name": names.to_upstream(flat_name(tool.namespace, tool.name))}
    description = tool.description or ""
    if tool.grammar is not None:
        syntax, definition = tool.grammar
        rule = f"The input must match this {syntax} grammar:\n{definition}"
        description = f"{description}\n\n{rule}" if description else rule
    if description:
        block["description"] = description
    block["input_schema"] = _FREE_TEXT if tool.custom else _input_schema(tool)
    if tool.strict and row.native_schema:
        _make_strict(block, made)
    if tool.cache is not None:
        block["cache_control"] = dict(tool.cache)
    return block


def _input_schema(tool: Tool) -> dict[str, Any]:
    if tool.parameters is None:
        return _NO_ARGUMENTS
    if "type" in tool.parameters:
        return dict(tool.parameters)
    # The API wants the type said; a schema without one is mostly an empty one.
    return {**_NO_ARGUMENTS, **tool.parameters}


def _make_strict(block: dict[str, Any], made: Tools) -> None:
    """Make a tool strict if its schema can be compiled and the request's limits allow another one; else it stays plain."""
    compiled = closed(block["input_schema"])
    if (
        compiled is None
        or made.strict >= MAX_STRICT_TOOLS
        or not compiled.fits(made.optional, made.unions)
    ):
        return
    made.strict += 1
    made.optional += compiled.optional
    made.unions += compiled.unions
    block["input_schema"] = compiled.schema
    block["strict"] = True


def _web_search(search: WebSearch) -> dict[str, Any]:
    tool: dict[str, Any] = {"type": "web_search_20250305", "name": "web_search"}
    if search.location:
        tool["user_location"] = {"type": "approximate", **search.location}
    return tool


def _json_tool(wanted: Format) -> dict[str, Any]:
    tool: dict[str, Any] = {"name": JSON_TOOL}
    if wanted.description:
        tool["description"] = wanted.description
    tool["input_schema"] = dict(wanted.schema or {})
    return tool
