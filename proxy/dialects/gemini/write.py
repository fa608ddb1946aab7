"""The neutral request, written for a Gemini upstream."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import orjson

from proxy.dialects import capabilities
from proxy.dialects.capabilities import GEMINI_BUDGETS, Gemini, snap, wanted_effort
from proxy.dialects.conversation import Conversation, Effort, Reasoning, Tool, Turn
from proxy.dialects.gemini.schema import to_gemini, to_openapi
from proxy.dialects.gemini.write_contents import SIGNED_GENERATION, write_contents
from proxy.dialects.names import Names, flat_name
from proxy.dialects.reply import Upstream, Written
from proxy.providers import Flags

Json = dict[str, Any]

MAX_STOPS = 5
MAX_TEMPERATURE = 2.0

_TIERS = {
    "default": "standard",
    "standard": "standard",
    "standard_only": "standard",
    "flex": "flex",
    "priority": "priority",
    "fast": "priority",
}


def write_request(conversation: Conversation, upstream: Upstream) -> Written:
    """Return ``conversation``, repaired, as ``generateContent`` or its streaming form wants it.

    Raises GatewayError 400 for content that Gemini has no form for.
    """
    body, names = _body(conversation, upstream)
    return Written(
        path=generate_path(upstream.model, stream=conversation.stream),
        body=body,
        names=names,
        dropped=conversation.dropped,
        weakened=conversation.weakened,
        stream=conversation.stream,
    )


def generate_path(model: str, *, stream: bool) -> str:
    """Return the path of a call of ``model``; a stream is always asked for as events, however the client wants it."""
    return method_path(model, "streamGenerateContent?alt=sse" if stream else "generateContent")


def method_path(model: str, method: str) -> str:
    """Return the path of what ``method`` does with ``model``."""
    return f"/v1beta/{quote(resource(model), safe='/@:')}:{method}"


def resource(model: str) -> str:
    """Return the name by which Google knows ``model`` among its resources."""
    return model if model.startswith(("models/", "tunedModels/")) else f"models/{model}"


def count_tokens_request(conversation: Conversation, upstream: Upstream) -> Written:
    """Return the question how many tokens ``conversation`` is, tools and system text included."""
    body, names = _body(conversation, upstream)
    return Written(
        path=method_path(upstream.model, "countTokens"),
        body={"generateContentRequest": {"model": resource(upstream.model), **body}},
        names=names,
        dropped=conversation.dropped,
        weakened=conversation.weakened,
    )


def read_token_count(document: object) -> int | None:
    """Return the tokens that the answer to ``count_tokens_request`` tells, or None."""
    total = document.get("totalTokens") if isinstance(document, dict) else None
    return total if type(total) is int and total >= 0 else None


def _body(conversation: Conversation, upstream: Upstream) -> tuple[Json, Names]:
    caps = capabilities.gemini(upstream.model)
    tools = [tool for tool in conversation.tools if not tool.deferred]
    choice = conversation.tool_choice
    if choice is not None and choice.mode == "auto" and choice.allowed is not None:
        tools = [tool for tool in tools if _flat(tool) in choice.allowed]
    alone = conversation.web_search is not None or conversation.format.kind != "text"
    if alone and caps.generation < SIGNED_GENERATION:
        # Beside tools these models do neither, and the client has declared none.
        tools = [tool for tool in tools if not tool.stub]
    names = Names.of("gemini", [_flat(tool) for tool in tools])
    system = [text.text for text in conversation.system if text.text]
    config = _sampling(conversation, caps, upstream.flags)
    config |= _format(conversation, caps, upstream.flags, system, has_tools=bool(tools))
    thinking = _thinking(conversation, caps)
    if thinking is not None:
        config["thinkingConfig"] = thinking
    body: Json = {}
    if system and caps.system:
        body["systemInstruction"] = {"parts": [{"text": text} for text in system]}
    before = "" if caps.system else "\n\n".join(system)
    body["contents"] = write_contents(conversation, names, caps.generation, before)
    body |= _tools(conversation, tools, names, caps, upstream.flags)
    if config:
        body["generationConfig"] = config
    tier = conversation.service_tier
    if tier in _TIERS:
        body["serviceTier"] = _TIERS[tier]
    if tier in _TIERS or tier == "auto":
        conversation.carry("service_tier")
    conversation.carry("stream", "include_usage", "system", "tools")
    return body, names


def _flat(tool: Tool) -> str:
    return flat_name(tool.namespace, tool.name)


# generationConfig.


def _sampling(conversation: Conversation, caps: Gemini, flags: Flags) -> Json:
    config: Json = {}

    def put(neutral: str, name: str, value: object) -> None:
        if value is not None:
            config[name] = value
            conversation.carry(neutral)

    if caps.sampling:
        temperature = conversation.temperature
        if temperature is not None and not 0 <= temperature <= MAX_TEMPERATURE:
            temperature = min(max(temperature, 0.0), MAX_TEMPERATURE)
        put("temperature", "temperature", temperature)
        put("top_p", "topP", conversation.top_p)
        put("top_k", "topK", conversation.top_k)
    put("max_tokens", "maxOutputTokens", conversation.max_tokens)
    put("stop", "stopSequences", conversation.stop[:MAX_STOPS] or None)
    if len(conversation.stop) > MAX_STOPS:
        conversation.weaken("stop")
    put("seed", "seed", conversation.seed)
    if conversation.n > 1 and not conversation.stream:
        put("n", "candidateCount", conversation.n)
    if flags.penalties:
        put("presence_penalty", "presencePenalty", conversation.presence_penalty)
        put("frequency_penalty", "frequencyPenalty", conversation.frequency_penalty)
    if flags.logprobs:
        put("logprobs", "responseLogprobs", conversation.logprobs)
        put("top_logprobs", "logprobs", conversation.top_logprobs)
    return config


def _format(
    conversation: Conversation, caps: Gemini, flags: Flags, system: list[str], *, has_tools: bool
) -> Json:
    """Return the fields for the wanted form of the answer, or say it in ``system`` instead.

    Before generation 3 the API refuses JSON output together with tools.
    """
    conversation.carry("format")
    wanted = conversation.format
    schema = wanted.schema if wanted.kind == "schema" else None
    if wanted.kind == "text":
        return {}
    if has_tools and caps.generation < SIGNED_GENERATION:
        if schema is None:
            system.append("Respond only with one valid JSON object.")
        else:
            compact = orjson.dumps(schema).decode()
            system.append(f"Respond only with one JSON value matching this JSON Schema:\n{compact}")
        return {}
    config: Json = {"responseMimeType": "application/json"}
    if schema is not None and flags.openapi_schema:
        config["responseSchema"] = to_openapi(schema)
    elif schema is not None:
        config["responseJsonSchema"] = to_gemini(schema)
    return config


def _thinking(conversation: Conversation, caps: Gemini) -> Json | None:
    reasoning = conversation.reasoning
    effort = _latest_effort(conversation.turns)
    if effort is not None:
        wanted = reasoning.want_text if reasoning is not None else "implied"
        reasoning = Reasoning(effort=effort, off=effort == "none", want_text=wanted)
    if reasoning is None:
        return None
    effort = wanted_effort(reasoning)
    if caps.thinking == "none":
        (conversation.carry if effort in (None, "none") else conversation.weaken)("reasoning")
        return None
    conversation.carry("reasoning")
    if effort is None:
        return {"includeThoughts": reasoning.want_text != "no"}
    shown = reasoning.want_text != "no" and effort != "none"
    if caps.thinking == "level":
        level = snap(effort, caps.levels)
        return {"thinkingLevel": level.upper(), "includeThoughts": shown}
    budget = GEMINI_BUDGETS[effort]
    if reasoning.budget is not None and not reasoning.off and reasoning.effort is None:
        budget = reasoning.budget
    return {"thinkingBudget": _bounded(budget, caps), "includeThoughts": shown}


def _latest_effort(turns: list[Turn]) -> Effort | None:
    return next((turn.effort for turn in reversed(turns) if turn.effort is not None), None)


def _bounded(budget: int, caps: Gemini) -> int:
    if 0 < budget < caps.lowest_budget:
        budget = caps.lowest_budget
    return min(max(budget, caps.min_budget), caps.max_budget)


# Tools.


def _tools(
    conversation: Conversation, tools: list[Tool], names: Names, caps: Gemini, flags: Flags
) -> Json:
    body: Json = {}
    entries: list[Json] = []
    config: Json = {}
    if tools:
        declared = [_declaration(tool, names, flags) for tool in tools]
        entries.append({"functionDeclarations": declared})
        calling = _calling(conversation, tools, names)
        if calling is not None:
            config["functionCallingConfig"] = calling
    else:
        conversation.choose_of_nothing()
    if conversation.web_search is not None and (not tools or caps.generation >= SIGNED_GENERATION):
        entries.append({"googleSearch": {}})
        conversation.carry("web_search")
        if tools:
            config["includeServerSideToolInvocations"] = True
    if entries:
        body["tools"] = entries
    if config:
        body["toolConfig"] = config
    return body


def _declaration(tool: Tool, names: Names, flags: Flags) -> Json:
    description = tool.description
    parameters = tool.parameters
    if tool.custom:
        parameters = {
            "type": "object",
            "properties": {"input": {"type": "string"}},
            "required": ["input"],
        }
        if tool.grammar is not None:
            syntax, definition = tool.grammar
            rule = f"The input must match this {syntax} grammar:\n{definition}"
            description = f"{description}\n\n{rule}" if description else rule
    declared: Json = {"name": names.to_upstream(_flat(tool))}
    if description:
        declared["description"] = description
    if parameters is not None and flags.openapi_schema:
        declared["parameters"] = to_openapi(parameters)
    elif parameters is not None:
        declared["parametersJsonSchema"] = to_gemini(parameters)
    return declared


def _calling(conversation: Conversation, tools: list[Tool], names: Names) -> Json | None:
    """Return how freely the model may call; None leaves it to the model, as the API does anyway."""
    choice = conversation.tool_choice
    conversation.carry("tool_choice")
    free = "VALIDATED" if any(tool.strict for tool in tools) else "AUTO"
    if choice is None:
        return {"mode": free} if free != "AUTO" else None
    if choice.mode == "auto":
        return {"mode": free}
    if choice.mode == "none":
        return {"mode": "NONE"}
    allowed = choice.allowed if choice.mode == "required" else (choice.name or "",)
    if allowed is None:
        return {"mode": "ANY"}
    return {"mode": "ANY", "allowedFunctionNames": [names.to_upstream(name) for name in allowed]}
