"""Typed looks into a client's body: a field that is not what it must be is a 400 that says where it stands.

Every look takes an object, the key, and ``at``, the path of the object in the body ("" for the body itself). A null counts as
absent, as it does for the providers. The path of the field is put together only for a fault: these run for every field of
every translated request.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any, TypeVar

from proxy.errors import GatewayError, invalid

Object = dict[str, Any]
Word = TypeVar("Word", bound=str)

_KINDS = {
    type(None): "nothing",
    bool: "a boolean",
    int: "an integer",
    float: "a number",
    str: "a string",
    list: "an array",
    dict: "an object",
}
TEXT_OR_PARTS = "a string or an array"
"""What is expected where a text may stand for an array with one part."""
_SHOWN = 40
"""Characters of a client's word that an error repeats."""


def join(at: str, key: str) -> str:
    """Return the path of ``key`` in the object at ``at``."""
    return f"{at}.{key}" if at else key


# What may stand there or not: None where it does not.


def string(holder: Object, key: str, at: str = "") -> str | None:
    value = holder.get(key)
    if value is None or isinstance(value, str):
        return value
    raise wrong_type(join(at, key), value, "a string")


def word(holder: Object, key: str, words: Collection[Word], at: str = "") -> Word | None:
    """Return the string, which must be one of ``words``."""
    return None if holder.get(key) is None else needed_word(holder, key, words, at)


def boolean(holder: Object, key: str, at: str = "") -> bool | None:
    value = holder.get(key)
    if value is None or isinstance(value, bool):
        return value
    raise wrong_type(join(at, key), value, "a boolean")


def integer(holder: Object, key: str, at: str = "", *, least: int | None = None) -> int | None:
    value = holder.get(key)
    if value is None:
        return None
    if type(value) is not int:  # True is an int to isinstance
        raise wrong_type(join(at, key), value, "an integer")
    if least is not None and value < least:
        raise _fault(join(at, key), str(value), f"at least {least}")
    return value


def number(holder: Object, key: str, at: str = "") -> float | None:
    value = holder.get(key)
    if value is None or type(value) is int or (type(value) is float and math.isfinite(value)):
        return value
    raise wrong_type(join(at, key), value, "a finite number")


def mapping(holder: Object, key: str, at: str = "") -> Object | None:
    value = holder.get(key)
    if value is None or isinstance(value, dict):
        return value
    raise wrong_type(join(at, key), value, "an object")


def array(holder: Object, key: str, at: str = "") -> list[Any]:
    """Return the array, or an empty one where there is none."""
    value = holder.get(key)
    if value is None:
        return []
    if isinstance(value, list):
        return value
    raise wrong_type(join(at, key), value, "an array")


def strings(holder: Object, key: str, at: str = "") -> list[str]:
    """Return the strings of an array, none where there is no array."""
    values = array(holder, key, at)
    for index, value in enumerate(values):
        if not isinstance(value, str):
            raise wrong_type(f"{join(at, key)}[{index}]", value, "a string")
    return values


def objects(holder: Object, key: str, at: str = "") -> list[tuple[str, Object]]:
    """Return the objects of an array, each with its own path; none where there is no array."""
    values = holder.get(key)
    return [] if values is None else entries(values, join(at, key))


# What must stand there.


def needed_string(holder: Object, key: str, at: str = "") -> str:
    value = holder.get(key)
    if isinstance(value, str):
        return value
    raise wrong_type(join(at, key), value, "a string")


def needed_word(holder: Object, key: str, words: Collection[Word], at: str = "") -> Word:
    value = holder.get(key)
    if isinstance(value, str) and value in words:
        return value  # type: ignore[return-value]  # a string that is in them is one of them
    raise wrong_word(join(at, key), value, words)


def needed_mapping(holder: Object, key: str, at: str = "") -> Object:
    value = holder.get(key)
    if isinstance(value, dict):
        return value
    raise wrong_type(join(at, key), value, "an object")


def needed_objects(holder: Object, key: str, at: str = "") -> list[tuple[str, Object]]:
    return entries(holder.get(key), join(at, key))


def entries(values: object, at: str, expected: str = "an array") -> list[tuple[str, Object]]:
    """Return the objects of the array ``values``, each with its own path."""
    if not isinstance(values, list):
        raise wrong_type(at, values, expected)
    found = []
    for index, value in enumerate(values):
        where = f"{at}[{index}]"
        if not isinstance(value, dict):
            raise wrong_type(where, value, "an object")
        found.append((where, value))
    return found


# Faults.


def wrong_type(at: str, value: object, expected: str) -> GatewayError:
    """Return the 400 for a value of a wrong type, of which it tells the type only."""
    return _fault(at, _KINDS[type(value)], expected)


def wrong_value(at: str, value: object, expected: str) -> GatewayError:
    """Return the 400 for a value that may have the right type; a string is repeated, though not at any length."""
    return _fault(at, shown(value) if isinstance(value, str) else _KINDS[type(value)], expected)


def wrong_word(at: str, value: object, words: Collection[str]) -> GatewayError:
    """Return the 400 for a value that is none of ``words``."""
    return wrong_value(at, value, f"one of {', '.join(words)}")


def shown(text: str) -> str:
    """Return a client's string as an error repeats it."""
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "…")


def _fault(at: str, found: str, expected: str) -> GatewayError:
    return invalid(at, f"`{at}`: found {found}, expected {expected}.")
