"""What the user's own words tell the demo provider to do, such as ``fail:429`` or ``slow:5s``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Accident = Literal["cut", "error", "html"]

# What a provider may really answer; 529 is Anthropic's word for overloaded.
_STATUSES = frozenset({400, 401, 403, 404, 429, 500, 503, 529})
# Ten minutes outlast every timeout one may want to see.
_MAX_SECONDS = 600.0
_MAX_WORDS = 20_000

_ORDER = re.compile(r"(?<![\w:])(fail|slow|stall|long):(\w+(?:\.\d+s)?)")
_SECONDS = re.compile(r"(\d+(?:\.\d+)?)(ms|s)")


@dataclass(frozen=True, slots=True)
class Orders:
    """Zero and None mean: as usual."""

    status: int | None = None
    accident: Accident | None = None
    slow_seconds: float = 0.0
    stall_seconds: float = 0.0
    words: int = 0


def read_orders(said: str) -> Orders:
    """The orders in a text; one that does not exist is just text."""
    found = dict(_ORDER.findall(said))
    fail = found.get("fail", "")
    status = int(fail) if fail.isdecimal() and int(fail) in _STATUSES else None
    words = found.get("long", "")
    return Orders(
        status=status,
        accident=_accident(fail),
        slow_seconds=_seconds(found.get("slow", "")),
        stall_seconds=_seconds(found.get("stall", "")),
        words=min(int(words), _MAX_WORDS) if words.isdecimal() else 0,
    )


def _accident(fail: str) -> Accident | None:
    match fail:
        case "cut" | "error" | "html":
            return fail
        case _:
            return None


def _seconds(text: str) -> float:
    match = _SECONDS.fullmatch(text)
    if match is None:
        return 0.0
    return min(float(match[1]) / (1000 if match[2] == "ms" else 1), _MAX_SECONDS)
