"""What Gemini's generateContent accepts, with the rules by which it refuses the rest."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Literal

from proxy.demo.models import Dialect, Model, find
from proxy.demo.node import Node
from proxy.demo.opaque import is_ours
from proxy.demo.picture import Attachment, attachment
from proxy.demo.prompt import Choice, Format, Prompt, Tool, Turn, joined
from proxy.demo.refusal import Refused

_FIELDS = frozenset(
    [
        "cachedContent",
        "contents",
        "continuationToken",
        "generationConfig",
        "labels",
        "model",
        "safetySettings",
        "serviceTier",
        "store",
        "systemInstruction",
        "toolConfig",
        "tools",
    ]
)
_GENERATION_FIELDS = frozenset(
    [
        "audioTimestamp",
        "candidateCount",
        "enableAffectiveDialog",
        "enableEnhancedCivicAnswers",
        "frequencyPenalty",
        "imageConfig",
        "logprobs",
        "maxOutputTokens",
        "mediaResolution",
        "presencePenalty",
        "responseFormat",
        "responseJsonSchema",
        "responseLogprobs",
        "responseMimeType",
        "responseModalities",
        "responseSchema",
        "seed",
        "speechConfig",
        "stopSequences",
        "temperature",
        "thinkingConfig",
        "topK",
        "topP",
    ]
)
_DECLARATION_FIELDS = frozenset(
    [
        "behavior",
        "description",
        "name",
        "parameters",
        "parametersJsonSchema",
        "response",
        "responseJsonSchema",
    ]
)
# The kinds of data a part may hold: exactly one of them.
_DATA = frozenset(
    [
        "text",
        "inlineData",
        "fileData",
        "functionCall",
        "functionResponse",
        "executableCode",
        "codeExecutionResult",
        "toolCall",
        "toolResponse",
    ]
)
_PART_FIELDS = _DATA | {"thought", "thoughtSignature", "videoMetadata", "partMetadata"}
_PART_FIELDS |= {"mediaResolution", "mediaProcessing"}
_LEVELS = frozenset({"MINIMAL", "LOW", "MEDIUM", "HIGH", "XHIGH", "THINKING_LEVEL_UNSPECIFIED"})
_MODES = frozenset({"AUTO", "ANY", "NONE", "VALIDATED", "MODE_UNSPECIFIED"})
# Keywords that the older, OpenAPI-shaped schemas do not have.
_NOT_OPENAPI = frozenset({"$schema", "const", "exclusiveMinimum", "exclusiveMaximum"})
_TOOL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_.:-]{0,127}")
# What clients send that never got a signature; the real API lets it pass.
_UNSIGNED = "skip_thought_signature_validator"
_MAX_STOPS = 5
_MAX_CANDIDATES = 8

_WORD_START = re.compile(r"(?<!^)(?=[A-Z])")


class ProtoNode(Node):
    """A node whose fields may be spelt in snake_case as well, as protobuf's JSON allows."""

    __slots__ = ()

    def get(self, name: str) -> object:
        if name in self.value:
            return self.value[name]
        return self.value.get(_WORD_START.sub("_", name).lower())

    def only(self, names: AbstractSet[str]) -> None:
        super().only(names | {_WORD_START.sub("_", name).lower() for name in names})


def read_prompt(root: Node, name: str, *, method: str) -> Prompt:
    """The prompt of a body; Refused where the real API would answer 400 or 404."""
    model = _model(name, method)
    root.only(_FIELDS)
    config = root.node("generationConfig") or ProtoNode({}, "generationConfig")
    config.only(_GENERATION_FIELDS)
    config.number("temperature", 0, 2)
    config.number("topP", 0, 1)
    config.whole("candidateCount", 1, _MAX_CANDIDATES)
    if len(stops := config.texts("stopSequences")) > _MAX_STOPS:
        raise config.invalid("stopSequences", f"expected at most {_MAX_STOPS} strings")
    tools = _tools(root)
    return Prompt(
        model=model,
        turns=(*_system(root), *_turns(root)),
        tools=tools,
        choice=_choice(root, tools),
        thinking=_thinking(config),
        format=_format(config),
        stop=stops,
        max_tokens=config.whole("maxOutputTokens", 1),
    )


def _model(name: str, method: str) -> Model:
    model = find(name, Dialect.GEMINI)
    if model is None:
        raise unknown_model(name, method)
    return model


def unknown_model(name: str, method: str) -> Refused:
    return Refused(
        404,
        f"models/{name} is not found for API version v1beta, or is not supported for {method}. "
        "Call ListModels to see the list of available models and their supported methods.",
    )


def _system(root: Node) -> tuple[Turn, ...]:
    system = root.node("systemInstruction")
    if system is None:
        return ()
    return (Turn("system", joined([part.need("text") for part in system.nodes("parts")])),)


# Contents


def _turns(root: Node) -> list[Turn]:
    contents = root.nodes("contents")
    if not contents:
        raise Refused(400, "* GenerateContentRequest.contents: contents is not specified\n")
    turns = [_turn(content) for content in contents]
    _check_pairs(turns)
    return turns


def _turn(content: Node) -> Turn:
    role = content.text("role") or "user"
    if role not in ("user", "model", "function"):
        raise Refused(400, "Please use a valid role: user, model.")
    parts = content.nodes("parts")
    if not parts and role != "model":  # a model may have said nothing
        raise Refused(
            400,
            f"* GenerateContentRequest.{content.path}.parts: contents.parts must not be empty.\n",
        )
    texts: list[str] = []
    attachments: list[Attachment] = []
    calls: list[tuple[str, str]] = []
    results: list[tuple[str, str]] = []
    for part in parts:
        _check_signature(part)
        match _data(part):
            case "text":
                texts.append("" if part.flag("thought") else part.need("text"))
            case "inlineData" | "fileData":
                attachments.append(_attachment(part))
            case "functionCall":
                call = part.need_node("functionCall")
                call.node("args")
                calls.append((call.text("id") or "", call.need("name")))
            case "functionResponse":
                response = part.need_node("functionResponse")
                results.append((response.text("id") or "", _result(response)))
            case _:
                pass  # history of tools that the provider runs itself
    speaker: Literal["user", "assistant"] = "assistant" if role == "model" else "user"
    return Turn(speaker, joined(texts), tuple(attachments), tuple(calls), tuple(results))


def _data(part: Node) -> str:
    part.only(_PART_FIELDS)
    kinds = [kind for kind in sorted(_DATA) if part.get(kind) is not None]
    if len(kinds) != 1:
        raise Refused(
            400,
            f"* GenerateContentRequest.{part.path}.data: required oneof field 'data' must have one "
            "initialized field\n",
        )
    return kinds[0]


def _check_signature(part: Node) -> None:
    signature = part.text("thoughtSignature")
    if signature is None or signature == _UNSIGNED:
        return
    if not is_ours(_standard(signature)):
        raise Refused(400, "Thought signature is not valid.")


def _attachment(part: Node) -> Attachment:
    if file := part.node("fileData"):
        return Attachment(file.text("mimeType") or "file", url=file.need("fileUri"))
    blob = part.need_node("inlineData")
    found = attachment(blob.need("mimeType"), _standard(blob.need("data")))
    if found is None:
        raise Refused(
            400,
            f"Invalid value at '{blob.at('data')}' (TYPE_BYTES), Base64 decoding failed for a value.",
        )
    return found


def _standard(data: str) -> str:
    """Base64 in the standard alphabet: protobuf's JSON also takes the URL-safe one, which SDKs send."""
    return data.replace("-", "+").replace("_", "/")


def _result(response: Node) -> str:
    response.need("name")
    content = response.need_node("response").value
    for key in ("output", "result", "error"):
        if isinstance(found := content.get(key), str):
            return found
    return str(dict(content))


def _check_pairs(turns: list[Turn]) -> None:
    """A model turn with calls comes after a user's, and is answered in full by the next turn."""
    before: Turn | None = None
    for turn in turns:
        if turn.calls and (before is None or before.role != "user"):
            raise Refused(
                400,
                "Please ensure that function call turn comes immediately after a user turn or "
                "after a function response turn.",
            )
        expected = len(before.calls) if before else 0
        if turn.results and not expected:
            raise Refused(
                400,
                "Please ensure that function response turn comes immediately after a function "
                "call turn.",
            )
        if len(turn.results) != expected:
            raise Refused(
                400,
                "Please ensure that the number of function response parts is equal to the number "
                "of function call parts of the function call turn.",
            )
        # Google's own SDK, where it calls functions by itself, answers without ids.
        if before and Counter(_ids(turn.results)) - Counter(_ids(before.calls)):
            raise Refused(400, "Please ensure that function response ids match function call ids.")
        before = turn
    if before and before.calls:
        raise Refused(400, "Please ensure that every function call turn is answered.")


def _ids(pairs: tuple[tuple[str, str], ...]) -> list[str]:
    return [call_id for call_id, _ in pairs if call_id]


# Tools and the shape of the answer


def _tools(root: Node) -> tuple[Tool, ...]:
    tools = []
    for entry in root.nodes("tools"):
        for declaration in entry.nodes("functionDeclarations"):
            declaration.only(_DECLARATION_FIELDS)
            name = declaration.need("name")
            if _TOOL_NAME.fullmatch(name) is None:
                raise Refused(
                    400,
                    f"* GenerateContentRequest.{declaration.at('name')}: Invalid function name. "
                    "Must start with a letter or an underscore.\n",
                )
            old, new = declaration.node("parameters"), declaration.node("parametersJsonSchema")
            if old and new:
                raise Refused(400, "parameters and parameters_json_schema are mutually exclusive.")
            if old:
                _check_openapi(old.value, declaration.at("parameters"))
            found = old or new
            tools.append(Tool(name, found.value if found else {}))
    return tuple(tools)


def _check_openapi(schema: object, path: str) -> None:
    if not isinstance(schema, Mapping):
        return
    for name in sorted(_NOT_OPENAPI & schema.keys()):
        raise Refused(
            400,
            f"Invalid JSON payload received. Unknown name \"{name}\" at '{path}': Cannot find field.",
        )
    properties = schema.get("properties")
    if isinstance(properties, Mapping):
        for name, part in properties.items():
            _check_openapi(part, f"{path}.properties[{name}]")
    _check_openapi(schema.get("items"), f"{path}.items")


def _choice(root: Node, tools: tuple[Tool, ...]) -> Choice:
    outer = root.node("toolConfig")
    config = outer.node("functionCallingConfig") if outer else None
    if config is None:
        return Choice()
    if not tools:
        raise Refused(400, "Function calling config is set without function_declarations.")
    mode = (config.word("mode", _MODES) or "AUTO").upper()
    names = config.texts("allowedFunctionNames")
    if names and mode not in ("ANY", "VALIDATED"):
        raise Refused(
            400, "Please set allowed_function_names only when function calling mode is ANY."
        )
    if unknown := set(names) - {tool.name for tool in tools}:
        raise Refused(400, f"allowed_function_names has an undeclared name: {min(unknown)}.")
    match mode:
        case "NONE":
            return Choice("none")
        case "ANY":
            return Choice("required", frozenset(names))
        case _:
            return Choice("auto", frozenset(names))


def _thinking(config: Node) -> bool | None:
    thinking = config.node("thinkingConfig")
    if thinking is None:
        return None
    thinking.only({"includeThoughts", "thinkingBudget", "thinkingLevel"})
    level, budget = thinking.word("thinkingLevel", _LEVELS), thinking.whole("thinkingBudget", -1)
    if level and budget is not None:
        raise Refused(400, "You can only set one of thinking budget and thinking level.")
    if level is None and budget is None:
        return True if thinking.flag("includeThoughts") else None
    return budget != 0


def _format(config: Node) -> Format | None:
    old, new = config.node("responseSchema"), config.node("responseJsonSchema")
    schema = old or new
    if config.text("responseMimeType") != "application/json":
        if schema:
            raise Refused(
                400,
                "Function calling or schema with a response mime type other than "
                "'application/json' is unsupported.",
            )
        return None
    if old and new:
        raise Refused(400, "response_schema and response_json_schema are mutually exclusive.")
    if old:
        _check_openapi(old.value, config.at("responseSchema"))
    return Format(schema.value if schema else None)
