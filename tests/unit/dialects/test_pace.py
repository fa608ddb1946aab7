"""What an event of a stream holds is learned from the streams that ended."""

from __future__ import annotations

from proxy.dialects.pace import ENOUGH, MOST, Paces
from proxy.usage import estimate_output


def test_nothing_is_said_of_a_model_before_enough_has_come():
    paces = Paces()
    paces.learn("a/m", 2 * ENOUGH - 2, ENOUGH - 1)
    assert paces.of("a/m") is None
    paces.learn("a/m", 2, 1)
    assert paces.of("a/m") == 2
    assert paces.of("b/m") is None


def test_long_streams_count_for_more_than_short_ones():
    paces = Paces()
    paces.learn("m", 900, 900)
    for _ in range(10):
        paces.learn("m", 30, 10)
    assert paces.of("m") == 1.2


def test_a_stream_without_events_or_tokens_teaches_nothing():
    paces = Paces()
    paces.learn("m", 0, ENOUGH)
    paces.learn("m", ENOUGH, 0)
    assert paces.of("m") is None


def test_a_provider_that_begins_to_send_otherwise_is_soon_known_to():
    paces = Paces()
    for _ in range(1_000):
        paces.learn("m", 1_000, 1_000)
    for _ in range(100):
        paces.learn("m", 8_000, 1_000)
    found = paces.of("m")
    assert found is not None
    assert 7.5 < found <= 8


def test_the_model_that_was_not_heard_of_for_longest_makes_room():
    paces = Paces()
    for number in range(MOST):
        paces.learn(f"m{number}", ENOUGH, ENOUGH)
    paces.learn("m0", ENOUGH, ENOUGH)
    paces.learn("another", ENOUGH, ENOUGH)
    assert paces.of("m0") == paces.of("another") == 1
    assert paces.of("m1") is None
    assert sum(paces.of(f"m{number}") is not None for number in range(MOST)) == MOST - 1


def test_of_the_text_and_the_events_the_lower_counts():
    assert estimate_output(100, 90, None) == 100
    assert estimate_output(100, 90, 1.0) == 90
    assert estimate_output(100, 90, 1.05) == 95
    assert estimate_output(100, 90, 9.0) == 100
    assert estimate_output(100, 0, 9.0) == 0
