"""JSON schemas as Gemini takes them: JSON Schema with gaps today, a form of OpenAPI's before.

All three functions return new objects and leave what they are given alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

_DROPPED = frozenset(
    {"$schema", "$id", "$comment", "title", "examples", "discriminator"}
    | {"exclusiveMinimum", "exclusiveMaximum"}
)
"""Keywords that say nothing to a model, or that the API refuses."""

_MAPS = frozenset({"properties", "$defs", "definitions", "patternProperties", "dependentSchemas"})
"""Keywords whose value maps names to schemas."""
_LISTS = frozenset({"anyOf", "oneOf", "allOf", "prefixItems"})
"""Keywords whose value is a list of schemas."""
_SINGLES = frozenset(
    {"items", "additionalProperties", "not", "contains", "propertyNames", "if", "then", "else"}
)
"""Keywords whose value is a schema; ``items`` was a list once, and two of these may be a boolean."""

_OPENAPI_KEYWORDS = frozenset(
    {"type", "description", "nullable", "enum", "items", "properties", "required", "anyOf"}
    | {"minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"}
    | {"minimum", "maximum", "pattern", "default", "format"}
)
_OPENAPI_FORMATS = frozenset({"int32", "int64", "float", "double", "date-time"})
_OPENAPI_SPELLINGS = {
    "any_of": "anyOf",
    "additional_properties": "additionalProperties",
    "min_items": "minItems",
    "max_items": "maxItems",
    "min_length": "minLength",
    "max_length": "maxLength",
    "min_properties": "minProperties",
    "max_properties": "maxProperties",
    "property_ordering": "propertyOrdering",
    "defs": "$defs",
    "ref": "$ref",
}
_COUNTS = frozenset(
    {"minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"}
)

Schema = dict[str, Any]


# JSON Schema for Gemini.


def to_gemini(schema: Mapping[str, Any]) -> Schema:
    """Return ``schema`` for ``responseJsonSchema`` or ``parametersJsonSchema``.

    A constant becomes an enum of one; the format of a string goes into its description, where a
    model still reads it.
    """
    out: Schema = {}
    for key, value in schema.items():
        if key in _DROPPED:
            continue
        if key == "const":
            out["enum"] = [value]
            out.setdefault("type", _type_of(value))
        else:
            out[key] = _below(key, value, to_gemini)
    if "const" in schema and isinstance(schema.get("type"), str | list):
        out["type"] = schema["type"]
    if isinstance(out.get("format"), str) and out.get("type", "string") == "string":
        _describe_format(out)
    return out


def _describe_format(schema: Schema) -> None:
    told = f"format: {schema.pop('format')}."
    description = schema.get("description")
    schema["description"] = f"{description}\n{told}" if isinstance(description, str) else told


def _below(key: str, value: object, convert: Callable[[Mapping[str, Any]], Schema]) -> object:
    """Return the value of keyword ``key`` with the schemas in it converted."""
    if key in _MAPS and isinstance(value, dict):
        return {name: _one(below, convert) for name, below in value.items()}
    if key in _LISTS or (key == "items" and isinstance(value, list)):
        return [_one(below, convert) for below in value] if isinstance(value, list) else value
    return _one(value, convert) if key in _SINGLES else value


def _one(value: object, convert: Callable[[Mapping[str, Any]], Schema]) -> object:
    return convert(value) if isinstance(value, dict) else value


def _type_of(value: object) -> str:
    match value:
        case bool():
            return "boolean"
        case str():
            return "string"
        case int():
            return "integer"
        case float():
            return "number"
        case list():
            return "array"
        case dict():
            return "object"
        case _:
            return "null"


# The older form, for endpoints that know no JSON Schema.


def to_openapi(schema: Mapping[str, Any]) -> Schema:
    """Return ``schema`` for ``responseSchema`` or ``parameters``.

    References are inlined; one that leads back to itself becomes an object of anything, and so do all
    after the first ``MAX_INLINED``.
    """
    definitions: Schema = {}
    for key in ("definitions", "$defs"):
        if isinstance(schema.get(key), dict):
            definitions |= {f"#/{key}/{name}": below for name, below in schema[key].items()}
    return _Inliner(definitions).convert(schema)


MAX_INLINED = 1000
"""A few lines of references to references would otherwise grow into gigabytes."""


class _Inliner:
    def __init__(self, definitions: Schema) -> None:
        self._definitions = definitions
        self._inside: list[str] = []
        self._left = MAX_INLINED

    def convert(self, schema: Mapping[str, Any]) -> Schema:
        reference = schema.get("$ref")
        if isinstance(reference, str):
            return self._inlined(reference, schema)
        members = schema.get("allOf")
        out: Schema = {}
        for key, value in schema.items():
            keyword = "anyOf" if key == "oneOf" else key
            if keyword == "const":
                out["enum"] = [str(value)]
                out.setdefault("type", "STRING")
            elif keyword in _OPENAPI_KEYWORDS:
                out[keyword] = _below(keyword, value, self.convert)
        _join_types(out)
        _drop_null_option(out)
        if isinstance(out.get("enum"), list):
            out["enum"] = [str(value) for value in out["enum"] if value is not None]
        if isinstance(out.get("format"), str) and out["format"] not in _OPENAPI_FORMATS:
            _describe_format(out)
        for member in members if isinstance(members, list) else ():
            if isinstance(member, dict):
                _merge(out, self.convert(member))
        return out

    def _inlined(self, reference: str, schema: Mapping[str, Any]) -> Schema:
        target = self._definitions.get(reference)
        if reference in self._inside or not isinstance(target, dict) or not self._left:
            return {"type": "OBJECT"}
        self._left -= 1
        self._inside.append(reference)
        beside = {key: value for key, value in schema.items() if key != "$ref"}
        out = self.convert({**target, **beside})
        self._inside.pop()
        return out


def _merge(schema: Schema, member: Schema) -> None:
    """Give ``schema`` what a member of its ``allOf`` asks on top."""
    for key, value in member.items():
        known = schema.get(key)
        if isinstance(known, dict) and isinstance(value, dict):
            schema[key] = {**value, **known}
        elif key == "required" and isinstance(known, list) and isinstance(value, list):
            schema[key] = [*known, *(name for name in value if name not in known)]
        else:
            schema.setdefault(key, value)


def _join_types(schema: Schema) -> None:
    """Say "or null" and "one of several types" the way OpenAPI does."""
    types = schema.get("type")
    if isinstance(types, str):
        schema["type"] = types.upper()
    if not isinstance(types, list):
        return
    named = [one.upper() for one in types if isinstance(one, str) and one != "null"]
    if "null" in types:
        schema["nullable"] = True
    del schema["type"]
    if len(named) == 1:
        schema["type"] = named[0]
    elif named:
        schema["anyOf"] = [{"type": one} for one in named]


def _drop_null_option(schema: Schema) -> None:
    options = schema.get("anyOf")
    if not isinstance(options, list):
        return
    real = [option for option in options if option not in ({"type": "NULL"}, {"type": "null"})]
    if len(real) < len(options):
        schema["nullable"] = True
    if len(real) == 1 and isinstance(real[0], dict):
        del schema["anyOf"]
        for key, value in real[0].items():
            schema.setdefault(key, value)
    else:
        schema["anyOf"] = real


# Back from the older form, which clients still write.


def from_openapi(schema: Mapping[str, Any]) -> Schema:
    """Return a client's ``responseSchema`` or ``parameters`` as JSON Schema."""
    out: Schema = {}
    for spelt, value in schema.items():
        key = _OPENAPI_SPELLINGS.get(spelt, spelt)
        if key in {"propertyOrdering", "nullable", "example"}:
            continue
        if key == "type" and isinstance(value, str):
            if value != "TYPE_UNSPECIFIED":
                out["type"] = value.lower()
        elif key in _COUNTS and isinstance(value, str) and value.isdecimal():
            out[key] = int(value)  # 64-bit integers may be strings in the JSON of protocol buffers
        elif not (key == "format" and value == "enum"):
            out[key] = _below(key, value, from_openapi)
    if schema.get("nullable") is True:
        _allow_null(out)
    return out


def _allow_null(schema: Schema) -> None:
    if isinstance(schema.get("type"), str):
        schema["type"] = [schema["type"], "null"]
    if isinstance(schema.get("enum"), list):
        schema["enum"] = [*schema["enum"], None]
    if isinstance(schema.get("anyOf"), list):
        schema["anyOf"] = [*schema["anyOf"], {"type": "null"}]
