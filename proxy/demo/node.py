"""One object of a request body, which knows its own path for the error that names it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet

import orjson

from proxy.demo.refusal import MISSING_FIELD, UNKNOWN_FIELD, Refused


class Node:
    """Typed reads of a JSON object: null counts as absent, and a wrong type is refused by its path."""

    __slots__ = ("path", "value")

    def __init__(self, value: Mapping[str, object], path: str = "") -> None:
        self.value = value
        self.path = path

    def at(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name

    def get(self, name: str) -> object:
        return self.value.get(name)

    def text(self, name: str) -> str | None:
        found = self.get(name)
        if found is None or isinstance(found, str):
            return found
        raise self.wrong(name, "a string")

    def need(self, name: str) -> str:
        found = self.text(name)
        if found is None:
            raise self.missing(name)
        return found

    def number(self, name: str, low: float, high: float) -> float | None:
        found = self.get(name)
        if found is None:
            return None
        if isinstance(found, bool) or not isinstance(found, int | float):
            raise self.wrong(name, "a number")
        if not low <= found <= high:
            raise self.invalid(name, f"expected a value from {low:g} to {high:g}, but got {found}")
        return found

    def whole(self, name: str, low: int, high: int = 1_000_000) -> int | None:
        found = self.number(name, low, high)
        if found is not None and not isinstance(found, int):
            raise self.wrong(name, "an integer")
        return found

    def flag(self, name: str) -> bool:
        found = self.get(name)
        if found is None or isinstance(found, bool):
            return bool(found)
        raise self.wrong(name, "a boolean")

    def node(self, name: str) -> Node | None:
        found = self.get(name)
        if found is None:
            return None
        if isinstance(found, Mapping):
            return type(self)(found, self.at(name))
        raise self.wrong(name, "an object")

    def need_node(self, name: str) -> Node:
        found = self.node(name)
        if found is None:
            raise self.missing(name)
        return found

    def nodes(self, name: str) -> list[Node]:
        """The objects of a list; an absent list is an empty one."""
        return list(self._nodes(name))

    def _nodes(self, name: str) -> Iterator[Node]:
        found = self.get(name)
        if found is None:
            return
        if not isinstance(found, list):
            raise self.wrong(name, "an array")
        for index, item in enumerate(found):
            path = f"{self.at(name)}[{index}]"
            if not isinstance(item, Mapping):
                raise Refused(400, f"Invalid type for '{path}': expected an object.", path)
            yield type(self)(item, path)

    def texts(self, name: str) -> tuple[str, ...]:
        found = self.get(name)
        if found is None:
            return ()
        if isinstance(found, list) and all(isinstance(item, str) for item in found):
            return tuple(found)
        raise self.wrong(name, "an array of strings")

    def word(self, name: str, allowed: AbstractSet[str]) -> str | None:
        """A string out of a closed set."""
        found = self.text(name)
        if found is not None and found not in allowed:
            raise self.invalid(name, f"'{found}' is not one of {', '.join(sorted(allowed))}")
        return found

    def only(self, names: AbstractSet[str]) -> None:
        """Refuse a field that the provider does not know, as the real ones do."""
        for name in self.value:
            if name not in names:
                path = self.at(name)
                raise Refused(400, f"Unknown parameter: '{path}'.", path, UNKNOWN_FIELD)

    def missing(self, name: str) -> Refused:
        path = self.at(name)
        return Refused(400, f"Missing required parameter: '{path}'.", path, MISSING_FIELD)

    def wrong(self, name: str, expected: str) -> Refused:
        path = self.at(name)
        return Refused(
            400, f"Invalid type for '{path}': expected {expected}.", path, "invalid_type"
        )

    def invalid(self, name: str, why: str) -> Refused:
        path = self.at(name)
        return Refused(400, f"Invalid value for '{path}': {why}.", path, "invalid_value")


def read_object(body: bytes) -> Mapping[str, object]:
    """The body as a JSON object; anything else is a 400."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as exc:
        raise Refused(400, f"We could not parse the JSON body of your request: {exc}.") from exc
    if not isinstance(value, dict):
        raise Refused(400, "The body of your request must be a JSON object.")
    return value
