"""What is left of a key's limits, as SDKs read it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.routing.limits import Left, Standing
from proxy.routing.ratelimits import read
from proxy.server.limit_headers import duration, limit_fields

WALL = 1_700_000_000.25
"""2023-11-14T22:13:20.25Z."""


def test_nothing_is_said_of_a_limit_that_there_is_not():
    assert limit_fields(Standing(None, None), "messages", WALL) == b""


def test_an_openai_client_gets_the_numbers_of_the_bucket():
    standing = Standing(Left(60, 59, 1.0), Left(40_000, 39_000, 1.5))
    assert limit_fields(standing, "chat", WALL) == (
        b"x-ratelimit-limit-requests: 60\r\n"
        b"x-ratelimit-remaining-requests: 59\r\n"
        b"x-ratelimit-reset-requests: 1s\r\n"
        b"x-ratelimit-limit-tokens: 40000\r\n"
        b"x-ratelimit-remaining-tokens: 39000\r\n"
        b"x-ratelimit-reset-tokens: 1.5s\r\n"
    )


def test_an_anthropic_client_gets_its_own_too_with_a_date_that_is_not_early():
    assert limit_fields(Standing(Left(2, 0, 60.0), None), "messages", WALL) == (
        b"x-ratelimit-limit-requests: 2\r\n"
        b"x-ratelimit-remaining-requests: 0\r\n"
        b"x-ratelimit-reset-requests: 1m0s\r\n"
        b"anthropic-ratelimit-requests-limit: 2\r\n"
        b"anthropic-ratelimit-requests-remaining: 0\r\n"
        b"anthropic-ratelimit-requests-reset: 2023-11-14T22:14:21Z\r\n"
    )


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0.0, "0s"),
        (0.0004, "0s"),
        (0.02, "20ms"),
        (0.9996, "1s"),
        (7.66, "7.66s"),
        (59.9996, "1m0s"),
        (360.0, "6m0s"),
        (3602.5, "1h0m2.5s"),
        (90_000.0, "25h0m0s"),
    ],
)
def test_a_duration_is_written_as_go_writes_it(seconds, told):
    assert duration(seconds) == told.encode()


@given(st.integers(1, 10**6), st.floats(0, 10**5))
def test_another_gateway_reads_what_this_one_tells(limit, reset):
    fields = limit_fields(Standing(Left(limit, limit - 1, reset), None), "chat", WALL)
    headers = dict(line.split(b": ") for line in fields.splitlines())
    reading = read(headers, WALL)
    assert reading is not None
    assert reading.requests is not None
    assert reading.requests.left == limit - 1
    assert reading.requests.reset == pytest.approx(reset, abs=0.001)
