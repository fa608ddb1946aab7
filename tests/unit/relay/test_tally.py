"""What the end of a request adds to the metrics, and which names get into them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config import loads
from proxy.counts import Metrics
from proxy.errors import ROWS, GatewayError, Kind
from proxy.metrics import FAILOVERS, LIMITS, MAX_KEYS, OTHER
from proxy.relay.call import _cause
from proxy.relay.record import Record
from proxy.relay.tally import Tally
from proxy.routing.catalog import Catalog
from proxy.routing.limits import Limit
from proxy.server import media, routes
from proxy.usage import Usage
from tests.exposition import counted

CHAT = "/v1/chat/completions"


def record(**fields) -> Record:
    made: dict = {
        "request_id": "req_1", "started": 10.0, "route": CHAT, "dialect": "chat", "key": "k", "model": "smart",
        "upstream_model": "m", "account": "a", "provider": "p", "status": 200, "attempts": 1, "ended": 14.0,
    }  # fmt: skip
    return Record(**made | fields)


def refused(kind: Kind, **fields) -> Record:
    error = GatewayError(kind)
    nobody: dict = {"model": None, "upstream_model": None, "account": None, "provider": None}
    return record(error=error, status=error.status, **nobody | {"attempts": 0} | fields)


def tallied(*records: Record, models=("smart",), keys=False) -> dict[str, float]:
    """Return the samples that ``records`` lead to, histograms as their sums and counts only."""
    metrics = Metrics()
    tally = Tally(metrics, models, routes.template, keys=keys)
    for one in records:
        tally.count(one)
    return {
        name.removeprefix("splice_"): value
        for name, value in counted(metrics).items()
        if "_bucket" not in name
    }


def test_a_stream_that_went_well():
    found = tallied(
        record(
            stream=True, upload=0.5, queue=0.5, connect=0.25, upstream=2.5, first_content=12.0, max_gap=0.75,
            usage=Usage(input=100, cache_read=30, cache_write=20, cache_write_1h=10, output=5, reasoning=2),
            cost_micro=1500, price_micro=2500,
        )
    )  # fmt: skip
    used = 'model="smart",provider="p"'
    assert found == {
        f'requests_total{{code="200",error_type="",{used},route="{CHAT}"}}': 1,
        f'request_duration_seconds_sum{{provider="p",route="{CHAT}"}}': 4.0,
        f'request_duration_seconds_count{{provider="p",route="{CHAT}"}}': 1,
        f'overhead_duration_seconds_sum{{route="{CHAT}"}}': 0.25,
        f'overhead_duration_seconds_count{{route="{CHAT}"}}': 1,
        f'time_to_first_token_seconds_sum{{provider="p",route="{CHAT}"}}': 2.0,
        f'time_to_first_token_seconds_count{{provider="p",route="{CHAT}"}}': 1,
        'time_per_output_token_seconds_sum{provider="p"}': 0.5,
        'time_per_output_token_seconds_count{provider="p"}': 1,
        'stream_max_gap_seconds_sum{provider="p"}': 0.75,
        'stream_max_gap_seconds_count{provider="p"}': 1,
        "queue_duration_seconds_sum": 0.5,
        "queue_duration_seconds_count": 1,
        f"input_tokens_total{{{used}}}": 100,
        f"output_tokens_total{{{used}}}": 5,
        f"cache_read_tokens_total{{{used}}}": 30,
        f'cache_write_tokens_total{{{used},ttl="5m"}}': 20,
        f'cache_write_tokens_total{{{used},ttl="1h"}}': 10,
        f"reasoning_tokens_total{{{used}}}": 2,
        f"upstream_cost_usd_total{{{used}}}": 0.0015,
        f"charged_usd_total{{{used}}}": 0.0025,
    }


def test_a_refusal_has_no_model_and_no_provider():
    found = tallied(refused(Kind.BAD_KEY, ended=10.0))
    assert found == {
        f'requests_total{{code="401",error_type="unauthorized",model="",provider="",route="{CHAT}"}}': 1,
        f'request_duration_seconds_count{{provider="",route="{CHAT}"}}': 1,
    }


@pytest.mark.parametrize(
    ("fields", "phase"),
    [
        ({"attempts": 0}, "queued"),
        ({"attempts": 1, "asking": True}, "waiting"),
        ({"attempts": 1, "asking": True, "first_content": 11.0}, "streaming"),
        # It waits for another account after the first has failed.
        ({"attempts": 1, "asking": False}, "queued"),
    ],
)
def test_a_client_that_leaves_is_counted_where_it_left(fields, phase):
    left = record(error=GatewayError(Kind.CLIENT_CLOSED), status=499, **fields)
    assert tallied(left)[f'client_disconnects_total{{phase="{phase}"}}'] == 1


@pytest.mark.parametrize(("kind", "limit"), [(Kind.BUDGET, "budget"), (Kind.NO_CREDIT, "credit")])
def test_spent_money_is_a_limit(kind, limit):
    assert tallied(refused(kind))[f'limit_rejections_total{{kind="{limit}"}}'] == 1


@pytest.mark.parametrize(
    ("error", "reason"),
    [(None, "not_told"), (Kind.CLIENT_CLOSED, "client_left"), (Kind.DISCONNECTED, "broken_off")],
)
def test_an_estimate_says_why(error, reason):
    failed = None if error is None else GatewayError(error)
    estimated = record(usage=Usage(output=3, estimated=True), error=failed, first_content=11.0)
    found = tallied(estimated)
    assert found[f'requests_estimated_total{{provider="p",reason="{reason}"}}'] == 1
    assert 'time_per_output_token_seconds_count{provider="p"}' not in found


@pytest.mark.parametrize("priced", [True, False])
def test_tokens_without_a_price_are_noticed(priced):
    told = tallied(record(usage=Usage(output=1), priced=priced))
    assert ('requests_unpriced_total{model="smart"}' not in told) == priced


def test_costs_are_told_by_key_only_if_that_is_wanted():
    paid = record(usage=Usage(output=1), price_micro=2_000_000, team="t")
    name = 'key_cost_usd_total{key="k",team="t"}'
    assert tallied(paid, keys=True)[name] == 2
    assert name not in tallied(paid)


def test_keys_beyond_the_thousandth_are_told_together():
    paid = [
        record(usage=Usage(output=1), price_micro=1_000_000, key=f"k{n}")
        for n in [*range(MAX_KEYS + 2), 0]
    ]
    found = tallied(*paid, keys=True)
    assert found['key_cost_usd_total{key="k0",team=""}'] == 2
    assert found['key_cost_usd_total{key="other",team=""}'] == 2
    assert sum(name.startswith("key_cost") for name in found) == MAX_KEYS + 1


# Closed sets.

CONFIG = """
[[accounts]]
name = "o"
provider = "openai"
api_key = "k"
models = ["*", "gpt-spelt-out"]

[[accounts]]
name = "g"
provider = "gemini"
api_key = "k"

[[models]]
name = "smart"
aliases = ["clever"]
targets = ["openai/gpt-target", "gemini/gemini-target"]
"""
CATALOG = Catalog(loads(CONFIG, Path("c.toml"), {}))
MODELS = {"smart", "openai/gpt-spelt-out", "openai/gpt-target", "gemini/gemini-target"}


def test_the_names_that_are_told_apart_are_those_of_the_configuration():
    assert set(CATALOG.named()) == MODELS


def called(name: str, **fields) -> Record | None:
    """Return the record of a call to the model ``name``, None if nobody serves it."""
    route = CATALOG.resolve(name)
    if route is None:
        return None
    target = route.targets[0]
    return record(model=route.name, provider=target.provider, upstream_model=target.model, **fields)


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("smart", "smart"),
        ("clever", "smart"),
        ("gpt-target", "openai/gpt-target"),
        ("openai/gpt-target", "openai/gpt-target"),
        ("google/gemini-target", "gemini/gemini-target"),
        ("gpt-spelt-out", "openai/gpt-spelt-out"),
        ("gpt-of-tomorrow", OTHER),
        ("openai/anything", OTHER),
    ],
)
def test_a_model_has_the_name_that_the_configuration_has_for_it(name, label):
    made = called(name)
    assert made is not None
    [found] = [one for one in tallied(made, models=CATALOG.named()) if "requests_total" in one]
    assert f'model="{label}"' in found


NAMES = st.one_of(
    st.text(max_size=40),
    st.sampled_from(sorted(MODELS)),
    st.builds(
        "{}{}".format, st.sampled_from(["gpt-", "o1", "openai/", "google/", "gemini-"]), st.text()
    ),
)
PATHS = st.one_of(
    st.text(max_size=40),
    st.sampled_from(list(routes.TABLE)),
    st.builds(
        "{}{}".format,
        st.sampled_from([*routes.TABLE, "/v1/models/", "/v1/usage/"]),
        st.text(max_size=20),
    ),
)


@given(name=NAMES, path=PATHS, kind=st.none() | st.sampled_from(Kind))
def test_whatever_a_client_sends_makes_no_label(name, path, kind):
    error = None if kind is None else GatewayError(kind)
    status = 200 if error is None else error.status
    made = called(name, route=path, error=error, status=status)
    made = made or refused(Kind.UNKNOWN_MODEL, route=path)
    metrics = Metrics()
    Tally(metrics, CATALOG.named(), routes.template, keys=False).count(made)
    [(route, model, provider, code, error_type)] = metrics.requests.values
    assert route in {*routes.TABLE, *media.PATHS, "/v1/models/{id}", "/v1/usage/{id}", OTHER}
    assert model in {*MODELS, OTHER, ""}
    assert provider in {"openai", "gemini", ""}
    assert code in {200, *(row.status for row in ROWS.values())}
    assert error_type in {"", *(row.error_type for row in ROWS.values())}
    assert {labels[0] for labels in metrics.durations.series} == {route}


def test_the_causes_of_failovers_are_the_declared_ones():
    assert {_cause(GatewayError(kind)) for kind in Kind} == set(FAILOVERS)


def test_the_limits_are_the_declared_ones():
    assert {*Limit, "budget", "credit"} == set(LIMITS)
