"""What a call may cost before anybody knows what it does cost: that much is held while it runs.

Rules that hold here:

1. The prompt is estimated, and priced as if it were written to a cache where the request asks for that. The output is what the
   request allows, or what the model can say at most if that is less.
2. Of all targets that may be asked the dearest counts, whoever answers in the end.
3. A stream without a limit of its own holds ``STEP`` tokens of output, and as much again whenever three quarters are used. A
   whole answer without one is given a limit: what the wallets cover, and ``UNASKED`` at most. Where the body may not be changed, it
   holds what the model can say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from proxy.billing.credit import Short, Wallet
from proxy.billing.tariff import Quote
from proxy.billing.wallets import Drawn, Wallets, drawn
from proxy.dialects.asked import Asked
from proxy.dialects.capabilities import most_output
from proxy.usage import Usage

STEP = 4_096
UNASKED = 16_384
LEAST = 16
"""Tokens: OpenAI's Responses take no lower limit, and less is no answer."""


@dataclass(frozen=True, slots=True)
class Priced:
    """A target that may be asked: what the key pays for it, and the most tokens that it says at once (None: unknown)."""

    quote: Quote
    most: int | None

    @classmethod
    def of(cls, quote: Quote, model: str) -> Priced:
        """Return the target of an upstream's ``model``."""
        return cls(quote, most_output(model))


class Reserve:
    """What is held for one call. ``settle`` belongs into a ``finally``; the second time it does nothing."""

    __slots__ = (
        "_choices", "_grow_at", "_hold", "_output", "_prompts", "_targets", "_wall", "_wallets", "grows",
    )  # fmt: skip

    def __init__(
        self,
        wallets: Wallets,
        bound: Sequence[Wallet],
        asked: Asked,
        targets: Sequence[Priced],
        wall: float,
    ) -> None:
        """Hold what ``asked`` may cost in ``bound``, and limit its output where it must be; raise the 402 or 429 if that fails."""
        self._wallets = wallets
        self._targets = targets
        self._prompts = _prompts(asked)
        self._choices = asked.choices
        self._wall = wall
        wanted = asked.output_limit
        if asked.embeds:
            wanted = 0
        self.grows = wanted is None and asked.stream
        """It is held for piece by piece, as the answer comes."""
        limits = wanted is None and not asked.stream and not asked.sealed
        if wanted is None:
            wanted = STEP if asked.stream else UNASKED
        known = [target.most for target in targets if target.most is not None]
        if limits:
            wanted = min([wanted, *known])
        elif asked.sealed and asked.output_limit is None and not asked.stream and not asked.embeds:
            # It says what it likes, up to what the model can.
            wanted = max([wanted, *known])
        found = wallets.hold(bound, self.amount(wanted), wall)
        while limits and isinstance(found, Short) and found.left > 0 and wanted > LEAST:
            # Again where the team has even less than the key.
            wanted = self._covered(found.left, wanted)
            found = wallets.hold(bound, self.amount(wanted), wall)
        if isinstance(found, Short):
            raise found.error()
        if limits:
            asked.limit_output(wanted)
        self._hold = found
        self._output = wanted
        self._grow_at = self._three_quarters()

    def amount(self, output: int) -> int:
        """Return what the call costs at most, in micro-USD, if each answer has ``output`` tokens."""
        dearest = 0
        for target in self._targets:
            said = output if target.most is None else min(output, target.most)
            for prompt in self._prompts:
                usage = prompt._replace(output=said * self._choices)
                dearest = max(dearest, target.quote.price_micro(self._wall, usage))
        return dearest

    def _covered(self, left: int, most: int) -> int:
        """Return the tokens of output, from ``LEAST`` to ``most``, that ``left`` micro-USD cover beside the prompt."""
        low, high = LEAST, most
        while low < high:
            middle = (low + high + 1) // 2
            if self.amount(middle) <= left:
                low = middle
            else:
                high = middle - 1
        return low

    def _three_quarters(self) -> int:
        return self._output * self._choices * 3 // 4

    # While it runs.

    def outgrown(self, seen: int, wall: float) -> Short | None:
        """Hold more if three quarters of the tokens are used now that ``seen`` have come; return what does not cover it."""
        while seen >= self._grow_at:
            more = self.amount(self._output + STEP) - self._hold.amount
            short = self._hold.grow(more, wall) if more > 0 else None
            if short is not None:
                return short
            self._output += STEP
            self._grow_at = self._three_quarters()
        return None

    # The end.

    def bounded(self, usage: Usage) -> Usage:
        """Return an estimate with no more output than was held for."""
        return usage._replace(output=min(usage.output, self._output * self._choices))

    @property
    def held(self) -> int:
        """How much is held, in micro-USD."""
        return self._hold.amount

    def draws(self, price: int, began: float) -> Drawn:
        """Return where ``price`` would come from if the call were settled now."""
        return drawn(self._hold, [one.draws(price, began) for one in self._hold.wallets])

    def settle(self, price: int, began: float) -> Drawn:
        """Let go of what is held and charge ``price`` for the call that began at ``began``; return where that came from."""
        return self._wallets.settle(self._hold, price, began)


def _prompts(asked: Asked) -> tuple[Usage, ...]:
    """Return the prompt as it may be billed: plain, and written to a cache if the request asks for that."""
    tokens = asked.estimate_input()
    plain = Usage(input=tokens)
    if b'"cache_control"' not in asked.body:
        return (plain,)
    if b'"1h"' in asked.body:
        return plain, Usage(cache_write_1h=tokens)
    return plain, Usage(cache_write=tokens)
