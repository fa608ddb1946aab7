"""A value that fits a JSON schema, made from the words of the prompt."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import cycle

# Deep enough for any real schema, and an end for recursive ones.
_MAX_DEPTH = 12

_FORMATS = {
    "date": "2026-01-31",
    "date-time": "2026-01-31T12:00:00Z",
    "time": "12:00:00Z",
    "duration": "PT1H",
    "email": "demo@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}

# An agent may really run what it is told to run: whatever the user said, this does no harm.
_HARMLESS = dict.fromkeys(("cmd", "command", "script", "code"), "echo hello from the demo")

_QUOTED = re.compile(r"[\"“'‘]([^\"”'’]+)[\"”'’]")
_PROPER = re.compile(r"(?<=[a-z,] )[A-Z]\w*(?: [A-Z]\w*)*")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


class Maker:
    """Fills schemas; the prompt's numbers are used in turn, again and again, and so are its names.

    With ``optional`` a schema that requires nothing is filled completely, else it stays empty.
    """

    def __init__(self, said: str, *, optional: bool) -> None:
        self._said = said
        self._optional = optional
        self._names: Iterator[str] = cycle(_QUOTED.findall(said) or _PROPER.findall(said))
        self._numbers: Iterator[str] = cycle(_NUMBER.findall(said))
        self._root: Mapping[str, object] = {}

    def make(self, schema: Mapping[str, object]) -> object:
        self._root = schema
        return self._value(schema, "", 0)

    def _value(self, schema: object, name: str, depth: int) -> object:
        if not isinstance(schema, Mapping) or depth > _MAX_DEPTH:
            return None
        if isinstance(reference := schema.get("$ref"), str):
            return self._value(_resolve(self._root, reference), name, depth + 1)
        if "const" in schema:
            return schema["const"]
        if isinstance(enum := schema.get("enum"), list) and enum:
            return enum[0]
        for union in ("anyOf", "oneOf"):
            if isinstance(branches := schema.get(union), list) and branches:
                return self._value(branches[0], name, depth + 1)
        if isinstance(parts := schema.get("allOf"), list):
            merged = {key: value for part in parts for key, value in _mapping(part).items()}
            return self._value(merged, name, depth + 1)
        return self._typed(schema, name, depth)

    def _typed(self, schema: Mapping[str, object], name: str, depth: int) -> object:
        match _type(schema):
            case "object":
                return self._object(schema, depth)
            case "array":
                count = max(1, _bound(schema, "minItems", 1))
                return [self._value(schema.get("items", {}), name, depth + 1) for _ in range(count)]
            case "integer":
                return int(self._number(schema))
            case "number":
                return self._number(schema)
            case "boolean":
                return True
            case "string":
                return self._string(schema, name)
            case _:
                return None

    def _object(self, schema: Mapping[str, object], depth: int) -> dict[str, object]:
        properties = _mapping(schema.get("properties"))
        required = schema.get("required")
        wanted = required if isinstance(required, list) else []
        if self._optional and not wanted:
            wanted = list(properties)
        return {
            name: self._value(properties.get(name, {"type": "string"}), name, depth + 1)
            for name in wanted
        }

    def _number(self, schema: Mapping[str, object]) -> float:
        said = next(self._numbers, "")
        value = float(said) if "." in said else int(said or 1)
        low, high = schema.get("minimum"), schema.get("maximum")
        if isinstance(low, int | float):
            value = max(value, low)
        if isinstance(high, int | float):
            value = min(value, high)
        return value

    def _string(self, schema: Mapping[str, object], name: str) -> str:
        known = _FORMATS.get(str(schema.get("format"))) or _HARMLESS.get(name.lower())
        text = known or next(self._names, "") or self._said or "demo"
        text = text.ljust(_bound(schema, "minLength", 0), ".")
        return text[: _bound(schema, "maxLength", len(text))]


def answer(schema: Mapping[str, object], said: str) -> object:
    """A structured answer."""
    return Maker(said, optional=True).make(schema)


def _type(schema: Mapping[str, object]) -> str:
    found = schema.get("type")
    if isinstance(found, list):
        found = next((name for name in found if name != "null"), "null")
    if isinstance(found, str):
        return found.lower()  # Gemini's OpenAPI schemas shout
    return "object" if "properties" in schema else "string"


def _bound(schema: Mapping[str, object], name: str, default: int) -> int:
    found = schema.get(name)
    try:
        return int(found) if isinstance(found, int | str) else default  # OpenAPI writes "3"
    except ValueError:
        return default


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def _resolve(root: Mapping[str, object], reference: str) -> object:
    """The part of the schema that a local ``#/a/b`` reference names."""
    found: object = root
    for step in reference.removeprefix("#").split("/"):
        if step:
            found = _mapping(found).get(step.replace("~1", "/").replace("~0", "~"))
    return found
