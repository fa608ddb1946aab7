from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.server.failures import BURST, RATE, Failures


def test_ten_at_once_are_forgiven_and_the_eleventh_is_not():
    failures = Failures()
    assert [failures.allows("192.0.2.1", 0.0) for _ in range(12)] == [True] * 10 + [False] * 2


def test_ten_a_second_are_forgiven_for_ever():
    failures = Failures()
    assert all(failures.allows("192.0.2.1", n / RATE) for n in range(1000))


def test_who_waits_may_fail_again():
    failures = Failures()
    for _ in range(20):
        failures.allows("192.0.2.1", 5.0)
    assert failures.allows("192.0.2.1", 6.0)


@given(st.lists(st.floats(0.0, 0.5), max_size=200))
def test_no_stretch_of_time_has_more_than_it_may(gaps):
    failures, now, allowed = Failures(), 0.0, []
    for gap in gaps:
        now += gap
        if failures.allows("192.0.2.1", now):
            allowed.append(now)
    for index, start in enumerate(allowed):
        within = [at for at in allowed[index:] if at <= start + 1.0]
        assert len(within) <= BURST + RATE + 1


def test_addresses_do_not_share():
    failures = Failures()
    for _ in range(20):
        failures.allows("192.0.2.1", 0.0)
    assert failures.allows("192.0.2.2", 0.0)
    assert failures.allows(None, 0.0)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
    ],
)
def test_who_has_one_address_of_ipv6_has_its_neighbours_too(one, other, same):
    failures = Failures()
    for _ in range(10):
        failures.allows(one, 0.0)
    assert failures.allows(other, 0.0) is not same


def test_many_addresses_do_not_fill_the_memory():
    failures = Failures()
    for number in range(50_000):
        failures.allows(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 0.0)
    assert len(failures) == 8192
