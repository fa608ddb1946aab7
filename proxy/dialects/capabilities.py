"""What each model family accepts, read from ``capabilities.json``: the first row that matches a model's name holds.

Providers refuse what a model cannot do (a temperature on a Claude 5, a forced tool on an Opus 5.5), so a translated request
asks for nothing that its row does not list. A model released after the table was written falls to the family's last row,
which describes the newest behaviour.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any, Literal

import orjson

from proxy.dialects.conversation import EFFORTS, Effort, Reasoning

_ALL_CLAUDE_EFFORTS: tuple[Effort, ...] = ("low", "medium", "high", "xhigh", "max")

BUDGETS: dict[Effort, int] = {
    "minimal": 1024,
    "low": 2048,
    "medium": 10_000,
    "high": 16_384,
    "xhigh": 32_768,
    "max": 32_768,
}
"""Thinking tokens for an effort on Claude models that take a budget; the API's own minimum is 1,024."""

GEMINI_BUDGETS: dict[Effort, int] = {
    "none": 0,
    "minimal": 128,
    "low": 2048,
    "medium": 8192,
    "high": 24_576,
    "xhigh": 24_576,
    "max": 24_576,
}
"""Thinking tokens for an effort on Gemini 2.5, before the model's own bounds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claude:
    """What a Claude model accepts.

    ``off`` says how thinking is turned off: ``low`` is the lowest effort of a model that always
    thinks, ``omit`` to say nothing, else the ``thinking.type`` to send. ``default_output`` is
    ``max_tokens`` where a client sets none.
    """

    max_output: int
    default_output: int
    sampling: bool
    thinking: tuple[str, ...]
    off: Literal["low", "between_tools", "disabled", "omit"]
    forced_tool: bool
    mid_system: bool
    prefill: bool
    native_schema: bool
    efforts: tuple[Effort, ...]

    @property
    def adaptive(self) -> bool:
        """The model decides itself how long it thinks."""
        return "adaptive" in self.thinking

    @property
    def thinks_by_default(self) -> bool:
        """The model thinks where nothing is said, so there is something to turn off."""
        return self.off != "omit"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gemini:
    """What a Gemini model accepts.

    ``generation`` 3 and later take call ids, thought signatures, and tools together with a schema.
    """

    thinking: Literal["level", "budget", "none"]
    levels: tuple[Effort, ...]
    min_budget: int
    lowest_budget: int
    max_budget: int
    generation: int
    sampling: bool
    system: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAI:
    """What an OpenAI model accepts.

    ``efforts`` is empty for a model that does not reason; ``default`` is what it does when nothing is said.

    ``tools_need_responses``: while reasoning it takes function tools on the Responses endpoint only.
    """

    efforts: tuple[Effort, ...]
    default: Effort
    responses_only: bool
    tools_need_responses: bool


@lru_cache(maxsize=1024)
def claude(model: str) -> Claude:
    """Return the row of an Anthropic model."""
    name = model.rpartition("/")[2].removeprefix("claude-")
    row = next(row for row in _TABLE["claude"] if name.startswith(row["prefix"]))
    efforts = row["efforts"]
    return Claude(
        max_output=row["max_output"],
        default_output=row.get("default_output", row["max_output"]),
        sampling=row.get("sampling", False),
        thinking=tuple(row["thinking"]),
        off=row["off"],
        forced_tool=row.get("forced_tool", True),
        mid_system=row.get("mid_system", False),
        prefill=row.get("prefill", False),
        native_schema=row.get("native_schema", False),
        efforts=_ALL_CLAUDE_EFFORTS if efforts == "low..max" else tuple(efforts),
    )


@lru_cache(maxsize=1024)
def gemini(model: str) -> Gemini:
    """Return the row of a Gemini model, whose name may start with ``models/``."""
    row = _first("gemini", model)
    return Gemini(
        thinking=row["thinking"],
        levels=tuple(row.get("levels", ())),
        min_budget=row.get("min_budget", 0),
        lowest_budget=row.get("lowest_budget", 0),
        max_budget=row.get("max_budget", 0),
        generation=row.get("generation", 3),
        sampling=row.get("sampling", True),
        system=row.get("system", True),
    )


@lru_cache(maxsize=1024)
def openai(model: str) -> OpenAI:
    """Return the row of an OpenAI model."""
    row = _first("openai", model)
    return OpenAI(
        efforts=tuple(row["efforts"]),
        default=row["default"],
        responses_only=row.get("responses_only", False),
        tools_need_responses=row.get("tools_need_responses", False)
        or row.get("responses_only", False),
    )


def most_output(model: str) -> int | None:
    """Return how many tokens a model says at most in one answer, by the name that its provider knows; None: no table tells."""
    name = model.rpartition("/")[2]
    return claude(model).max_output if name.startswith("claude-") else None


def snap(effort: Effort, accepted: Sequence[Effort]) -> Effort:
    """Return the lowest accepted effort that is not below ``effort``, else the highest accepted."""
    wanted = EFFORTS.index(effort)
    ordered = sorted(accepted, key=EFFORTS.index)
    return next((one for one in ordered if EFFORTS.index(one) >= wanted), ordered[-1])


def effort_of_budget(budget: int) -> Effort:
    """Return the effort that a budget of thinking tokens stands for."""
    for effort, most in (("minimal", 1024), ("low", 2048), ("medium", 10_000), ("high", 16_384)):
        if budget <= most:
            return effort  # type: ignore[return-value]  # mypy widens the literals of a tuple of tuples
    return "xhigh"


def wanted_effort(reasoning: Reasoning) -> Effort | None:
    """Return the effort that a request asks for in any of its three ways, or None for the model's default."""
    if reasoning.off:
        return "none"
    if reasoning.effort is not None:
        return reasoning.effort
    return None if reasoning.budget is None else effort_of_budget(reasoning.budget)


def route_to_responses(model: str, effort: Effort | None, *, function_tools: bool) -> bool:
    """Tell whether a call to official OpenAI must use the Responses endpoint.

    From GPT-5.4 on, chat completions refuse function tools while the model reasons (400 "Function tools with
    reasoning_effort are not supported … use /v1/responses"), and from 5.5 on it reasons by default.
    """
    row = openai(model)
    if row.responses_only:
        return True
    return row.tools_need_responses and function_tools and (effort or row.default) != "none"


def _first(family: str, model: str) -> dict[str, Any]:
    name = model.rpartition("/")[2]
    return next(row for row in _TABLE[family] if re.match(row["pattern"], name))


_TABLE: dict[str, list[dict[str, Any]]] = orjson.loads(
    resources.files("proxy.dialects").joinpath("capabilities.json").read_bytes()
)
