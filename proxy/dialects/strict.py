"""Whether a JSON schema is one that OpenAI's strict mode takes.

It is asked where a client's dialect has no switch for it, and a schema binds as a matter of course. One that does not fit stays as
it is and is sent unstrict: to close it would change what it means.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_MAPS = ("properties", "$defs", "definitions")
_DATA = ("enum", "const", "default", "examples")
"""Keywords whose value is no schema, whatever it looks like."""


def is_strict(schema: object) -> bool:
    """Tell whether every object of ``schema`` is closed and requires all its properties."""
    if isinstance(schema, list):
        return all(map(is_strict, schema))
    if not isinstance(schema, dict):
        return True
    if is_object(schema):
        properties, required = schema.get("properties", {}), schema.get("required", [])
        if schema.get("additionalProperties") is not False:
            return False
        if not isinstance(properties, dict) or not isinstance(required, list):
            return False
        if not properties.keys() <= {name for name in required if isinstance(name, str)}:
            return False
    inner = [value for key, value in schema.items() if key not in (*_MAPS, *_DATA)]
    maps = [schema[key] for key in _MAPS if isinstance(schema.get(key), dict)]
    return all(map(is_strict, inner)) and all(
        is_strict(one) for many in maps for one in many.values()
    )


def is_object(schema: Mapping[str, Any]) -> bool:
    """Tell whether ``schema`` is one of objects, said or implied."""
    kinds = schema.get("type")
    return (
        kinds == "object"
        or (isinstance(kinds, list) and "object" in kinds)
        or "properties" in schema
    )
