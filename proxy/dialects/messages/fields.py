"""Fields of a client's body, checked where they enter: each function returns the value or raises the 400 that names it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from proxy.errors import GatewayError, invalid

Object = dict[str, Any]


def found(value: object) -> str:
    """Return the JSON kind of ``value``, for a sentence that starts with "found"."""
    for kind, name in _KINDS:
        if isinstance(value, kind):
            return name
    return "nothing"


def wrong(path: str, value: object, expected: str) -> GatewayError:
    """Return the 400 for ``value`` at ``path``."""
    return invalid(path, f"found {found(value)}, expected {expected}")


def as_object(value: object, path: str) -> Object:
    """Return ``value`` if it is an object."""
    if isinstance(value, dict):
        return value
    raise wrong(path, value, "an object")


def as_array(value: object, path: str) -> list[Any]:
    """Return ``value`` if it is an array."""
    if isinstance(value, list):
        return value
    raise wrong(path, value, "an array")


def as_string(value: object, path: str) -> str:
    """Return ``value`` if it is a string."""
    if isinstance(value, str):
        return value
    raise wrong(path, value, "a string")


def as_word(value: object, path: str, words: Sequence[str]) -> str:
    """Return ``value`` if it is one of ``words``; the message lists them and repeats what it is not."""
    if isinstance(value, str):
        if value in words:
            return value
        shown = value if len(value) <= _SHOWN else value[:_SHOWN] + "…"
        raise invalid(path, f"found {shown!r}, expected one of {', '.join(words)}")
    raise wrong(path, value, f"one of {', '.join(words)}")


def optional_object(holder: Object, key: str, path: str) -> Object | None:
    """Return the object under ``key``, or None where it is absent or null."""
    value = holder.get(key)
    return None if value is None else as_object(value, join(path, key))


def optional_array(holder: Object, key: str, path: str) -> list[Any]:
    """Return the array under ``key``, empty where it is absent or null."""
    value = holder.get(key)
    return [] if value is None else as_array(value, join(path, key))


def optional_string(holder: Object, key: str, path: str) -> str | None:
    """Return the string under ``key``, or None where it is absent or null."""
    value = holder.get(key)
    return None if value is None else as_string(value, join(path, key))


def optional_boolean(holder: Object, key: str, path: str) -> bool | None:
    """Return the boolean under ``key``, or None where it is absent or null."""
    value = holder.get(key)
    if value is None or isinstance(value, bool):
        return value
    raise wrong(join(path, key), value, "a boolean")


def optional_integer(holder: Object, key: str, path: str, *, least: int) -> int | None:
    """Return the integer under ``key``, at least ``least``, or None where it is absent or null; ``true`` is no integer."""
    value = holder.get(key)
    if value is None:
        return None
    if type(value) is not int:
        raise wrong(join(path, key), value, "an integer")
    if value < least:
        raise invalid(join(path, key), f"found {value}, expected at least {least}")
    return value


def optional_number(holder: Object, key: str, path: str) -> float | None:
    """Return the finite number under ``key``, or None where it is absent or null."""
    value = holder.get(key)
    if value is None:
        return None
    if type(value) is int or (type(value) is float and math.isfinite(value)):
        return value
    raise wrong(join(path, key), value, "a finite number")


def required_string(holder: Object, key: str, path: str) -> str:
    """Return the string under ``key``, which must be there."""
    return as_string(holder.get(key), join(path, key))


def join(path: str, key: str) -> str:
    """Return the path of ``key`` inside what stands at ``path``, which is empty for the body itself."""
    return f"{path}.{key}" if path else key


_SHOWN = 64
"""Characters of a wrong word that the message repeats."""

# A boolean is an integer to Python, so it is asked for first.
_KINDS: tuple[tuple[type[object], str], ...] = (
    (bool, "a boolean"),
    (int, "a number"),
    (float, "a number"),
    (str, "a string"),
    (list, "an array"),
    (dict, "an object"),
)
