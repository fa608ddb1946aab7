"""What is done with a request that has ended: it is counted, and told in the log."""

from __future__ import annotations

from proxy.log import Log
from proxy.relay.record import Record
from proxy.relay.tally import Tally

_MOST_WARNINGS = 1000


class Settlement:
    """``settle`` is called once for every request, before its last frame goes out. ``tally`` may be replaced."""

    def __init__(self, log: Log, tally: Tally) -> None:
        self.tally = tally
        self._log = log
        self._warned: set[str] = set()

    def settle(self, record: Record) -> None:
        """Close the books on ``record``; a model without a price is warned of once."""
        self.tally.count(record)
        if not record.priced:
            self._warn(f"{record.provider}/{record.upstream_model}")
        failed = record.error is not None and record.status >= 500
        self._log.write("warning" if failed else "info", "request", record.fields())

    def _warn(self, model: str) -> None:
        if model not in self._warned and len(self._warned) < _MOST_WARNINGS:
            self._warned.add(model)
            self._log.warning("no price is known: calls are recorded at no cost", model=model)
