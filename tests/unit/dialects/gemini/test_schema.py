"""Schemas on their way to Gemini and back."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.dialects.gemini.schema import from_openapi, to_gemini, to_openapi


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("a", "string"),
        (1, "integer"),
        (1.5, "number"),
        (True, "boolean"),
        (None, "null"),
        ([1], "array"),
        ({}, "object"),
    ],
)
def test_a_constant_becomes_an_enum_of_one(value, kind):
    assert to_gemini({"const": value}) == {"enum": [value], "type": kind}
    assert to_gemini({"const": value, "type": "x"}) == {"enum": [value], "type": "x"}


def test_what_gemini_does_not_know_goes_at_every_depth():
    noise = {"$schema": "s", "title": "T", "examples": [], "exclusiveMinimum": 1}
    schema = {
        **noise,
        "type": "object",
        "properties": {"title": {**noise, "type": "string"}, "n": True},
        "$defs": {"a": {**noise, "type": "number"}},
        "items": [{**noise}, {"items": {**noise, "type": "string"}}],
        "anyOf": [{**noise, "type": "null"}, "odd"],
        "oneOf": "odd",
        "additionalProperties": {**noise},
        "not": False,
        "required": ["title"],
    }
    assert to_gemini(schema) == {
        "type": "object",
        "properties": {"title": {"type": "string"}, "n": True},
        "$defs": {"a": {"type": "number"}},
        "items": [{}, {"items": {"type": "string"}}],
        "anyOf": [{"type": "null"}, "odd"],
        "oneOf": "odd",
        "additionalProperties": {},
        "not": False,
        "required": ["title"],
    }
    assert schema["title"] == "T"


def test_the_format_of_a_string_is_told_in_its_description():
    assert to_gemini({"type": "string", "format": "date"}) == {
        "type": "string",
        "description": "format: date.",
    }
    assert to_gemini({"type": "string", "format": "date", "description": "When."}) == {
        "type": "string",
        "description": "When.\nformat: date.",
    }
    assert to_gemini({"type": "integer", "format": "int32"}) == {
        "type": "integer",
        "format": "int32",
    }


def test_the_older_form_inlines_references():
    schema = {
        "$defs": {"p": {"type": "object", "properties": {"x": {"$ref": "#/definitions/n"}}}},
        "definitions": {"n": {"type": "integer"}},
        "type": "array",
        "items": {"$ref": "#/$defs/p", "description": "d"},
    }
    assert to_openapi(schema) == {
        "type": "ARRAY",
        "items": {
            "type": "OBJECT",
            "properties": {"x": {"type": "INTEGER"}},
            "description": "d",
        },
    }


def test_a_reference_to_itself_or_to_nowhere_is_any_object():
    tree = {"type": "object", "properties": {"below": {"$ref": "#/$defs/t"}}}
    assert to_openapi({"$defs": {"t": tree}, "$ref": "#/$defs/t"}) == {
        "type": "OBJECT",
        "properties": {"below": {"type": "OBJECT"}},
    }
    assert to_openapi({"items": {"$ref": "#/nowhere"}}) == {"items": {"type": "OBJECT"}}


def test_references_do_not_grow_without_end():
    defs: dict[str, dict[str, object]] = {
        f"d{n}": {"items": {"$ref": f"#/$defs/d{n + 1}"}} for n in range(60)
    }
    for below in defs.values():
        below["anyOf"] = [below["items"], below["items"]]
    grown = to_openapi({"$defs": defs, "$ref": "#/$defs/d0"})
    assert len(orjson.dumps(grown)) < 100_000


def test_the_older_form_says_null_and_one_of_its_own_way():
    assert to_openapi({"type": ["string", "null"]}) == {"type": "STRING", "nullable": True}
    assert to_openapi({"type": ["string", "integer"]}) == {
        "anyOf": [{"type": "STRING"}, {"type": "INTEGER"}]
    }
    assert to_openapi({"type": ["null"]}) == {"nullable": True}
    assert to_openapi({"anyOf": [{"type": "integer"}, {"type": "null"}], "description": "d"}) == {
        "description": "d",
        "nullable": True,
        "type": "INTEGER",
    }
    assert to_openapi({"oneOf": [{"type": "integer"}, {"type": "string"}]}) == {
        "anyOf": [{"type": "INTEGER"}, {"type": "STRING"}]
    }
    assert to_openapi({"enum": [1, None, "a"], "const": 5}) == {"enum": ["5"], "type": "STRING"}
    assert to_openapi({"enum": [1, None, "a"]}) == {"enum": ["1", "a"]}


def test_the_older_form_keeps_its_own_keywords_only():
    schema = {"type": "string", "format": "email", "additionalProperties": False, "minLength": 1}
    assert to_openapi(schema) == {"type": "STRING", "minLength": 1, "description": "format: email."}
    assert to_openapi({"type": "string", "format": "date-time"}) == {
        "type": "STRING",
        "format": "date-time",
    }


def test_the_older_form_has_no_all_of():
    schema = {
        "properties": {"a": {"type": "string"}},
        "required": ["a"],
        "allOf": [
            {"type": "object", "properties": {"b": {"type": "string"}}, "required": ["b"]},
            {"$ref": "#/$defs/s"},
            "odd",
        ],
        "$defs": {"s": {"type": "string", "description": "d"}},
    }
    assert to_openapi(schema) == {
        "properties": {"b": {"type": "STRING"}, "a": {"type": "STRING"}},
        "required": ["a", "b"],
        "type": "OBJECT",
        "description": "d",
    }


def test_the_older_form_is_read():
    schema = {
        "type": "OBJECT",
        "nullable": True,
        "property_ordering": ["a"],
        "example": {},
        "properties": {
            "any_of": {"any_of": [{"type": "STRING"}], "nullable": True},
            "e": {"type": "STRING", "format": "enum", "enum": ["a"], "nullable": True},
            "l": {"type": "ARRAY", "items": {"type": "TYPE_UNSPECIFIED"}, "minItems": "2"},
            "n": {"type": "NUMBER", "format": "double", "max_items": "x"},
            "r": {"ref": "#/$defs/x"},
        },
        "defs": {"x": {"type": "BOOLEAN"}},
    }
    assert from_openapi(schema) == {
        "type": ["object", "null"],
        "properties": {
            "any_of": {"anyOf": [{"type": "string"}, {"type": "null"}]},
            "e": {"type": ["string", "null"], "enum": ["a", None]},
            "l": {"type": "array", "items": {}, "minItems": 2},
            "n": {"type": "number", "format": "double", "maxItems": "x"},
            "r": {"$ref": "#/$defs/x"},
        },
        "$defs": {"x": {"type": "boolean"}},
    }


KEYWORDS = st.sampled_from(
    [
        "type",
        "const",
        "enum",
        "format",
        "properties",
        "items",
        "anyOf",
        "oneOf",
        "allOf",
        "$ref",
        "$defs",
        "nullable",
        "required",
        "title",
        "description",
        "not",
        "additionalProperties",
        "definitions",
        "min_items",
        "any_of",
        "ref",
    ]
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(0, 9)
    | st.sampled_from(["null", "STRING", "#/$defs/type"]),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(KEYWORDS, below, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(KEYWORDS, VALUES, max_size=5))
def test_any_object_is_taken_for_a_schema(schema):
    before = orjson.dumps(schema)
    for convert in (to_gemini, to_openapi, from_openapi):
        once = convert(schema)
        assert orjson.loads(orjson.dumps(once)) == once
    assert orjson.dumps(schema) == before
