"""JSON schemas in the part of the language that Anthropic compiles into a grammar, for structured output and strict tools.

The compiler knows types, enums, unions and closed objects. What it does not know (bounds, patterns, most formats) moves into
the description, where the model at least reads it. A schema that cannot be said at all (recursive, or with free keys) has no
such form, and its caller asks for the same in another way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from proxy.dialects.conversation import Json
from proxy.dialects.strict import is_object

MAX_OPTIONAL = 24
"""Optional properties in all schemas of a request; the API refuses more."""
MAX_UNIONS = 16
"""Properties with several types in all schemas of a request."""

_KEPT = frozenset(
    {
        "type",
        "enum",
        "const",
        "$ref",
        "required",
        "description",
        "title",
        "default",
        "additionalProperties",
    }
)
_FORMATS = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"}
)
_NOTES = frozenset(
    {
        "$schema",
        "$id",
        "$comment",
        "$anchor",
        "examples",
        "deprecated",
        "readOnly",
        "writeOnly",
        "discriminator",
    }
)
"""Keywords about the schema, not about what fits it."""


@dataclass(frozen=True, slots=True)
class Closed:
    """A schema in the compilable part, with what counts towards a request's limits."""

    schema: dict[str, Any]
    optional: int
    unions: int

    def fits(self, optional: int = 0, unions: int = 0) -> bool:
        """Tell whether a request that has these many already can have this schema too."""
        return optional + self.optional <= MAX_OPTIONAL and unions + self.unions <= MAX_UNIONS


def closed(schema: Json) -> Closed | None:
    """Return ``schema`` in the compilable part of the language, or None if it cannot be said there."""
    walk = _Walk(schema)
    try:
        made = walk.schema(schema)
        walk.refuse_recursion()
    except _Open:
        return None
    return Closed(made, walk.optional, walk.unions)


class _Open(Exception):
    """The schema needs a keyword that has no form in the compilable part."""


@dataclass(slots=True)
class _Walk:
    """One pass over a schema. ``refs`` holds, for each definition (and "" for the root), the definitions that it uses."""

    root: Json
    optional: int = 0
    unions: int = 0
    refs: dict[str, set[str]] = field(default_factory=dict)
    _at: str = ""

    def schema(self, node: object) -> dict[str, Any]:
        if not isinstance(node, Mapping):
            raise _Open
        self._count(node)
        out: dict[str, Any] = {}
        moved: list[str] = []
        for key, value in node.items():
            if key in _KEPT:
                out[key] = value
            elif key in _KEYWORDS:
                _KEYWORDS[key](self, out, value)
            elif key == "format" and isinstance(value, str) and value in _FORMATS:
                out[key] = value
            elif key not in _NOTES:
                moved.append(
                    f"{key}: {value if isinstance(value, str) else orjson.dumps(value).decode()}"
                )
        if "$ref" in node:
            self._refer(node["$ref"])
        if is_object(node):
            _close(node, out)
        if moved:
            constraint = "; ".join(moved) + "."
            told = out.get("description")
            out["description"] = (
                f"{told}\n{constraint}" if isinstance(told, str) and told else constraint
            )
        return out

    def refuse_recursion(self) -> None:
        """Raise ``_Open`` if a definition uses itself, however indirectly."""
        done: set[str] = set()

        def visit(name: str, above: frozenset[str]) -> None:
            if name in above:
                raise _Open
            if name not in done:
                for used in self.refs.get(name, ()):
                    visit(used, above | {name})
                done.add(name)

        for name in list(self.refs):
            visit(name, frozenset())

    def _count(self, node: Json) -> None:
        properties, required = node.get("properties"), node.get("required")
        if isinstance(properties, Mapping):
            self.optional += len(set(properties) - _strings(required))
        kinds = node.get("type")
        if "anyOf" in node or "oneOf" in node or (isinstance(kinds, list) and len(kinds) > 1):
            self.unions += 1

    def _refer(self, target: object) -> None:
        if not isinstance(target, str):
            raise _Open
        holder, _, name = target.removeprefix("#/").partition("/")
        definitions = self.root.get(holder) if holder in ("$defs", "definitions") else None
        if not isinstance(definitions, Mapping) or name not in definitions:
            raise _Open
        self.refs.setdefault(self._at, set()).add(target)

    def properties(self, out: dict[str, Any], value: object) -> None:
        out["properties"] = self._map(value)

    def definitions(self, key: str, out: dict[str, Any], value: object) -> None:
        if not isinstance(value, Mapping):
            raise _Open
        made = {}
        for name, node in value.items():
            outer, self._at = self._at, f"#/{key}/{name}"
            made[name] = self.schema(node)
            self._at = outer
        out[key] = made

    def any_of(self, out: dict[str, Any], value: object) -> None:
        if "anyOf" in out or not isinstance(value, list):
            raise _Open
        out["anyOf"] = [self.schema(one) for one in value]

    def all_of(self, out: dict[str, Any], value: object) -> None:
        if not isinstance(value, list):
            raise _Open
        # Objects that are closed each on its own contradict one another, and what is referred to may be one.
        objects = [
            one for one in value if isinstance(one, dict) and (is_object(one) or "$ref" in one)
        ]
        if len(objects) > 1:
            raise _Open
        out["allOf"] = [self.schema(one) for one in value]

    def items(self, out: dict[str, Any], value: object) -> None:
        out["items"] = self.schema(value)

    def no_form(self, _out: dict[str, Any], _value: object) -> None:
        raise _Open

    def _map(self, value: object) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise _Open
        return {name: self.schema(node) for name, node in value.items()}


_KEYWORDS = {
    "properties": _Walk.properties,
    "$defs": lambda walk, out, value: walk.definitions("$defs", out, value),
    "definitions": lambda walk, out, value: walk.definitions("definitions", out, value),
    "anyOf": _Walk.any_of,
    "oneOf": _Walk.any_of,
    "allOf": _Walk.all_of,
    "items": _Walk.items,
    "patternProperties": _Walk.no_form,
}


def _close(node: Json, out: dict[str, Any]) -> None:
    """Close an object; one that is meant to have free keys has no closed form."""
    if node.get("additionalProperties", "properties" not in node) is not False:
        raise _Open
    out["additionalProperties"] = False


def _strings(value: object) -> set[str]:
    return {one for one in value if isinstance(one, str)} if isinstance(value, list) else set()
