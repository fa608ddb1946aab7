"""How much a Claude model shall think, in the words of the generation that it belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from proxy.dialects.capabilities import BUDGETS, Claude, effort_of_budget, snap
from proxy.dialects.conversation import (
    Conversation,
    Effort,
    Reasoning,
    Redacted,
    Result,
    Thinking,
    Turn,
)
from proxy.dialects.messages.write_messages import own_thinking

MIN_BUDGET = 1024
"""The API takes no smaller budget, and each must be below ``max_tokens``."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The ``thinking`` and ``output_config.effort`` to send; None where nothing is said."""

    thinking: dict[str, Any] | None = None
    effort: Effort | None = None

    @property
    def by_budget(self) -> bool:
        """Thinking of the older kind, with which the API refuses forced tools and prefilled answers."""
        return self.thinking is not None and self.thinking["type"] == "enabled"

    @property
    def active(self) -> bool:
        """The model will think, as far as the request has a say."""
        return self.thinking is not None and self.thinking["type"] in ("adaptive", "enabled")


def write_thinking(conversation: Conversation, row: Claude, max_tokens: int) -> Asked:
    """Return what to send for the conversation's wish, as near to it as the model can come."""
    reasoning = conversation.reasoning
    if reasoning is None:
        return Asked()
    conversation.carry("reasoning")
    effort = reasoning.effort
    if effort is None and reasoning.budget is not None:
        effort = effort_of_budget(reasoning.budget)
    kind = reasoning.kind if reasoning.kind in row.thinking else None
    if reasoning.off or effort == "none":
        return _off(row) if kind is None else Asked({"type": kind})
    if effort is None and not reasoning.adaptive:
        # Nobody asked it to think. If it does so anyway its thoughts can be shown.
        shows = row.thinks_by_default and reasoning.want_text == "yes"
        return Asked(_adaptive(reasoning) if shows else None)
    if row.adaptive and kind != "enabled":
        return Asked(_adaptive(reasoning), None if effort is None else snap(effort, row.efforts))
    budget = min(_budget(reasoning, effort), max_tokens - 1)
    if (
        "enabled" not in row.thinking
        or budget < MIN_BUDGET
        or _call_without_thinking(conversation.turns)
    ):
        conversation.weaken("reasoning")
        return Asked()
    display = {} if reasoning.display is None else {"display": reasoning.display}
    return Asked({"type": "enabled", "budget_tokens": budget, **display})


def _adaptive(reasoning: Reasoning) -> dict[str, Any]:
    # Unless it is told the API shows no thoughts of newer models.
    shown = "omitted" if reasoning.want_text == "no" else "summarized"
    return {"type": "adaptive", "display": reasoning.display or shown}


def _off(row: Claude) -> Asked:
    match row.off:
        case "omit":
            return Asked()
        case "low":
            # The model cannot but think: little, and unseen.
            return Asked({"type": "adaptive", "display": "omitted"}, snap("low", row.efforts))
        case _:
            return Asked({"type": row.off})


def _budget(reasoning: Reasoning, effort: Effort | None) -> int:
    if reasoning.budget is not None:
        return max(reasoning.budget, MIN_BUDGET)
    return BUDGETS[effort or "medium"]


def _call_without_thinking(turns: list[Turn]) -> bool:
    """Tell whether the answer continues a tool call whose thinking did not come back.

    With a thinking budget the API refuses that ("Expected thinking or redacted_thinking, but found tool_use"), and a client
    that does not echo thinking would fail at every second step.
    """
    spoken = [turn for turn in turns if turn.role != "system"]
    if len(spoken) < 2 or not any(isinstance(part, Result) for part in spoken[-1].parts):
        return False
    return not any(
        own_thinking(part) for part in spoken[-2].parts if isinstance(part, Thinking | Redacted)
    )
