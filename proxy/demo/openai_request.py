"""What OpenAI's two dialects ask for in the same way: tools, schemas, attachments, and whose call a result answers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from proxy.demo.node import Node
from proxy.demo.picture import Attachment, attachment
from proxy.demo.prompt import Choice, Format, Tool
from proxy.demo.refusal import Refused

TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
EFFORTS = frozenset({"none", "minimal", "low", "medium", "high", "xhigh"})


def read_tool(function: Node) -> Tool:
    """The tool that a node with a name and parameters declares."""
    name = function.need("name")
    check_tool_name(name, function.at("name"))
    parameters = function.node("parameters")
    schema = parameters.value if parameters else {}
    if function.flag("strict"):
        check_strict(schema, "function", name)
    return Tool(name, schema)


def read_choice(root: Node, tools: tuple[Tool, ...], inside: Callable[[Node, str], Node]) -> Choice:
    """The tool choice; ``inside`` finds what a node of a type says, which may stand in a node named like the type."""
    match root.get("tool_choice"):
        case None | "auto":
            return Choice()
        case "none":
            return Choice("none")
        case "required":
            return Choice("required")
        case str():
            raise root.invalid("tool_choice", "expected 'none', 'auto' or 'required'")
        case _:
            pass
    choice = root.need_node("tool_choice")
    match choice.need("type"):
        case "function":
            name = inside(choice, "function").need("name")
            if name not in {tool.name for tool in tools}:
                raise Refused(
                    400,
                    f"Tool choice '{name}' not found in 'tools' parameter.",
                    "tool_choice",
                    "invalid_value",
                )
            return Choice.of_one(name)
        case "allowed_tools":
            allowed = inside(choice, "allowed_tools")
            entries = [inside(entry, "function") for entry in allowed.nodes("tools")]
            names = frozenset(entry.need("name") for entry in entries)
            return Choice("required" if allowed.need("mode") == "required" else "auto", names)
        case _:
            return Choice()


def read_schema(form: Node, where: str) -> Format:
    """The wanted form of an answer, from a node with a name and a schema."""
    name = form.need("name")
    check_tool_name(name, form.at("name"))
    schema = form.need_node("schema").value
    if form.flag("strict"):
        check_strict(schema, where, name)
    return Format(schema)


def read_audio(part: Node) -> tuple[Attachment | None, str]:
    """The sound of a part, None if it is none, and where it stands."""
    audio = part.need_node("input_audio")
    return attachment(f"audio/{audio.need('format')}", audio.need("data")), audio.at("data")


def check_attachment(found: Attachment | None, path: str) -> Attachment:
    if found is None:
        raise Refused(
            400, f"Invalid '{path}': expected base64-encoded data.", path, "invalid_value"
        )
    return found


def check_call_id(call_id: str, path: str, most: int) -> None:
    if len(call_id) > most:
        raise Refused(
            400,
            f"Invalid '{path}': string too long. Expected a string with maximum length "
            f"{most}, but got a string with length {len(call_id)} instead.",
            path,
            "string_above_max_length",
        )


def check_strict(schema: Mapping[str, object], where: str, name: str) -> None:
    """A strict schema closes every object and requires all of its properties."""
    for path, part in objects(schema):
        context = f"Invalid schema for {where} '{name}': In context=({path})"
        if part.get("additionalProperties") is not False:
            raise Refused(
                400,
                f"{context}, 'additionalProperties' is required to be supplied and to be false.",
                where,
                "invalid_json_schema",
            )
        properties, required = part.get("properties") or {}, part.get("required") or []
        if not isinstance(properties, Mapping) or not isinstance(required, list):
            continue
        if left_out := sorted(set(properties) - set(required)):
            raise Refused(
                400,
                f"{context}, 'required' is required to be supplied and to be an array including "
                f"every key in properties. Missing '{left_out[0]}'.",
                where,
                "invalid_json_schema",
            )


def objects(schema: object, path: str = "") -> Iterator[tuple[str, Mapping[str, object]]]:
    """Every part of a schema that describes an object, with its path."""
    if isinstance(schema, list):
        for index, item in enumerate(schema):
            yield from objects(item, f"{path}/{index}")
    if not isinstance(schema, Mapping):
        return
    if schema.get("type") == "object":
        yield path, schema
    for key in ("properties", "$defs", "definitions"):
        if isinstance(named := schema.get(key), Mapping):
            for name, part in named.items():
                yield from objects(part, f"{path}/{key}/{name}")
    for key in ("items", "anyOf", "oneOf", "allOf"):
        yield from objects(schema.get(key), f"{path}/{key}")


def check_tool_name(name: str, path: str) -> None:
    if TOOL_NAME.fullmatch(name) is None:
        raise Refused(
            400,
            f"Invalid '{path}': string does not match pattern. "
            "Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'.",
            path,
            "invalid_value",
        )
