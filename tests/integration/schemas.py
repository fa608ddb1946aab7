"""What a JSON Schema allows, drawn at random: as much of the standard as proxy/server/openapi.json uses."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

SPREAD = 1000
"""How far above its minimum a number is drawn: asking for a vector of 2³¹ dimensions would prove something else."""
_WORDS = st.text('aZ09 .:-_\n"\\é€😀', max_size=12)


def valid(schema: dict[str, Any], document: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Return what ``schema``, a part of ``document``, allows; the examples that it gives stand for strings of a form."""
    if "$ref" in schema:
        return st.deferred(lambda: valid(_found(schema["$ref"], document), document))
    if "const" in schema:
        return st.just(schema["const"])
    for several in ("enum", "examples"):
        if several in schema:
            return st.sampled_from(schema[several])
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return st.one_of([valid(one, document) for one in schema[several]])
    if "allOf" in schema:
        parts = [valid(one, document) for one in schema["allOf"]]
        return st.tuples(*parts).map(lambda drawn: {k: v for one in drawn for k, v in one.items()})
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    return st.one_of([_of_kind(kind, schema, document) for kind in kinds])


def _of_kind(kind: str, schema: dict[str, Any], document: dict[str, Any]) -> st.SearchStrategy[Any]:
    match kind:
        case "object":
            return _objects(schema, document)
        case "array":
            least = schema.get("minItems", 0)
            most = min(schema.get("maxItems", 3), 3)
            return st.lists(valid(schema["items"], document), min_size=least, max_size=most)
        case "string":
            return _strings(schema)
        case "integer":
            least = schema.get("minimum", -SPREAD)
            return st.integers(least, min(schema.get("maximum", least + SPREAD), least + SPREAD))
        case "number":
            return st.floats(schema.get("minimum", -SPREAD), schema.get("maximum", SPREAD))
        case "boolean":
            return st.booleans()
        case "null":
            return st.none()
        case _:
            raise AssertionError(f"found a schema of the type {kind!r}, which nothing here draws")


def _objects(schema: dict[str, Any], document: dict[str, Any]) -> st.SearchStrategy[Any]:
    required = schema.get("required", ())
    fields = {name: valid(one, document) for name, one in schema.get("properties", {}).items()}
    optional = {name: one for name, one in fields.items() if name not in required}
    if schema.get("additionalProperties", True):
        # What the schema does not name it does not forbid.
        optional["x_invented"] = _WORDS
    return st.fixed_dictionaries({name: fields[name] for name in required}, optional=optional)


def _strings(schema: dict[str, Any]) -> st.SearchStrategy[str]:
    if "pattern" in schema:
        return st.from_regex(schema["pattern"].replace("$", r"\Z"), fullmatch=True).map(
            lambda one: one[:16]
        )
    if schema.get("format") == "date":
        return st.dates().map(str)
    return _WORDS.filter(lambda one: len(one) >= schema.get("minLength", 0))


def _found(reference: str, document: Any) -> Any:
    for name in reference.removeprefix("#/").split("/"):
        document = document[name]
    return document
