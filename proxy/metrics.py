"""Every metric, declared once.

A label's value comes from a closed set: the configuration, our own tables, or the routes. Nothing that a client sends is ever one, so
nobody can make series.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import Literal, TypeVar

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
)
from prometheus_client.core import Metric as Family

PREFIX = "splice_"
OTHER = "other"
"""The label of whatever is in no closed set."""
MAX_MODELS = 1_000
"""Model names that are told apart; the configuration's first ones."""
MAX_KEYS = 1_000
_PIECE = 32
"""Series that are rendered at once: a third of a millisecond."""

Labels = tuple[str | int, ...]
_Sample = TypeVar("_Sample")


class Phase(StrEnum):
    """Where a call is that runs."""

    QUEUED = "queued"
    """Nobody has a place for it yet."""
    CONNECTING = "connecting"
    WAITING = "waiting"
    """An account was asked, and no content has come."""
    STREAMING = "streaming"


_DURATIONS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0)
_FIRST_TOKEN = _DURATIONS[: _DURATIONS.index(80.0) + 1]
_PER_TOKEN = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.5)
_LAG = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)

DISCONNECTS = (Phase.QUEUED, Phase.WAITING, Phase.STREAMING)
FAILOVERS = ("auth", "burst", "model", "network", "overload", "quota", "slow")
"""Why another account was tried: what its failure means for the account, or ``model``: it does not have that model."""
LIMITS = ("budget", "concurrency", "credit", "requests", "tokens")


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric; ``name`` is without the prefix."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    help: str
    buckets: tuple[float, ...] = ()

    def families(self, samples: Iterable[tuple[Labels, float]]) -> Iterator[Family]:
        """Yield the metric, no histogram, with these samples: in pieces of the same name, if there are many."""
        make = CounterMetricFamily if self.kind == "counter" else GaugeMetricFamily
        for piece in pieces(samples, _PIECE):
            family = make(PREFIX + self.name, self.help, labels=self.labels)
            for labels, value in piece:
                family.add_metric([str(label) for label in labels], value)
            yield family


METRICS = {
    metric.name: metric
    for metric in (
        # Requests.
        Metric(
            "requests_total",
            "counter",
            ("route", "model", "provider", "code", "error_type"),
            "Model calls that have ended, and requests that were refused.",
        ),
        Metric(
            "request_duration_seconds",
            "histogram",
            ("route", "provider"),
            "From the head of a request to the end of its answer.",
            _DURATIONS,
        ),
        Metric(
            "overhead_duration_seconds",
            "histogram",
            ("route",),
            "Of an answered call, the time in which it waited neither for its client, nor in the queue, nor for an upstream.",
            _DURATIONS,
        ),
        Metric(
            "time_to_first_token_seconds",
            "histogram",
            ("provider", "route"),
            "From the head of a request to the first content of its stream.",
            _FIRST_TOKEN,
        ),
        Metric(
            "time_per_output_token_seconds",
            "histogram",
            ("provider",),
            "Of a stream that ended well, the mean time from one output token to the next.",
            _PER_TOKEN,
        ),
        Metric(
            "stream_max_gap_seconds",
            "histogram",
            ("provider",),
            "The longest silence of an upstream within a stream, up to 0.25 s too short.",
            _DURATIONS,
        ),
        Metric(
            "requests_in_flight",
            "gauge",
            ("provider", "phase"),
            "Model calls that run: queued, connecting, waiting for content, or streaming.",
        ),
        Metric("streams_in_flight", "gauge", (), "Streamed calls that run."),
        Metric(
            "client_disconnects_total",
            "counter",
            ("phase",),
            "Calls whose client left before their end.",
        ),
        Metric(
            "limit_rejections_total",
            "counter",
            ("kind",),
            "Calls that a limit of their key refused.",
        ),
        Metric(
            "queue_duration_seconds",
            "histogram",
            (),
            "How long calls waited for an account, of those that had to.",
            _DURATIONS,
        ),
        Metric("requests_queued", "gauge", (), "Calls that wait for an account."),
        # Tokens and money.
        Metric(
            "input_tokens_total",
            "counter",
            ("model", "provider"),
            "Prompt tokens without cache reads and writes.",
        ),
        Metric(
            "output_tokens_total",
            "counter",
            ("model", "provider"),
            "Tokens of answers, reasoning included.",
        ),
        Metric(
            "cache_read_tokens_total",
            "counter",
            ("model", "provider"),
            "Prompt tokens that came from a provider's cache.",
        ),
        Metric(
            "cache_write_tokens_total",
            "counter",
            ("model", "provider", "ttl"),
            "Prompt tokens written to a provider's cache, by how long it keeps them.",
        ),
        Metric(
            "reasoning_tokens_total",
            "counter",
            ("model", "provider"),
            "The share of output tokens that was reasoning.",
        ),
        Metric(
            "upstream_cost_usd_total",
            "counter",
            ("model", "provider"),
            "What we pay for calls.",
        ),
        Metric("charged_usd_total", "counter", ("model", "provider"), "What keys pay for calls."),
        Metric(
            "requests_estimated_total",
            "counter",
            ("provider", "reason"),
            "Calls whose tokens are an estimate, because nobody told them.",
        ),
        Metric(
            "requests_unpriced_total",
            "counter",
            ("model",),
            "Calls that used tokens and cost nothing.",
        ),
        Metric(
            "key_cost_usd_total",
            "counter",
            ("key", "team"),
            "What each key pays, with [metrics] keys.",
        ),
        Metric("credit_holds", "gauge", (), "Calls that run and for which money is held."),
        Metric(
            "credit_holds_usd",
            "gauge",
            (),
            "What is held for them; what is held of a key and of its team counts once.",
        ),
        Metric(
            "key_budget_remaining_usd",
            "gauge",
            ("key", "period"),
            "What is left of each key's budget, with [metrics] keys; below 0 if calls cost more than was held.",
        ),
        # Accounts.
        Metric(
            "upstream_attempts_total",
            "counter",
            ("provider", "account", "outcome"),
            "Tries of accounts: success, cancelled, or the error_type that they ended in.",
        ),
        Metric(
            "failovers_total",
            "counter",
            ("cause",),
            "Tries of another account after one had failed.",
        ),
        Metric("accounts", "gauge", ("provider",), "Configured accounts."),
        Metric(
            "accounts_available",
            "gauge",
            ("provider",),
            "Accounts that are healthy, not full and not limited.",
        ),
        Metric(
            "account_state",
            "gauge",
            ("account", "state"),
            "1 for the state that an account is in, 0 for the others.",
        ),
        Metric(
            "account_requests_in_flight", "gauge", ("account",), "Calls that run on an account."
        ),
        Metric(
            "account_cooldown_until_timestamp_seconds",
            "gauge",
            ("account",),
            "When the last cooldown of an account or of a model on it ends; 0 without one.",
        ),
        Metric(
            "cooldowns_total",
            "counter",
            ("account", "cause"),
            "How often an account, or a model on it, was benched, failed canaries included.",
        ),
        Metric(
            "account_remaining_requests",
            "gauge",
            ("account",),
            "What the provider last said is left of its limit by requests.",
        ),
        Metric(
            "account_remaining_tokens",
            "gauge",
            ("account",),
            "What the provider last said is left of its limit by tokens.",
        ),
        Metric(
            "upstream_connections",
            "gauge",
            ("provider", "state"),
            "Open connections to a provider: active or idle.",
        ),
        # The books.
        Metric(
            "journal_sync_duration_seconds",
            "histogram",
            (),
            "How long a sync of the journal to the disk takes.",
            _DURATIONS,
        ),
        Metric(
            "journal_errors_total",
            "counter",
            (),
            "How often the journal could not be written, synced, or begun again, which is tried each second.",
        ),
        Metric(
            "ledger_pending_records",
            "gauge",
            (),
            "Requests that have ended and that the ledger does not have yet.",
        ),
        Metric(
            "ledger_oldest_pending_timestamp_seconds",
            "gauge",
            (),
            "When the request ended that has waited longest for the ledger; absent if none waits.",
        ),
        Metric(
            "ledger_flush_duration_seconds",
            "histogram",
            (),
            "How long a batch takes to be booked.",
            _DURATIONS,
        ),
        Metric("ledger_rows_written_total", "counter", (), "Requests that were booked."),
        Metric(
            "ledger_rows_quarantined_total",
            "counter",
            (),
            "Records that cannot be booked, and were put aside for somebody to look at.",
        ),
        Metric(
            "ledger_audit_difference_usd",
            "gauge",
            (),
            "By how much the sums of the books differ, as the last audit found; above 0 if anything does. Absent before the first.",
        ),
        Metric(
            "ledger_last_audit_timestamp_seconds",
            "gauge",
            (),
            "When the books were audited last, by whatever command; 0 if never.",
        ),
        Metric(
            "database_size_bytes",
            "gauge",
            (),
            "The ledger's database with its log.",
        ),
        Metric(
            "state_free_bytes",
            "gauge",
            (),
            "What is free where the state directory is, for its user.",
        ),
        Metric(
            "prices_timestamp_seconds",
            "gauge",
            (),
            "The day on which the price list held that is asked first.",
        ),
        # The process.
        Metric(
            "event_loop_lag_seconds",
            "histogram",
            (),
            "How late the loop wakes, looked at four times a second.",
            _LAG,
        ),
        Metric("ready", "gauge", (), "1 while requests are accepted, as /readyz tells."),
        Metric(
            "config_last_reload_successful",
            "gauge",
            (),
            "1 if the configuration that was read last was taken, 0 if it had errors.",
        ),
        Metric(
            "config_last_reload_success_timestamp_seconds",
            "gauge",
            (),
            "When the configuration in effect was read.",
        ),
        Metric(
            "tls_certificate_expiry_timestamp_seconds",
            "gauge",
            (),
            "When the certificate of the public listener ends, if it has one.",
        ),
        Metric("build_info", "gauge", ("version", "python"), "1, with what is running."),
    )
}


def pieces(samples: Iterable[_Sample], size: int) -> Iterator[list[_Sample]]:
    """Yield ``samples`` so many at a time; none at all is one piece."""
    left = iter(samples)
    piece = list(islice(left, size))
    yield piece
    while len(piece) == size and (piece := list(islice(left, size))):
        yield piece
