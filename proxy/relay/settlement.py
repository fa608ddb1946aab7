"""What is done with a request that has ended: it is booked, counted, and told in the log."""

from __future__ import annotations

from collections.abc import Callable

from proxy.billing.books import Books
from proxy.dialects.pace import Paces
from proxy.log import Log
from proxy.relay.record import Record
from proxy.relay.tally import Tally

_MOST_WARNINGS = 1000


class Settlement:
    """``settle`` is called once for every request, before its last frame goes out. ``tally`` may be replaced.

    ``paces`` learns from the streams that ended. ``wall`` returns the time since 1970.
    """

    def __init__(
        self, log: Log, books: Books, tally: Tally, paces: Paces, wall: Callable[[], float]
    ) -> None:
        self.tally = tally
        self._paces = paces
        self._books = books
        self._log = log
        self._wall = wall
        self._warned: set[str] = set()

    def settle(self, record: Record) -> None:
        """Close the books on ``record``; a model without a price is warned of once."""
        # First of all: what comes after may fail, and this must not be lost.
        if record.key_hash is not None:
            self._books.settle(record.row(self._wall()))
        self.tally.count(record)
        usage = record.usage
        if record.events and record.error is None and usage is not None and not usage.estimated:
            model = f"{record.provider}/{record.upstream_model}"
            self._paces.learn(model, usage.output, record.events)
        if not record.priced:
            self._warn(f"{record.provider}/{record.upstream_model}")
        failed = record.error is not None and record.status >= 500
        self._log.write("warning" if failed else "info", "request", record.fields())

    def _warn(self, model: str) -> None:
        if model not in self._warned and len(self._warned) < _MOST_WARNINGS:
            self._warned.add(model)
            self._log.warning("no price is known: calls are recorded at no cost", model=model)
