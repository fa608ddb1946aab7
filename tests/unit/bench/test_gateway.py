from __future__ import annotations

import pytest

from bench.gateway import WORKLOADS, Round, summary, table
from bench.load import Report

STREAM, PLAIN = WORKLOADS[0], WORKLOADS[-1]


def report(cpu: float, *, first: float = 100.0, failures: int = 0) -> Report:
    """Ten answers of a hundred tokens."""
    return Report(
        seconds=2.0,
        requests=10,
        tokens=1000,
        cpu=cpu,
        resident=40.0,
        first_p50=first,
        first_p99=2 * first,
        failures=failures,
        example="",
    )


def test_a_ratio_is_taken_within_a_round_and_then_the_median():
    rounds = [
        Round(report(0), nginx=report(nginx), splice=report(splice))
        for nginx, splice in ((0.010, 0.020), (0.020, 0.060), (0.001, 0.010))
    ]
    found = summary(STREAM, rounds)
    assert found["ratio"] == 3.0
    assert found["nginx_us_per_event"] == 10.0
    assert found["splice_us_per_event"] == 20.0
    assert found["splice_us_per_request"] == 2000.0


def test_what_is_added_to_the_first_content_is_the_difference_to_asking_directly():
    one = Round(report(0, first=100), report(0.01, first=130), report(0.02, first=350))
    found = summary(STREAM, [one])
    assert tuple(
        found[f"{name}_first_p50_us"] for name in ("direct", "nginx_added", "splice_added")
    ) == (100, 30, 250)
    assert found["splice_added_first_p99_us"] == 500


def test_without_nginx_there_is_a_cost_and_no_ratio():
    found = summary(PLAIN, [Round(report(0), None, report(0.002))])
    assert found["ratio"] is None
    assert found["splice_us_per_request"] == 200.0
    assert "–" in table({PLAIN: found})


def test_failures_are_added_up():
    rounds = [Round(report(0), None, report(0.01, failures=number)) for number in (2, 3)]
    found = summary(STREAM, rounds)
    assert found["failed"] == 5
    assert table({STREAM: found}).endswith("5")


@pytest.mark.parametrize("load", WORKLOADS, ids=lambda load: load.name)
def test_every_column_stands_below_its_name(load):
    one = Round(report(0), report(0.01), report(0.02))
    lines = table({load: summary(load, [one])}).splitlines()
    assert len({len(line) for line in lines[1:]}) == 1
