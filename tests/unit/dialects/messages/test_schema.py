from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.dialects.messages.schema import MAX_OPTIONAL, closed


def schema_of(node: dict[str, Any]) -> dict[str, Any]:
    made = closed(node)
    assert made is not None
    return made.schema


def holder(node: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"x": node}, "required": ["x"]}


def test_an_object_is_closed():
    node = {"type": "object", "properties": {"x": {"type": "string"}}, "required": ["x"]}
    assert schema_of(node) == {**node, "additionalProperties": False}
    assert schema_of({"type": "object", "properties": {}}) == {
        "type": "object",
        "properties": {},
        "additionalProperties": False,
    }


def test_constraints_move_into_the_description_in_their_order():
    node = {"type": "integer", "minimum": 0, "maximum": 10, "description": "count"}
    assert schema_of(node) == {"type": "integer", "description": "count\nminimum: 0; maximum: 10."}
    assert schema_of({"type": "string", "pattern": "^a$", "maxLength": 2}) == {
        "type": "string",
        "description": "pattern: ^a$; maxLength: 2.",
    }
    assert schema_of({"not": {"type": "null"}}) == {"description": 'not: {"type":"null"}.'}


def test_only_known_formats_stay():
    assert schema_of({"type": "string", "format": "uuid"}) == {"type": "string", "format": "uuid"}
    assert schema_of({"type": "string", "format": "regex"}) == {
        "type": "string",
        "description": "format: regex.",
    }


def test_one_of_becomes_any_of_and_notes_go():
    node = {"$schema": "x", "oneOf": [{"type": "string"}, {"type": "null"}], "examples": ["a"]}
    assert schema_of(node) == {"anyOf": [{"type": "string"}, {"type": "null"}]}


def test_items_definitions_and_a_single_all_of_are_followed():
    node = {
        **holder({"type": "array", "items": {"$ref": "#/$defs/A"}}),
        "$defs": {"A": {"allOf": [{"type": "string", "minLength": 1}]}},
        "definitions": {},
    }
    made = schema_of(node)
    assert made["$defs"] == {"A": {"allOf": [{"type": "string", "description": "minLength: 1."}]}}
    assert made["properties"]["x"] == {"type": "array", "items": {"$ref": "#/$defs/A"}}


@pytest.mark.parametrize(
    "node",
    [
        {"type": "object"},
        {"type": "object", "additionalProperties": {"type": "string"}},
        {"type": "object", "properties": {}, "additionalProperties": True},
        {"type": "object", "properties": {}, "patternProperties": {}},
        {"type": ["object", "null"]},
        {"type": "object", "properties": {"x": True}},
        holder({"$ref": "#"}),
        holder({"$ref": "other.json"}),
        holder({"$ref": 1}),
        holder({"$ref": "#/$defs/absent"}),
        {**holder({"$ref": "#/$defs/A"}), "$defs": {"A": holder({"$ref": "#/$defs/A"})}},
        {
            **holder({"$ref": "#/$defs/A"}),
            "$defs": {"A": holder({"$ref": "#/$defs/B"}), "B": holder({"$ref": "#/$defs/A"})},
        },
        {"anyOf": {}},
        {"anyOf": [], "oneOf": []},
        {"allOf": [{"type": "object", "properties": {}}, {"type": "object", "properties": {}}]},
        {
            "$defs": {"A": {"type": "object", "properties": {}}},
            "allOf": [{"$ref": "#/$defs/A"}, {"$ref": "#/$defs/A"}],
        },
        {"allOf": "x"},
        {"$defs": []},
        {"type": "object", "properties": []},
    ],
)
def test_what_cannot_be_compiled_has_no_closed_form(node: dict[str, Any]):
    assert closed(node) is None


def test_a_definition_may_be_used_twice():
    node = {
        "type": "object",
        "properties": {"a": {"$ref": "#/$defs/A"}, "b": {"$ref": "#/$defs/B"}},
        "$defs": {
            "A": {"type": "string"},
            "B": {"anyOf": [{"$ref": "#/$defs/A"}, {"type": "null"}]},
        },
    }
    assert closed(node) is not None


def test_optional_properties_and_unions_are_counted():
    made = closed(
        {"type": "object", "properties": {"a": {"type": ["string", "null"]}, "b": {"anyOf": []}}}
    )
    assert made is not None
    assert (made.optional, made.unions) == (2, 2)
    assert made.fits()
    assert not made.fits(optional=MAX_OPTIONAL - 1)
    assert not made.fits(unions=15)


NODES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(0, 3)
    | st.sampled_from(["object", "string", "#/$defs/type", "uuid"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "type",
                    "properties",
                    "$defs",
                    "$ref",
                    "anyOf",
                    "oneOf",
                    "allOf",
                    "items",
                    "required",
                    "format",
                    "not",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(
    st.dictionaries(
        st.sampled_from(["type", "properties", "$defs", "$ref", "items", "anyOf"]), NODES
    )
)
def test_any_schema_is_closed_or_not(node: dict[str, Any]):
    made = closed(node)
    if made is not None:
        again = closed(made.schema)
        assert again is not None
        assert again.schema == made.schema


def test_members_that_are_not_all_objects_stand_side_by_side():
    several = {"allOf": [{"type": "string"}, {"description": "d"}, {"$ref": "#/$defs/A"}]}
    made = closed({"$defs": {"A": {"type": "string"}}, **several})
    assert made is not None
    assert made.schema["allOf"] == several["allOf"]
