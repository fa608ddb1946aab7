"""A Gemini client's request, as the neutral one.

The model's name and whether the answer is streamed stand in the path, not in the body.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, get_args

from proxy.dialects.conversation import (
    Conversation,
    Effort,
    Format,
    Reasoning,
    Tool,
    ToolChoice,
    WebSearch,
    is_content,
)
from proxy.dialects.fields import shown
from proxy.dialects.gemini.fields import Fields
from proxy.dialects.gemini.read_contents import Contents, read_system, whole_turns
from proxy.dialects.gemini.schema import from_openapi
from proxy.dialects.strict import is_strict
from proxy.errors import GatewayError, Kind

_ROOT_LOST = ("safetySettings", "labels", "cachedContent", "store", "modelArmorConfig")
"""Top-level fields that only Google has."""
_ROOT = frozenset(_ROOT_LOST) | {
    "contents",
    "generationConfig",
    "model",  # the path says it already
    "serviceTier",
    "systemInstruction",
    "toolConfig",
    "tools",
}

# The client's name of a parameter, the neutral one, and what it must be.
_PLAIN: tuple[tuple[str, str, Callable[[Fields, str], Any]], ...] = (
    ("maxOutputTokens", "max_tokens", partial(Fields.whole, least=1)),
    ("temperature", "temperature", Fields.number),
    ("topP", "top_p", Fields.number),
    ("topK", "top_k", Fields.whole),
    ("seed", "seed", Fields.whole),
    ("presencePenalty", "presence_penalty", Fields.number),
    ("frequencyPenalty", "frequency_penalty", Fields.number),
    ("responseLogprobs", "logprobs", Fields.flag),
    ("logprobs", "top_logprobs", partial(Fields.whole, least=0)),
)
_CONFIG_LOST = (
    "mediaResolution",
    "audioTimestamp",
    "audioTranscriptionConfig",
    "enableEnhancedCivicAnswers",
    "generationOutputConfig",
    "modelSelectionConfig",
    "routingConfig",
)
_CONFIG_REFUSED = ("speechConfig", "imageConfig")
_CONFIG = frozenset((*(name for name, _, _ in _PLAIN), *_CONFIG_LOST)) | {
    "candidateCount",
    "responseJsonSchema",
    "responseMimeType",
    "responseModalities",
    "responseSchema",
    "stopSequences",
    "thinkingConfig",
}

_SEARCH_TOOLS = ("googleSearch", "googleSearchRetrieval", "enterpriseWebSearch")
_REFUSED_TOOLS = (
    "codeExecution",
    "urlContext",
    "googleMaps",
    "fileSearch",
    "computerUse",
    "mcpServers",
    "retrieval",
    "parallelAiSearch",
    "exaAiSearch",
)

_TIERS = {"standard": "default", "flex": "flex", "priority": "priority", "unspecified": "auto"}
_LEVELS: dict[str, Effort] = {word.upper(): word for word in get_args(Effort)}


def read_request(body: dict[str, Any]) -> Conversation:
    """Return what ``body`` asks. Whether it is to be streamed stands in the path.

    Raises GatewayError 400 with the path of the field that is not what it must be.
    """
    root = Fields(body, "")
    conversation = Conversation(include_usage=True)
    _refuse(root, "continuationToken")
    conversation.system = read_system(root.object("systemInstruction"))
    _read_contents(root, conversation)
    config = root.object("generationConfig")
    if config is not None:
        _read_config(config, conversation)
    _read_tools(root, conversation)
    _read_tool_config(root, conversation)
    tier = root.string("serviceTier")
    if tier is not None:
        word = tier.lower()
        conversation.service_tier = _TIERS.get(word, word)
        conversation.given["service_tier"] = "serviceTier"
    _note_lost(root, _ROOT_LOST, conversation, told_in="")
    _note_unknown(root, _ROOT, conversation)
    return conversation


def _read_contents(root: Fields, conversation: Conversation) -> None:
    if "contents" not in root.values:
        raise root.wrong("contents", "an array")
    contents = Contents()
    turns = whole_turns([contents.turn(content) for content in root.objects("contents")])
    # Some clients put everything into the system text, with an empty content to satisfy the API.
    if any(is_content(part) for turn in turns for part in turn.parts):
        conversation.turns = turns
    for name in sorted(contents.lost):
        conversation.given[name] = name


# generationConfig.


def _read_config(config: Fields, conversation: Conversation) -> None:
    for name in _CONFIG_REFUSED:
        _refuse(config, name)
    for index, modality in enumerate(config.strings("responseModalities")):
        if modality.upper() not in {"TEXT", "MODALITY_UNSPECIFIED"}:
            path = f"{config.at('responseModalities')}[{index}]"
            raise GatewayError(
                Kind.UNSUPPORTED_PARAMETER,
                f"`{path}`: found {shown(modality)}, but this model answers in text only.",
                param=path,
            )

    for name, neutral, look in _PLAIN:
        if name in config.values:
            setattr(conversation, neutral, look(config, name))
            conversation.given[neutral] = f"generationConfig.{name}"
    conversation.stop = config.strings("stopSequences")
    if conversation.stop:
        conversation.given["stop"] = "generationConfig.stopSequences"
    conversation.n = config.whole("candidateCount", least=1) or 1
    if conversation.n > 1:
        conversation.given["n"] = "generationConfig.candidateCount"
    _read_format(config, conversation)
    _read_thinking(config.object("thinkingConfig"), conversation)
    _note_lost(config, _CONFIG_LOST, conversation, told_in="generationConfig.")
    _note_unknown(config, _CONFIG, conversation)


def _read_format(config: Fields, conversation: Conversation) -> None:
    mime = config.string("responseMimeType")
    as_json_schema = config.mapping("responseJsonSchema")
    as_openapi = config.mapping("responseSchema")
    if mime not in {None, "", "text/plain", "application/json"}:
        path = config.at("responseMimeType")
        raise GatewayError(
            Kind.UNSUPPORTED_PARAMETER,
            f"`{path}`: found {shown(mime)}, expected text/plain or application/json.",
            param=path,
        )
    if as_json_schema is not None:
        conversation.format = _bound(as_json_schema)
        conversation.given["format"] = "generationConfig.responseJsonSchema"
    elif as_openapi is not None:
        conversation.format = _bound(from_openapi(as_openapi))
        conversation.given["format"] = "generationConfig.responseSchema"
    elif mime == "application/json":
        conversation.format = Format("json")
        conversation.given["format"] = "generationConfig.responseMimeType"


def _bound(schema: dict[str, Any]) -> Format:
    # There is no switch here: a schema always binds, which OpenAI can promise for some only.
    return Format("schema", schema=schema, strict=is_strict(schema))


def _read_thinking(thinking: Fields | None, conversation: Conversation) -> None:
    if thinking is None:
        return
    # Gemini shows no thoughts unless it is asked to.
    reasoning = Reasoning(want_text="yes" if thinking.flag("includeThoughts") else "no")
    level = thinking.string("thinkingLevel")
    budget = thinking.whole("thinkingBudget", least=-1)
    if level and level.upper() != "THINKING_LEVEL_UNSPECIFIED":
        reasoning.effort = _LEVELS.get(level.upper())
        if reasoning.effort is None:
            raise thinking.wrong("thinkingLevel", "MINIMAL, LOW, MEDIUM, HIGH or XHIGH")
    elif budget == 0:
        reasoning.off = True
    elif budget is not None and budget > 0:
        reasoning.budget = budget
    conversation.reasoning = reasoning
    conversation.given["reasoning"] = "generationConfig.thinkingConfig"


# Tools.


def _read_tools(root: Fields, conversation: Conversation) -> None:
    for tool in root.objects("tools"):
        for name in _REFUSED_TOOLS:
            if name in tool.values:
                raise GatewayError(
                    Kind.TOOL_NOT_SUPPORTED,
                    f"`{tool.at(name)}`: this tool runs at Google only, and the model does not.",
                    param=tool.at(name),
                )
        for name in _SEARCH_TOOLS:
            if name in tool.values:
                tool.object(name)
                conversation.web_search = WebSearch()
                conversation.given["web_search"] = f"tools.{name}"
        conversation.tools += map(_read_function, tool.objects("functionDeclarations"))


def _read_function(declared: Fields) -> Tool:
    name = declared.string("name")
    if not name:
        raise declared.wrong("name", "the name of a function")
    parameters = declared.mapping("parametersJsonSchema")
    as_openapi = declared.mapping("parameters")
    if parameters is None and as_openapi is not None:
        parameters = from_openapi(as_openapi)
    return Tool(name, declared.string("description"), parameters)


def _read_tool_config(root: Fields, conversation: Conversation) -> None:
    config = root.object("toolConfig")
    if config is None:
        return
    for name in ("retrievalConfig", "includeServerSideToolInvocations"):
        if config.values.get(name):
            conversation.given[name] = f"toolConfig.{name}"
    calling = config.object("functionCallingConfig")
    if calling is None:
        return
    names = tuple(calling.strings("allowedFunctionNames"))
    mode = (calling.string("mode") or "AUTO").upper()
    conversation.given["tool_choice"] = "toolConfig.functionCallingConfig"
    if mode in {"AUTO", "VALIDATED", "MODE_UNSPECIFIED"}:
        conversation.tool_choice = ToolChoice("auto", allowed=names or None)
    elif mode == "NONE":
        conversation.tool_choice = ToolChoice("none")
    elif mode != "ANY":
        raise calling.wrong("mode", "AUTO, ANY, NONE or VALIDATED")
    elif len(names) == 1:
        conversation.tool_choice = ToolChoice("tool", name=names[0])
    else:
        conversation.tool_choice = ToolChoice("required", allowed=names or None)


# What has no neutral form.


def _refuse(fields: Fields, name: str) -> None:
    if name in fields.values:
        path = fields.at(name)
        message = f"`{path}` is not supported by the model that was asked for."
        raise GatewayError(Kind.UNSUPPORTED_PARAMETER, message, param=path)


def _note_lost(
    fields: Fields, names: tuple[str, ...], conversation: Conversation, *, told_in: str
) -> None:
    for name in names:
        if name in fields.values:
            conversation.given[name] = told_in + name


def _note_unknown(fields: Fields, known: frozenset[str], conversation: Conversation) -> None:
    if any(name not in known for name in fields.values):
        conversation.given["unknown"] = "unknown"
