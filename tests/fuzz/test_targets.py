"""A little of ``make fuzz`` without its guide: the seeds, and seeds with something changed."""

from __future__ import annotations

import random
from functools import partial

import pytest

from tests.fuzz.seeds import bytes_changed, changed, seeds
from tests.fuzz.targets import TARGETS

ROUNDS = 600


@pytest.mark.parametrize("name", TARGETS)
def test_what_usually_comes_is_fine(name):
    found = seeds(name)
    assert found
    for one in found:
        TARGETS[name](one)


@pytest.mark.parametrize("name", TARGETS)
def test_so_is_what_usually_comes_with_something_changed(name):
    rng = random.Random(f"1 {name}")
    bytewise = partial(bytes_changed, rng=rng)
    found = seeds(name)
    for _ in range(ROUNDS):
        one = rng.choice(found)
        for _ in range(rng.choice((1, 1, 2, 5))):
            one = changed(name, one, rng, bytewise)
        try:
            TARGETS[name](one)
        except Exception as error:
            raise AssertionError(f"{name}: {one!r}") from error
