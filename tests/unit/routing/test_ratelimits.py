"""What providers' headers say about their limits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.routing.ratelimits import Hint, Reading, Remaining, hint, read

WALL = 1_792_000_000.0
"""2026-10-14 17:46:40 UTC."""


def headers(**fields: str) -> dict[bytes, bytes]:
    return {name.replace("_", "-").encode(): value.encode() for name, value in fields.items()}


# After success.


def test_openai_tells_what_is_left_and_for_how_long():
    told = headers(
        x_ratelimit_limit_requests="500",
        x_ratelimit_remaining_requests="499",
        x_ratelimit_remaining_tokens="0",
        x_ratelimit_reset_requests="120ms",
        x_ratelimit_reset_tokens="6m0.5s",
        content_type="text/event-stream",
    )
    reading = read(told, WALL)
    assert reading == Reading(Remaining(499, 0.12), Remaining(0, 360.5))
    assert reading.empty_for == 360.5


def test_anthropic_tells_dates():
    told = headers(
        anthropic_ratelimit_requests_remaining="0",
        anthropic_ratelimit_requests_reset="2026-10-14T17:46:50Z",
        anthropic_ratelimit_input_tokens_remaining="1000",
        anthropic_ratelimit_output_tokens_remaining="10",
        anthropic_ratelimit_output_tokens_reset="2026-10-14T17:47:40Z",
        anthropic_ratelimit_unified_status="allowed",
    )
    reading = read(told, WALL)
    assert reading == Reading(Remaining(0, 10.0), Remaining(10, 60.0))
    assert reading.empty_for == 10.0


@pytest.mark.parametrize(
    ("reset", "seconds"),
    [
        ("1", 1.0),
        ("33011.38", 33011.38),
        ("7.66s", 7.66),
        ("1h2m3s", 3723.0),
        ("1d", 86400.0),
        ("500us", 0.0005),
        ("1792000030", 30.0),
        ("1792000030000", 30.0),
        ("2026-10-14T17:46:41+00:00", 1.0),
        ("2026-10-14T17:46:41", 1.0),
        ("-3", None),
        ("soon", None),
        ("nan", None),
        ("", None),
        ("1s!", None),
    ],
)
def test_a_reset_comes_in_many_forms(reset, seconds):
    told = headers(x_ratelimit_remaining="3", x_ratelimit_reset=reset)
    reading = read(told, WALL)
    assert reading is not None
    assert reading.requests is not None
    assert reading.requests.left == 3
    assert reading.requests.reset == (None if seconds is None else pytest.approx(seconds))
    assert reading.empty_for == 0.0


def test_a_providers_own_clock_is_believed():
    told = headers(
        date="Wed, 14 Oct 2026 18:46:40 GMT",
        anthropic_ratelimit_tokens_remaining="0",
        anthropic_ratelimit_tokens_reset="2026-10-14T18:46:45Z",
    )
    reading = read(told, WALL)
    assert reading is not None
    assert reading.empty_for == 5.0


def test_of_several_limits_the_one_with_least_left_counts():
    told = headers(
        x_ratelimit_remaining_tokens_minute="0",
        x_ratelimit_reset_tokens_minute="5",
        x_ratelimit_remaining_tokens_day="0",
        x_ratelimit_reset_tokens_day="50",
        x_ratelimit_remaining_tokens_hour="7",
        x_ratelimit_remaining_tokens="0",
    )
    reading = read(told, WALL)
    assert reading == Reading(None, Remaining(0, 50.0))


@pytest.mark.parametrize("left", ["-1", "many", "inf"])
def test_a_remainder_that_makes_no_sense_was_not_said(left):
    assert read(headers(x_ratelimit_remaining_requests=left), WALL) is None


def test_an_empty_limit_without_a_reset_keeps_nobody_away():
    reading = read(headers(x_ratelimit_remaining_requests="0"), WALL)
    assert reading == Reading(Remaining(0, None), None)
    assert reading.empty_for == 0.0


def test_headers_that_say_nothing_are_no_reading():
    assert read(headers(content_type="application/json", retry_after="3"), WALL) is None


# After a refusal.


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"retry_after_ms": "1500", "retry_after": "9"}, Hint(1.5, "retry-after-ms: 1500")),
        ({"x_ms_retry_after_ms": "200"}, Hint(0.2, "x-ms-retry-after-ms: 200")),
        ({"retry_after": "17"}, Hint(17.0, "retry-after: 17")),
        ({"retry_after": "1e9"}, Hint(1e9, "retry-after: 1e9")),
        (
            {"retry_after": "Wed, 14 Oct 2026 17:47:10 GMT"},
            Hint(30.0, "retry-after: Wed, 14 Oct 2026 17:47:10 GMT"),
        ),
        (
            {
                "retry_after": "Wed, 14 Oct 2026 17:47:10 GMT",
                "date": "Wed, 14 Oct 2026 17:47:00 GMT",
            },
            Hint(10.0, "retry-after: Wed, 14 Oct 2026 17:47:10 GMT"),
        ),
        ({"retry_after": "0"}, Hint(None, "retry-after: 0")),
        ({"retry_after": "-1"}, Hint(None, "retry-after: -1")),
        ({"retry_after": "inf"}, Hint(None, "retry-after: inf")),
        ({"retry_after": "a while\x1b[0m"}, Hint(None, "retry-after: a while?[0m")),
        (
            {"retry_after": "Wed, 21 Oct 2015 07:28:00 GMT"},
            Hint(None, "retry-after: Wed, 21 Oct 2015 07:28:00 GMT"),
        ),
        ({"retry_after_ms": "x", "retry_after": "-1"}, Hint(None, "retry-after-ms: x")),
        ({"retry_after_ms": "x", "retry_after": "2"}, Hint(2.0, "retry-after: 2")),
        ({}, Hint()),
    ],
)
def test_a_refusal_says_when_to_come_back(fields, expected):
    assert hint(headers(**fields), None, WALL) == expected


def test_a_body_speaks_after_the_header_and_before_the_resets():
    empty = headers(x_ratelimit_remaining_requests="0", x_ratelimit_reset_requests="60s")
    assert hint(empty, 17.0, WALL) == Hint(17.0, "retry delay of 17 s in the body")
    assert hint(empty, 0, WALL) == Hint(60.0, "x-ratelimit-reset-requests: 60s")
    assert hint({**empty, b"retry-after": b"2"}, 17.0, WALL).seconds == 2.0


def test_the_reset_of_a_limit_that_is_not_exhausted_says_nothing():
    told = headers(
        x_ratelimit_remaining_requests="0",
        x_ratelimit_reset_requests="2s",
        x_ratelimit_remaining_tokens="400",
        x_ratelimit_reset_tokens="6h0m0s",
    )
    assert hint(told, None, WALL) == Hint(2.0, "x-ratelimit-reset-requests: 2s")


def test_of_two_exhausted_limits_the_later_reset_counts():
    told = headers(
        anthropic_ratelimit_requests_remaining="0",
        anthropic_ratelimit_requests_reset="2026-10-14T17:46:50Z",
        anthropic_ratelimit_tokens_remaining="0",
        anthropic_ratelimit_tokens_reset="2026-10-14T17:46:45Z",
    )
    assert hint(told, None, WALL).seconds == 10.0


def test_a_reset_that_is_past_or_garbage_says_nothing():
    told = headers(
        anthropic_ratelimit_requests_remaining="0",
        anthropic_ratelimit_requests_reset="2015-10-21T07:28:00Z",
        x_ratelimit_remaining_tokens="0",
        x_ratelimit_reset_tokens="???",
        x_ratelimit_remaining="0",
    )
    assert hint(told, None, WALL) == Hint()


def test_a_reset_beyond_all_numbers_says_nothing():
    largest = "1" + "0" * 308
    for reset in (f"{largest}s{largest}s", f"{largest}d", "9" * 400):
        told = headers(x_ratelimit_remaining_tokens="0", x_ratelimit_reset_tokens=reset)
        assert hint(told, None, WALL) == Hint()
        assert read(told, WALL) == Reading(None, Remaining(0, None))


_NAMES = st.sampled_from(
    [
        b"retry-after", b"retry-after-ms", b"date", b"x-ratelimit-remaining", b"x-ratelimit-reset",
        b"x-ratelimit-remaining-tokens", b"x-ratelimit-reset-tokens",
        b"anthropic-ratelimit-tokens-remaining", b"anthropic-ratelimit-tokens-reset",
    ]
)  # fmt: skip
_VALUES = (
    st.binary(max_size=40)
    | st.text("0123456789-+.:eETZhms ,GMTOctWed", max_size=30).map(str.encode)
    | st.sampled_from(
        [b"Wed, 14 Oct 9999 23:59:59 -2359", b"Mon, 01 Jan 0001 00:00:00 +2359", b"0"]
    )
    | st.sampled_from([b"9999-12-31T23:59:59-23:59", b"0001-01-01T00:00:00+23:59", b"1" * 400])
)


@given(st.dictionaries(_NAMES, _VALUES), st.none() | st.floats())
def test_whatever_headers_say_a_hint_is_a_wait_or_nothing(told, body):
    found = hint(told, body, WALL)
    assert found.seconds is None or found.seconds > 0
    assert found.told.isprintable()
    reading = read(told, WALL)
    assert reading is None or reading.empty_for >= 0.0
