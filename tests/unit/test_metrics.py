"""What the metrics are called, and how they count."""

from __future__ import annotations

import re

import pytest
from prometheus_client.openmetrics.exposition import generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from proxy.counts import Counter, Histogram, Metrics
from proxy.errors import ROWS
from proxy.metrics import METRICS
from tests.exposition import counted

AGREED = """
requests_total{route,model,provider,code,error_type} request_duration_seconds{route,provider}
overhead_duration_seconds{route} time_to_first_token_seconds{provider,route} time_per_output_token_seconds{provider}
stream_max_gap_seconds{provider} input_tokens_total{model,provider} output_tokens_total{model,provider}
cache_read_tokens_total{model,provider} cache_write_tokens_total{model,provider,ttl} reasoning_tokens_total{model,provider}
upstream_cost_usd_total{model,provider} charged_usd_total{model,provider} requests_estimated_total{provider,reason}
requests_unpriced_total{model} requests_in_flight{provider,phase} streams_in_flight client_disconnects_total{phase}
upstream_attempts_total{provider,account,outcome} failovers_total{cause} accounts{provider} accounts_available{provider}
account_state{account,state} account_requests_in_flight{account} account_cooldown_until_timestamp_seconds{account}
cooldowns_total{account,cause} account_remaining_requests{account} account_remaining_tokens{account} queue_duration_seconds
requests_queued limit_rejections_total{kind} journal_sync_duration_seconds journal_errors_total ledger_pending_records
ledger_oldest_pending_timestamp_seconds ledger_flush_duration_seconds ledger_rows_written_total ledger_rows_quarantined_total
ledger_audit_difference_usd ledger_last_audit_timestamp_seconds
database_size_bytes state_free_bytes prices_timestamp_seconds event_loop_lag_seconds upstream_connections{provider,state} ready
config_last_reload_successful config_last_reload_success_timestamp_seconds tls_certificate_expiry_timestamp_seconds
build_info{version,python} key_cost_usd_total{key,team} credit_holds credit_holds_usd key_budget_remaining_usd{key,period}
"""
"""Dashboards and alerts of other people are built on these: a change needs a reason in docs/decisions."""

ERROR_TYPES = """
invalid_request unauthorized model_unknown not_allowed too_large rate_limited budget_exceeded no_credit cancelled auth_failed
quota_exhausted upstream_rate_limited overloaded server_error timeout_connect timeout_first_content timeout_idle timeout_total
connection_failed bad_response truncated content_filtered all_cooling queue_timeout no_account draining ledger_unavailable
internal
"""

DURATIONS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 640)
BUCKETS = {
    "request_duration_seconds": DURATIONS,
    "overhead_duration_seconds": DURATIONS,
    "stream_max_gap_seconds": DURATIONS,
    "queue_duration_seconds": DURATIONS,
    "journal_sync_duration_seconds": DURATIONS,
    "ledger_flush_duration_seconds": DURATIONS,
    "time_to_first_token_seconds": DURATIONS[:11],
    "time_per_output_token_seconds": (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2.5),
    "event_loop_lag_seconds": (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
}


def test_names_and_labels_are_the_agreed_ones():
    agreed = dict(re.findall(r"(\w+)(?:\{([\w,]+)\})?", AGREED))
    assert {name: ",".join(one.labels) for name, one in METRICS.items()} == agreed


def test_error_types_are_the_agreed_ones():
    assert {row.error_type for row in ROWS.values()} <= set(ERROR_TYPES.split())


def test_buckets_are_the_agreed_ones():
    assert {name: one.buckets for name, one in METRICS.items() if one.buckets} == BUCKETS


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_a_name_says_its_unit_and_what_it_is(metric):
    base = metric.name.removesuffix("_total")
    assert (metric.kind == "counter") == metric.name.endswith("_total")
    assert (metric.kind == "histogram") == bool(metric.buckets)
    if metric.kind == "histogram":
        assert base.endswith("_seconds")
    if any(word in base for word in ("duration", "time", "lag", "gap", "expiry")):
        assert base.endswith("_seconds")
    if any(word in base for word in ("cost", "charged")):
        assert base.endswith("_usd")
    assert not re.search(r"_(ms|millis|micro|count|sum|bucket|created|gauge|counter)\b|__", base)
    assert metric.help.endswith(".")
    assert list(metric.buckets) == sorted(set(metric.buckets))


def test_a_value_at_a_bound_is_below_it():
    histogram = Histogram("request_duration_seconds")
    for value in (0.0, 0.05, 0.0501, 640.0, 641.0):
        histogram.observe(("r", "p"), value)
    (family,) = histogram.families()
    found = {one.labels.get("le", one.name.rpartition("_")[2]): one.value for one in family.samples}
    assert (found["0.05"], found["0.1"], found["320.0"], found["640.0"], found["+Inf"]) == (
        2, 3, 3, 4, 5,
    )  # fmt: skip
    assert found["count"] == 5
    assert found["sum"] == pytest.approx(1281.1001)


def test_money_is_whole_millionths_until_it_is_shown():
    metrics = Metrics()
    for _ in range(3):
        metrics.costs.add(("m", "p"), 100_000)
    assert counted(metrics) == {'splice_upstream_cost_usd_total{model="m",provider="p"}': 0.3}


def test_small_sets_begin_at_0():
    counter = Counter("failovers_total", ("auth", "burst"))
    counter.add(("burst",))
    assert {
        one.labels["cause"]: one.value for family in counter.families() for one in family.samples
    } == {
        "auth": 0,
        "burst": 1,
    }


def test_openmetrics_reads_what_is_written():
    metrics = Metrics()
    metrics.requests.add(("/", 'a "model"\\\n', "p", 200, ""))
    metrics.gaps.observe(("p",), 1.5)
    metrics.build.set(("1.0", "3.11"), 1)

    class Page(Collector):
        def collect(self):
            return metrics.families()

    families = {
        family.name: family
        for family in text_string_to_metric_families(generate_latest(Page()).decode())
    }
    [sample] = families["splice_requests"].samples
    assert (sample.name, sample.labels["model"]) == ("splice_requests_total", 'a "model"\\\n')
    assert not any("_created" in one.name for family in families.values() for one in family.samples)
