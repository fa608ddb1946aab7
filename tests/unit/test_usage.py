from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.usage import MAX_COUNT, Usage, count, estimate_tokens, inclusive

COUNTS = st.integers(0, 2000)


@pytest.mark.parametrize(
    ("value", "tokens"),
    [
        (0, 0),
        (7, 7),
        (7.0, 7),
        (MAX_COUNT, MAX_COUNT),
        (MAX_COUNT + 1, 0),
        (1e30, 0),
        (-1, 0),
        (-1.0, 0),
        (7.5, 0),
        (float("nan"), 0),
        (float("inf"), 0),
        (True, 0),
        (None, 0),
        ("7", 0),
    ],
)
def test_a_count_is_a_plain_number_that_a_context_could_hold(value, tokens):
    assert count(value) == tokens
    assert type(count(value)) is int


def test_totals_include_what_caches_read_and_wrote():
    usage = Usage(
        input=100, cache_read=1000, cache_write=50, cache_write_1h=150, output=300, reasoning=40
    )
    assert usage.input_total == 1300
    assert usage.cache_writes == 200
    assert usage.total == 1600


def test_a_share_larger_than_its_whole_is_cut():
    usage = inclusive(
        input_total=10,
        output=5,
        cache_read=8,
        cache_write=8,
        cache_write_1h=8,
        reasoning=9,
        audio_input=9,
        audio_output=9,
    )
    assert usage == Usage(cache_read=8, cache_write=2, output=5, reasoning=5, audio_output=5)


@given(COUNTS, COUNTS, COUNTS, COUNTS, COUNTS, COUNTS, COUNTS)
def test_inclusive_counts_stay_disjoint_and_never_negative(
    total, output, read, write, hour, reasoning, audio
):
    usage = inclusive(
        input_total=total,
        output=output,
        cache_read=read,
        cache_write=write,
        cache_write_1h=hour,
        reasoning=reasoning,
        audio_input=audio,
        searches=3,
        tier="flex",
    )
    assert usage.input_total == total
    assert min(usage.input, usage.cache_read, usage.cache_write, usage.cache_write_1h) >= 0
    assert usage.reasoning <= usage.output == output
    assert usage.audio_input <= usage.input
    assert (usage.searches, usage.tier, usage.estimated) == (3, "flex", False)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("", 0), ("abcd", 1), ("abcde", 2), ("é", 1), ("éé", 2), ("hello world é", 4)],
)
def test_an_estimate_is_a_quarter_a_letter_and_three_for_any_other(text, tokens):
    assert estimate_tokens(text) == tokens
