"""Checks of a request's fields: each returns the value if it has the right type, else raises the 400 that says where and why."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from proxy.errors import invalid

T = TypeVar("T")


def optional(
    holder: Mapping[str, Any], key: str, path: str, read: Callable[[Any, str], T]
) -> T | None:
    """Return the field ``key`` of ``holder``, which stands at ``path``; null counts as absent."""
    value = holder.get(key)
    return None if value is None else read(value, at(path, key))


def required(holder: Mapping[str, Any], key: str, path: str, read: Callable[[Any, str], T]) -> T:
    """Return the field ``key`` of ``holder``, which must be there."""
    return read(holder.get(key), at(path, key))


def text(value: Any, path: str) -> str:
    if not isinstance(value, str):
        raise wrong(path, value, "a string")
    return value


def boolean(value: Any, path: str) -> bool:
    if not isinstance(value, bool):
        raise wrong(path, value, "a boolean")
    return value


def integer(value: Any, path: str) -> int:
    if type(value) is not int:  # True is an int to isinstance
        raise wrong(path, value, "an integer")
    return value


def positive(value: Any, path: str) -> int:
    if integer(value, path) < 1:
        raise invalid(path, f"found {value}, expected a positive integer")
    return int(value)


def number(value: Any, path: str) -> float:
    if type(value) not in (int, float):
        raise wrong(path, value, "a number")
    if not math.isfinite(value):
        raise invalid(path, f"found {value}, expected a finite number")
    return value  # type: ignore[no-any-return]  # narrowed by type() above


def mapping(value: Any, path: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise wrong(path, value, "an object")
    return value


def array(value: Any, path: str) -> list[Any]:
    if not isinstance(value, list):
        raise wrong(path, value, "an array")
    return value


def objects(value: Any, path: str) -> list[tuple[dict[str, Any], str]]:
    """Return the objects of an array, each with its own path."""
    return [
        (mapping(entry, f"{path}[{i}]"), f"{path}[{i}]")
        for i, entry in enumerate(array(value, path))
    ]


def one_of(*allowed: str) -> Callable[[Any, str], str]:
    """Return a check for one of some words."""

    def read(value: Any, path: str) -> str:
        if text(value, path) not in allowed:
            raise invalid(path, f"found {value!r}, expected one of {', '.join(allowed)}")
        return str(value)

    return read


def at(path: str, key: str) -> str:
    """Return the path of the field ``key`` of the object at ``path``."""
    return f"{path}.{key}" if path else key


def wrong(path: str, value: object, expected: str) -> Exception:
    """Return the 400 for a value of another type than ``expected``."""
    return invalid(path, f"found {_NAMES.get(type(value), 'something else')}, expected {expected}")


_NAMES = {
    type(None): "nothing",
    bool: "a boolean",
    int: "an integer",
    float: "a number",
    str: "a string",
    list: "an array",
    dict: "an object",
}
