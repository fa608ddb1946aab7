"""One request to the admin API as its handlers see it, and how they refuse it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

Document = dict[str, Any]
_LAST = 253_402_300_799.0
_FLAGS = {"true": True, "false": False}


class AdminError(Exception):
    """A request that is not granted, with what its sender is told."""

    def __init__(
        self,
        status: int,
        message: str,
        headers: Mapping[str, str] | None = None,
        *,
        param: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = headers
        self.param = param


@dataclass(frozen=True, slots=True)
class AdminCall:
    """What was asked for: the name in the path, if there is one, the query, and what was sent along."""

    name: str
    query: Mapping[str, str]
    body: Mapping[str, Any] = field(default_factory=dict)
    """The JSON object; an empty one if there was no body."""
    idempotency_key: str | None = None
    through: str = ""
    """Which way it came, for the record of changes."""

    def flag(self, name: str) -> bool:
        """Return whether the query says ``name=true``; raise the 400 if it says something else, or names anything else."""
        self.only(name)
        value = self.query.get(name, "false")
        if value not in _FLAGS:
            raise AdminError(400, f"Found {value[:64]!r}, expected true or false.", param=name)
        return _FLAGS[value]

    def only(self, *names: str) -> None:
        """Raise the 400 for a query that names anything but ``names``: who misspells a filter would get everything."""
        for name in self.query:
            if name not in names:
                known = f"expected {', '.join(names)}" if names else "expected no query"
                raise AdminError(400, f"Found the parameter {name[:64]!r}, {known}.")


def listing(rows: list[Document], *, has_more: bool = False) -> Document:
    """Return ``rows`` as every list of the API has them."""
    return {"data": rows, "has_more": has_more}


def moment(wall: float) -> str:
    """Return a time since 1970 in RFC 3339, in which the year 9999 is the last."""
    return (
        datetime.fromtimestamp(min(wall, _LAST), UTC).isoformat(timespec="milliseconds")[:-6] + "Z"
    )
