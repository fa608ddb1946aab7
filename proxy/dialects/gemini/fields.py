"""One object of a client's request, read with checks: both spellings of its keys, and null as absent.

Protocol buffers write ``systemInstruction`` and read ``system_instruction`` too, and clients use both.
"""

from __future__ import annotations

import math
import re
from typing import Any

from proxy.errors import GatewayError, invalid

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
    """The fields of one object, under their camelCase names; ``path`` is where it stands in the body.

    Every method returns None (or nothing) for an absent field and raises the 400 for a wrong one.
    """

    __slots__ = ("path", "values")

    def __init__(self, raw: dict[str, Any], path: str) -> None:
        self.path = path
        self.values = {
            _CAMEL.get(name, name): value for name, value in raw.items() if value is not None
        }

    def __contains__(self, name: str) -> bool:
        return name in self.values

    def at(self, name: str) -> str:
        """Return where the field ``name`` stands."""
        return f"{self.path}.{name}" if self.path else name

    def wrong(self, name: str, expected: str) -> GatewayError:
        """Return the 400 for the field ``name``."""
        found = described(self.values.get(name))
        return invalid(self.at(name), f"`{self.at(name)}`: found {found}, expected {expected}.")

    def string(self, name: str) -> str | None:
        value = self.values.get(name)
        if value is None or isinstance(value, str):
            return value
        raise self.wrong(name, "a string")

    def flag(self, name: str) -> bool | None:
        value = self.values.get(name)
        if value is None or isinstance(value, bool):
            return value
        raise self.wrong(name, "true or false")

    def number(self, name: str) -> float | None:
        value = self.values.get(name)
        if value is None or type(value) is int or (type(value) is float and math.isfinite(value)):
            return value
        raise self.wrong(name, "a number")

    def whole(self, name: str, least: int | None = None) -> int | None:
        """Return an integer of at least ``least``; Google's SDKs write some of them as 40.0."""
        value = self.values.get(name)
        if value is None:
            return None
        if type(value) is float and value.is_integer():
            value = int(value)
        if (
            type(value) is int
            and -_LARGEST <= value <= _LARGEST
            and (least is None or value >= least)
        ):
            return value
        raise self.wrong(name, "an integer" if least is None else f"an integer from {least} up")

    def mapping(self, name: str) -> dict[str, Any] | None:
        """Return an object as it is, for one whose keys are the client's own."""
        value = self.values.get(name)
        if value is None or isinstance(value, dict):
            return value
        raise self.wrong(name, "an object")

    def object(self, name: str) -> Fields | None:
        value = self.mapping(name)
        return None if value is None else Fields(value, self.at(name))

    def objects(self, name: str) -> list[Fields]:
        """Return a list of objects; Google's examples write one object where there is only one."""
        value = self.values.get(name)
        if value is None:
            return []
        if isinstance(value, dict):
            return [Fields(value, self.at(name))]
        if not isinstance(value, list):
            raise self.wrong(name, "a list of objects")
        out = []
        for index, entry in enumerate(value):
            path = f"{self.at(name)}[{index}]"
            if not isinstance(entry, dict):
                raise invalid(path, f"`{path}`: found {described(entry)}, expected an object.")
            out.append(Fields(entry, path))
        return out

    def strings(self, name: str) -> list[str]:
        value = self.values.get(name)
        if value is None:
            return []
        if not isinstance(value, list):
            raise self.wrong(name, "a list of strings")
        for index, entry in enumerate(value):
            if not isinstance(entry, str):
                path = f"{self.at(name)}[{index}]"
                raise invalid(path, f"`{path}`: found {described(entry)}, expected a string.")
        return value


def described(value: object) -> str:
    """Return what ``value`` is, for a message; never much of what it says."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "true" if value else "false"
        case str():
            return f"{value!r}" if len(value) <= 40 else "a long string"
        case int() | float():
            return f"the number {value!r}" if abs(value) < 10**20 else "a huge number"
        case list():
            return "a list"
        case _:
            return "an object"
