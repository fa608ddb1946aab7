"""One object of a client's request, looked into under either spelling of its keys.

Protocol buffers write ``systemInstruction`` and read ``system_instruction`` too, and clients use both.
"""

from __future__ import annotations

import re

from proxy.dialects.fields import (
    Object,
    boolean,
    entries,
    integer,
    join,
    mapping,
    needed_mapping,
    number,
    strings,
    wrong_type,
    wrong_value,
)
from proxy.errors import GatewayError

_SPELT = (
    "cachedContent",
    "continuationToken",
    "generationConfig",
    "modelArmorConfig",
    "safetySettings",
    "serviceTier",
    "systemInstruction",
    "toolConfig",
    "audioTimestamp",
    "audioTranscriptionConfig",
    "candidateCount",
    "enableEnhancedCivicAnswers",
    "frequencyPenalty",
    "generationOutputConfig",
    "imageConfig",
    "maxOutputTokens",
    "mediaResolution",
    "modelSelectionConfig",
    "presencePenalty",
    "responseJsonSchema",
    "responseLogprobs",
    "responseMimeType",
    "responseModalities",
    "responseSchema",
    "routingConfig",
    "speechConfig",
    "stopSequences",
    "thinkingConfig",
    "topK",
    "topP",
    "autoTruncate",
    "outputDimensionality",
    "taskType",
    "includeThoughts",
    "thinkingBudget",
    "thinkingLevel",
    "codeExecutionResult",
    "executableCode",
    "fileData",
    "functionCall",
    "functionResponse",
    "inlineData",
    "mediaProcessing",
    "partMetadata",
    "speechMetadata",
    "thoughtSignature",
    "toolCall",
    "toolResponse",
    "videoMetadata",
    "displayName",
    "fileUri",
    "mimeType",
    "codeExecution",
    "computerUse",
    "enterpriseWebSearch",
    "exaAiSearch",
    "fileSearch",
    "functionDeclarations",
    "googleMaps",
    "googleSearch",
    "googleSearchRetrieval",
    "mcpServers",
    "parallelAiSearch",
    "urlContext",
    "parametersJsonSchema",
    "allowedFunctionNames",
    "functionCallingConfig",
    "includeServerSideToolInvocations",
    "retrievalConfig",
)
_CAMEL = {re.sub("[A-Z]", lambda big: "_" + big[0].lower(), name): name for name in _SPELT}
_LARGEST = 2**63 - 1


class Fields:
    """The fields of one object: ``values`` has those that are not null under their camelCase names, ``path`` is its place.

    Every look returns None (or nothing) for an absent field and raises the 400 for a wrong one.
    """

    __slots__ = ("path", "values")

    def __init__(self, raw: Object, path: str) -> None:
        self.path = path
        camel = _CAMEL.get
        self.values = {camel(name, name): value for name, value in raw.items() if value is not None}

    def at(self, name: str) -> str:
        """Return where the field ``name`` stands."""
        return join(self.path, name)

    def wrong(self, name: str, expected: str) -> GatewayError:
        """Return the 400 for the field ``name``."""
        return wrong_value(self.at(name), self.values.get(name), expected)

    def string(self, name: str) -> str | None:
        value = self.values.get(name)
        if value is None or isinstance(
            value, str
        ):  # the most frequent look goes without a second call
            return value
        raise wrong_type(self.at(name), value, "a string")

    def flag(self, name: str) -> bool | None:
        return boolean(self.values, name, self.path)

    def number(self, name: str) -> float | None:
        return number(self.values, name, self.path)

    def whole(self, name: str, least: int | None = None) -> int | None:
        """Return an integer of at least ``least``; Google's SDKs write some of them as 40.0."""
        value = self.values.get(name)
        if type(value) is float and value.is_integer():
            value = self.values[name] = int(value)
        if type(value) is int and abs(value) > _LARGEST:
            raise self.wrong(name, "an integer of 64 bits")
        return integer(self.values, name, self.path, least=least)

    def mapping(self, name: str) -> Object | None:
        """Return an object as it is, for one whose keys are the client's own."""
        return mapping(self.values, name, self.path)

    def object(self, name: str) -> Fields | None:
        value = mapping(self.values, name, self.path)
        return None if value is None else Fields(value, join(self.path, name))

    def needed_object(self, name: str) -> Fields:
        return Fields(needed_mapping(self.values, name, self.path), join(self.path, name))

    def objects(self, name: str) -> list[Fields]:
        """Return a list of objects; Google's examples write one object where there is only one."""
        value = self.values.get(name)
        if value is None:
            return []
        at = join(self.path, name)
        if isinstance(value, dict):
            return [Fields(value, at)]
        return [Fields(entry, path) for path, entry in entries(value, at)]

    def strings(self, name: str) -> list[str]:
        return strings(self.values, name, self.path)
