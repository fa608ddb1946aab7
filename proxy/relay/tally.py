"""What a request that has ended adds to the metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from proxy.counts import Metrics
from proxy.errors import GatewayError, Kind
from proxy.metrics import MAX_KEYS, OTHER, Phase
from proxy.relay.record import Record
from proxy.usage import Usage

_LIMITS = {Kind.BUDGET: "budget", Kind.NO_CREDIT: "credit"}
"""Refusals that only the record tells; limits by the minute say themselves which they are."""


class Tally:
    """Counts requests that have ended.

    ``models`` are the names that are told apart: all that the configuration spells out. Any other that a client calls, because
    a glob or the prefix of a family lets it through, is ``other``. ``template`` returns the route that a path belongs to.
    ``keys``: costs are told by key.
    """

    def __init__(
        self,
        metrics: Metrics,
        models: Iterable[str],
        template: Callable[[str], str],
        *,
        keys: bool,
    ) -> None:
        self._metrics = metrics
        self._models = frozenset(models)
        self._template = template
        self._keys = keys

    def count(self, record: Record) -> None:
        """Count one request. Runs once for each, so it costs a few microseconds at most (``bench.metrics``)."""
        metrics = self._metrics
        provider = record.provider or ""
        route = self._template(record.route)
        model = self._model(record)
        error = record.error
        failure = "" if error is None else error.row.error_type
        duration = record.ended - record.started
        metrics.requests.add((route, model, provider, record.status, failure))
        metrics.durations.observe((route, provider), duration)
        if record.queue:
            metrics.queues.observe((), record.queue)
        if error is not None:
            self._failed(record, error)
        elif record.attempts:
            waited = record.upload + record.queue + record.connect + record.upstream
            metrics.overheads.observe((route,), max(duration - waited, 0.0))
        if record.first_content is not None:
            self._streamed(record, record.first_content, provider, route)
        if record.usage is not None:
            self._used(record, record.usage, model, provider)

    def _model(self, record: Record) -> str:
        name = record.model
        if name is None:
            return ""
        if name in self._models:
            return name
        # A client may write a name differently than the configuration does.
        name = f"{record.provider}/{record.upstream_model}"
        return name if name in self._models else OTHER

    def _failed(self, record: Record, error: GatewayError) -> None:
        if error.kind is Kind.CLIENT_CLOSED:
            self._metrics.disconnects.add((phase(record),))
        elif error.kind in _LIMITS:
            self._metrics.limits.add((_LIMITS[error.kind],))

    def _streamed(self, record: Record, began: float, provider: str, route: str) -> None:
        metrics = self._metrics
        metrics.first_tokens.observe((provider, route), began - record.started)
        metrics.gaps.observe((provider,), record.max_gap)
        usage = record.usage
        if record.error is None and usage is not None and usage.output > 1 and not usage.estimated:
            metrics.per_token.observe((provider,), (record.ended - began) / (usage.output - 1))

    def _used(self, record: Record, usage: Usage, model: str, provider: str) -> None:
        metrics = self._metrics
        labels = (model, provider)
        metrics.input_tokens.add(labels, usage.input)
        metrics.output_tokens.add(labels, usage.output)
        if usage.cache_read:
            metrics.cache_read_tokens.add(labels, usage.cache_read)
        if usage.cache_write:
            metrics.cache_write_tokens.add((model, provider, "5m"), usage.cache_write)
        if usage.cache_write_1h:
            metrics.cache_write_tokens.add((model, provider, "1h"), usage.cache_write_1h)
        if usage.reasoning:
            metrics.reasoning_tokens.add(labels, usage.reasoning)
        if usage.estimated:
            metrics.estimates.add((provider, _reason(record)))
        if record.cost_micro or record.price_micro:
            metrics.costs.add(labels, record.cost_micro)
            metrics.charges.add(labels, record.price_micro)
            if self._keys and record.key is not None:
                self._charged(record.key, record.team or "", record.price_micro)
        elif not record.priced:
            metrics.unpriced.add((model,))

    def _charged(self, key: str, team: str, price_micro: int) -> None:
        costs = self._metrics.key_costs
        labels = (key, team)
        if labels not in costs.values and len(costs.values) >= MAX_KEYS:
            labels = (OTHER, "")
        costs.add(labels, price_micro)


def phase(record: Record) -> Phase:
    """Return how far a call has come that has not ended, or whose client has left."""
    if record.first_content is not None:
        return Phase.STREAMING
    return Phase.WAITING if record.asking else Phase.QUEUED


def _reason(record: Record) -> str:
    """Return why the tokens of a request are an estimate."""
    if record.error is None:
        return "not_told"
    return "client_left" if record.error.kind is Kind.CLIENT_CLOSED else "broken_off"
