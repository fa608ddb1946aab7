"""An amount is written as the decimal that it is."""

from __future__ import annotations

from decimal import Decimal

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.money import usd


@pytest.mark.parametrize(
    ("micro", "told"),
    [(0, "0"), (1, "0.000001"), (8050, "0.00805"), (1_500_000, "1.5"), (70_000_000, "70")],
)
def test_an_amount_has_no_more_digits_than_it_needs(micro, told):
    assert usd(micro) == told


@given(st.integers(0, 10**18))
def test_an_amount_is_exact_and_a_json_number(micro):
    assert Decimal(usd(micro)) * 1_000_000 == micro
    assert orjson.loads(usd(micro)) >= 0
