"""The golden cases: literal inputs and outputs, and what it means for two JSON values to agree."""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

OWN = Path(__file__).with_name("goldens.jsonl")
VARIABLE = "SPLICE_GOLDENS"
"""Names other files of cases, separated like the entries of PATH; they are run instead of our own."""


@dataclass(frozen=True, slots=True)
class Case:
    direction: str
    name: str
    exact: bool
    input: dict[str, Any]
    expected: Any

    @property
    def context(self) -> dict[str, Any]:
        """What the translator must know that is not in the document itself."""
        return self.input.get("ctx") or {}


def load() -> list[Case]:
    """Return the cases of the files that the environment names, else our own."""
    named = os.environ.get(VARIABLE, "")
    paths = [Path(entry) for entry in named.split(os.pathsep) if entry] or [OWN]
    return [
        Case(
            raw["direction"],
            raw["name"],
            raw.get("match", "exact") == "exact",
            raw["input"],
            raw["expected"],
        )
        for path in paths
        for line in path.read_text("utf-8").split("\n")  # not splitlines: a text may hold U+2028
        if line.strip()
        for raw in [json.loads(line)]
    ]


def identifiers(cases: list[Case]) -> list[str]:
    """Return a different test id for each case: its name, behind its direction where the name alone is not one."""
    names = Counter(case.name for case in cases)
    told = [
        case.name if names[case.name] == 1 else f"{case.direction}: {case.name}" for case in cases
    ]
    repeated: Counter[str] = Counter()
    out = []
    for one in told:
        repeated[one] += 1
        out.append(one if repeated[one] == 1 else f"{one} #{repeated[one]}")
    return out


def agree(case: Case, actual: Any, expected: Any) -> None:
    """Assert that ``actual`` is what the case wants: all of it, or only what ``expected`` names."""
    found = difference(actual, expected, exact=case.exact)
    assert found is None, (
        f"{found}\n--- actual\n{_pretty(actual)}\n--- expected\n{_pretty(expected)}"
    )


def difference(actual: Any, expected: Any, *, exact: bool, path: str = "$") -> str | None:
    """Return where two JSON values differ, or None. Key order is free; true is not 1; without ``exact`` an object may
    hold more than is expected of it."""
    if isinstance(expected, dict) and isinstance(actual, dict):
        for key, value in expected.items():
            if key not in actual:
                return f"{path}.{key} is missing"
            found = difference(actual[key], value, exact=exact, path=f"{path}.{key}")
            if found is not None:
                return found
        more = sorted(actual.keys() - expected.keys())
        return f"{path} has {', '.join(more)} too" if exact and more else None
    if isinstance(expected, list) and isinstance(actual, list):
        for index, (one, other) in enumerate(zip(actual, expected, strict=False)):
            found = difference(one, other, exact=exact, path=f"{path}[{index}]")
            if found is not None:
                return found
        return (
            None
            if len(actual) == len(expected)
            else f"{path} has {len(actual)} entries, expected {len(expected)}"
        )
    if isinstance(actual, bool) != isinstance(expected, bool) or actual != expected:
        return f"{path} is {actual!r}, expected {expected!r}"
    return None


def _pretty(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1, default=str)
