"""What one call costs: held before it runs, worked out as it does, charged and booked when it has ended."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from proxy.billing.credit import Short, Wallet
from proxy.billing.tariff import Quote, Quotes
from proxy.config.model import Target
from proxy.dialects.asked import Asked
from proxy.relay.means import Means
from proxy.relay.record import Record
from proxy.relay.reserve import Priced, Reserve
from proxy.relay.search import Search
from proxy.routing.seat import Seat


class Bill:
    """``hold``, then ``find_prices`` for each account that is asked, then ``close``; ``abandon`` belongs into a ``finally``."""

    __slots__ = ("_asked", "_means", "_quote", "_quotes", "_reserve", "_wallets")

    def __init__(
        self, means: Means, asked: Asked, quotes: Quotes | None, wallets: Sequence[Wallet]
    ) -> None:
        """``quotes`` is what the key pays; None: the call costs nothing. ``wallets`` must cover what it may cost."""
        self._means = means
        self._asked = asked
        self._quotes = quotes
        self._wallets = wallets
        self._quote: Quote | None = None
        self._reserve: Reserve | None = None

    def hold(self, search: Search) -> None:
        """Hold what the call may cost at the dearest target; raise the 402 or 429 if that is not there.

        Raises as well if all targets are refused because nobody knows what they cost.
        """
        quotes, means = self._quotes, self._means
        if quotes is None:
            return
        search.drop_unpriced()
        if not self._wallets:
            return
        priced = []
        for target in search.targets:
            seats = means.pool.serving(target)
            if seats:
                # The key pays the same whoever answers.
                quote = quotes.of(seats[0].account, target.model, search.name_of(target))
                priced.append(Priced.of(quote, target.model))
        self._reserve = Reserve(means.wallets, self._wallets, self._asked, priced, means.clock())

    def find_prices(self, seat: Seat, target: Target, name: str) -> None:
        """Go by the prices of ``target``, found under the public ``name``, at the account that is asked now.

        And by how many tokens its events hold, for an answer of which no usage is told.
        """
        asked = self._asked
        asked.pace = self._means.paces.of(f"{target.provider}/{target.model}")
        if self._quotes is None:
            return
        self._quote = quote = self._quotes.of(seat.account, target.model, name)
        if asked.stream and "stream_options" in asked.document:
            # The usage chunk may be asked for, and goes out before the books are closed.
            asked.charge = partial(quote.price_micro, asked.now)

    @property
    def costs(self) -> bool:
        """The call is of a kind that costs something, and an account was asked."""
        return self._quote is not None

    @property
    def grows(self) -> bool:
        """More must be held as the answer comes: ``outgrown`` is to be asked."""
        return self._reserve is not None and self._reserve.grows

    def outgrown(self, seen: int) -> Short | None:
        """Hold more if most of it is used now that ``seen`` tokens have come; return what does not cover it."""
        reserve = self._reserve
        return None if reserve is None else reserve.outgrown(seen, self._means.clock())

    def price(self, record: Record) -> None:
        """Note what the call costs as ``record`` has it. An estimate costs no more than was held."""
        quote, usage, reserve = self._quote, record.usage, self._reserve
        if quote is None or usage is None:
            return
        if reserve is not None and usage.estimated:
            usage = record.usage = reserve.bounded(usage)
        record.cost_micro, record.price_micro = quote.charge(usage, self._asked.now)
        if reserve is not None and usage.estimated:
            record.price_micro = min(record.price_micro, reserve.held)
        record.priced = quote.priced

    def note(self, record: Record) -> None:
        """Note what the call, which runs, would cost if it ended as ``record`` has it."""
        self.price(record)
        if self._reserve is not None:
            drawn = self._reserve.draws(record.price_micro, self._began(record))
            record.key_drawn_micro, record.team_drawn_micro = drawn

    def close(self, record: Record) -> None:
        """Let go of what is held, charge what ``record`` says, and book it: nothing may come between."""
        if self._reserve is not None:
            drawn = self._reserve.settle(record.price_micro, self._began(record))
            record.key_drawn_micro, record.team_drawn_micro = drawn
        self._means.settle(record)

    def abandon(self) -> None:
        """Let go of what is held, if nobody has closed the books."""
        if self._reserve is not None:
            self._reserve.settle(0, self._means.clock())

    def _began(self, record: Record) -> float:
        """Return when the call began, in seconds since 1970, as the ledger will have it."""
        return self._means.clock() - (record.ended - record.started)
