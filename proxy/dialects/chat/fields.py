"""Typed looks into a client's body: what is not what it must be is a 400 that says where it stands.

Every look takes the object, the key, and ``at``, the path of the object in the body ("" for the body itself). A null counts
as absent, as it does for OpenAI.
"""

from __future__ import annotations

import math
from typing import Any

from proxy.errors import GatewayError, invalid

Object = dict[str, Any]

_TYPES = {
    str: "a string",
    bool: "a boolean",
    list: "an array",
    dict: "an object",
    type(None): "null",
}
_SHOWN = 40
"""Characters of a client's word that an error repeats."""


def path(at: str, key: str) -> str:
    """Return the path of ``key`` in the object at ``at``."""
    return f"{at}.{key}" if at else key


def wrong(param: str, value: object, expected: str) -> GatewayError:
    """Return the 400 for a value of a wrong type."""
    return invalid(
        param, f"`{param}`: found {_TYPES.get(type(value), 'a number')}, expected {expected}."
    )


def unknown_word(param: str, value: str, expected: str) -> GatewayError:
    """Return the 400 for a word that is none of the expected."""
    return invalid(param, f'`{param}`: found "{value[:_SHOWN]}", expected {expected}.')


def string(holder: Object, key: str, at: str = "") -> str | None:
    value = holder.get(key)
    if value is None or isinstance(value, str):
        return value
    raise wrong(path(at, key), value, "a string")


def needed_string(holder: Object, key: str, at: str) -> str:
    value = string(holder, key, at)
    if value is None:
        raise wrong(path(at, key), None, "a string")
    return value


def boolean(holder: Object, key: str, at: str = "") -> bool | None:
    value = holder.get(key)
    if value is None or isinstance(value, bool):
        return value
    raise wrong(path(at, key), value, "a boolean")


def integer(holder: Object, key: str, at: str = "") -> int | None:
    value = holder.get(key)
    if value is None or type(value) is int:  # True is an int to isinstance
        return value
    raise wrong(path(at, key), value, "an integer")


def positive(holder: Object, key: str, at: str = "") -> int | None:
    value = integer(holder, key, at)
    if value is not None and value < 1:
        raise invalid(path(at, key), f"`{path(at, key)}`: found {value}, expected at least 1.")
    return value


def number(holder: Object, key: str, at: str = "") -> float | None:
    value = holder.get(key)
    if value is None or (type(value) in {int, float} and math.isfinite(value)):
        return value
    raise wrong(path(at, key), value, "a finite number")


def json_object(holder: Object, key: str, at: str = "") -> Object | None:
    value = holder.get(key)
    if value is None or isinstance(value, dict):
        return value
    raise wrong(path(at, key), value, "an object")


def needed_object(holder: Object, key: str, at: str) -> Object:
    value = json_object(holder, key, at)
    if value is None:
        raise wrong(path(at, key), None, "an object")
    return value


def array(holder: Object, key: str, at: str = "") -> list[Any]:
    """Return the array, or an empty one where there is none."""
    value = holder.get(key)
    if value is None:
        return []
    if isinstance(value, list):
        return value
    raise wrong(path(at, key), value, "an array")


def objects(holder: Object, key: str, at: str = "") -> list[tuple[str, Object]]:
    """Return each object of an array with its own path."""
    found = []
    for index, entry in enumerate(array(holder, key, at)):
        where = f"{path(at, key)}[{index}]"
        if not isinstance(entry, dict):
            raise wrong(where, entry, "an object")
        found.append((where, entry))
    return found


def strings(holder: Object, key: str, at: str = "") -> list[str]:
    for index, entry in enumerate(array(holder, key, at)):
        if not isinstance(entry, str):
            raise wrong(f"{path(at, key)}[{index}]", entry, "a string")
    return array(holder, key, at)
