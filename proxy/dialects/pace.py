"""How many tokens an event of a stream holds, by upstream model: what streams that ended have told, for those that did not.

Some providers send a token an event and others a sentence, and the same model is cut differently by each. So an estimate of
what came goes by the events as well as by the text, and the lower one counts. Of a model that nothing is known of yet the text
alone counts: a token an event, which holds for OpenAI, would be a third or a tenth of the truth for half of the recorded streams,
and whoever always left early would pay no more than that.
"""

from __future__ import annotations

MOST = 1_000
"""Models that are kept apart; the one that was not heard of for longest makes room."""
ENOUGH = 500
"""Events, of three streams or so: less says more about one answer than about the model."""
_MEMORY = 20_000
"""Events after which what was told before counts half: a provider may begin to send more at once."""


class Paces:
    """A running ratio for each model: tokens over events, of streams whose provider told the tokens."""

    def __init__(self) -> None:
        self._sums: dict[str, tuple[float, float]] = {}

    def learn(self, model: str, tokens: int, events: int) -> None:
        """Note a stream that ended in order. One without events or tokens tells nothing."""
        if not events or not tokens:
            return
        told, seen = self._sums.pop(model, (0.0, 0.0))
        told, seen = told + tokens, seen + events
        if seen > _MEMORY:
            told, seen = told / 2, seen / 2
        # Put back at the end: the first is the one that was not heard of for longest.
        self._sums[model] = told, seen
        if len(self._sums) > MOST:
            del self._sums[next(iter(self._sums))]

    def of(self, model: str) -> float | None:
        """Return the tokens of an event of ``model``; None while too little is known."""
        told, seen = self._sums.get(model, (0.0, 0.0))
        return told / seen if seen >= ENOUGH else None
