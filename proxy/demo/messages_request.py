"""What Anthropic's Messages API accepts, with the rules by which it refuses the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from proxy.demo.messages_turns import TOOL_NAME, read_system, read_turns
from proxy.demo.models import Dialect, Model, find
from proxy.demo.node import Node
from proxy.demo.openai_request import objects
from proxy.demo.prompt import Choice, Format, Prompt, Tool
from proxy.demo.refusal import Refused

_FIELDS = frozenset(
    [
        "billing_policy",
        "cache_control",
        "compaction",
        "container",
        "context_management",
        "diagnostics",
        "fallback_credit_token",
        "fallbacks",
        "inference_geo",
        "max_tokens",
        "mcp_servers",
        "messages",
        "metadata",
        "model",
        "output_config",
        "output_format",
        "service_tier",
        "speed",
        "stop_sequences",
        "stream",
        "system",
        "temperature",
        "thinking",
        "thread",
        "tool_choice",
        "tools",
        "top_k",
        "top_p",
        "user_profile_id",
        "workspace_id",
    ]
)
_COUNT_FIELDS = _FIELDS - {"max_tokens", "stream", "metadata", "stop_sequences", "temperature"}
_TOOL_FIELDS = frozenset(
    [
        "allowed_callers",
        "cache_control",
        "defer_loading",
        "description",
        "eager_input_streaming",
        "input_examples",
        "input_schema",
        "name",
        "strict",
        "type",
    ]
)
_EFFORTS = frozenset({"low", "medium", "high", "xhigh", "max"})
_MAX_BREAKPOINTS = 4
_MIN_BUDGET = 1024

# From this version on the sampling parameters are gone.
_NO_SAMPLING = "2026-10-21"

_SCHEMA_LIMITS = frozenset(
    [
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
        "minLength",
        "maxLength",
        "maxItems",
        "uniqueItems",
        "minProperties",
        "maxProperties",
        "not",
        "oneOf",
    ]
)


def read_prompt(root: Node, version: str, *, counting: bool = False) -> Prompt:
    """The prompt of a body; Refused where the real API would answer 400 or 404."""
    root.only(_COUNT_FIELDS if counting else _FIELDS)
    model = _model(root)
    limit = root.whole("max_tokens", 1)
    if limit is None and not counting:
        raise root.missing("max_tokens")
    _check_settings(root, version)
    tools = _tools(root)
    choice = _choice(root, tools)
    turns = read_turns(root)
    _check_breakpoints(root)
    if any(turn.calls or turn.results for turn in turns) and not root.get("tools"):
        raise Refused(
            400,
            "Requests which include `tool_use` or `tool_result` blocks must define tools.",
            "tools",
        )
    thinking = _thinking(root, limit, choice)
    tool_choice = root.node("tool_choice")
    return Prompt(
        model=model,
        turns=(*read_system(root), *turns),
        tools=tools,
        choice=choice,
        parallel=not (tool_choice and tool_choice.flag("disable_parallel_tool_use")),
        thinking=thinking,
        format=_format(root),
        stop=_stop(root),
        max_tokens=limit,
    )


def _model(root: Node) -> Model:
    name = root.need("model")
    model = find(name, Dialect.MESSAGES)
    if model is None:
        raise Refused(404, f"model: {name}")
    return model


def _check_settings(root: Node, version: str) -> None:
    root.number("temperature", 0, 1)
    root.number("top_p", 0, 1)
    root.whole("top_k", 0)
    if version >= _NO_SAMPLING:
        for name in ("temperature", "top_p", "top_k"):
            if root.get(name) is not None:
                raise Refused(400, f"not supported with anthropic-version {version}", name)
    if metadata := root.node("metadata"):
        metadata.only({"user_id"})
    root.word("service_tier", {"auto", "standard_only"})


def _stop(root: Node) -> tuple[str, ...]:
    stops = root.texts("stop_sequences")
    if not all(stop.strip() for stop in stops):
        raise Refused(400, "each stop sequence must contain non-whitespace", "stop_sequences")
    return stops


# Tools and the shape of the answer


def _tools(root: Node) -> tuple[Tool, ...]:
    tools = []
    names: set[str] = set()
    for entry in root.nodes("tools"):
        if entry.text("type") not in (None, "custom"):
            continue  # a tool that Anthropic runs itself
        entry.only(_TOOL_FIELDS)
        name = entry.need("name")
        if TOOL_NAME.fullmatch(name) is None:
            raise Refused(
                400, f"String should match pattern '^{TOOL_NAME.pattern}$'", entry.at("name")
            )
        if name in names:
            raise Refused(400, "Tool names must be unique.", "tools")
        names.add(name)
        schema = entry.need_node("input_schema")
        if schema.text("type") != "object":
            raise Refused(400, "Input should be 'object'", schema.at("type"))
        if entry.flag("strict"):
            _check_schema(schema.value, entry.path)
        if not entry.flag("defer_loading"):
            tools.append(Tool(name, schema.value))
    return tuple(tools)


def _choice(root: Node, tools: tuple[Tool, ...]) -> Choice:
    choice = root.node("tool_choice")
    if choice is None:
        return Choice()
    if not root.get("tools"):
        raise Refused(400, "tool_choice may only be specified while providing tools", "tool_choice")
    match choice.need("type"):
        case "auto":
            return Choice()
        case "none":
            choice.only({"type"})
            return Choice("none")
        case "any":
            return Choice("required")
        case "tool":
            name = choice.need("name")
            if name not in {tool.name for tool in tools}:
                raise Refused(400, f"Tool '{name}' not found in provided tools", "tool_choice")
            return Choice.of_one(name)
        case other:
            raise choice.invalid("type", f"'{other}' is not one of any, auto, none, tool")


def _thinking(root: Node, limit: int | None, choice: Choice) -> bool | None:
    thinking = root.node("thinking")
    if config := root.node("output_config"):
        config.only({"effort", "format", "task_budget"})
        config.word("effort", _EFFORTS)
    if thinking is None:
        return None
    match thinking.need("type"):
        case "disabled" | "between_tools":
            return False
        case "adaptive":
            thinking.word("display", {"summarized", "omitted"})
            if thinking.get("budget_tokens") is not None:
                raise Refused(400, "Extra inputs are not permitted", thinking.at("budget_tokens"))
            return True
        case "enabled":
            budget = thinking.whole("budget_tokens", _MIN_BUDGET)
            if budget is None:
                raise thinking.missing("budget_tokens")
            if limit is not None and budget >= limit:
                raise Refused(400, "`max_tokens` must be greater than `thinking.budget_tokens`.")
            if choice.mode == "required":
                raise Refused(400, "Thinking may not be enabled when tool_choice forces tool use.")
            if root.get("temperature") not in (None, 1):
                raise Refused(400, "`temperature` may only be set to 1 when thinking is enabled.")
            return True
        case other:
            raise thinking.invalid("type", f"'{other}' is not a type of thinking")


def _format(root: Node) -> Format | None:
    config = root.node("output_config")
    # `output_format` is the name it had in beta, which some clients still use.
    form = (config.node("format") if config else None) or root.node("output_format")
    if form is None:
        return None
    if form.need("type") != "json_schema":
        raise Refused(400, "Input should be 'json_schema'", form.at("type"))
    schema = form.need_node("schema").value
    _check_schema(schema, form.at("schema"))
    return Format(schema)


def _check_schema(schema: Mapping[str, object], where: str) -> None:
    """The grammar behind structured output knows closed objects and few constraints."""
    for path, part in objects(schema):
        if part.get("additionalProperties") is not False:
            raise Refused(
                400,
                f"{where}{path}: For 'object' type, 'additionalProperties' must be explicitly set "
                "to false",
            )
    for part in _parts(schema):
        for name in sorted(_SCHEMA_LIMITS & part.keys()):
            raise Refused(400, f"{where}: property '{name}' is not supported")


def _parts(schema: object) -> Iterator[Mapping[str, object]]:
    """A schema and every schema inside it."""
    if isinstance(schema, list):
        for item in schema:
            yield from _parts(item)
    if not isinstance(schema, Mapping):
        return
    yield schema
    for key in ("properties", "$defs", "definitions"):
        if isinstance(named := schema.get(key), Mapping):
            for part in named.values():
                yield from _parts(part)
    for key in ("items", "anyOf", "allOf"):
        yield from _parts(schema.get(key))


def _check_breakpoints(root: Node) -> None:
    marked = _count(root.value, lambda value: bool(value.get("cache_control")))
    if marked > _MAX_BREAKPOINTS:
        raise Refused(
            400,
            f"A maximum of {_MAX_BREAKPOINTS} blocks with cache_control may be provided. "
            f"Found {marked}.",
        )


def _count(value: object, test: Callable[[Mapping[str, object]], bool]) -> int:
    if isinstance(value, list):
        return sum(_count(item, test) for item in value)
    if isinstance(value, Mapping):
        return test(value) + sum(_count(item, test) for item in value.values())
    return 0
