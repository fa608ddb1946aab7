"""How durations, sizes, money, addresses and dates are written."""

from contextlib import suppress
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config import values
from proxy.config.errors import Wrong

milliseconds = st.integers(0, 10**10)


@given(milliseconds)
def test_a_duration_is_read_back_as_it_was_shown(count):
    seconds = count / 1000
    assert values.parse_duration(values.show_duration(seconds)) == seconds


@given(st.floats(0, 1e9, allow_subnormal=False))
def test_any_duration_can_be_shown(seconds):
    assert values.parse_duration(values.show_duration(seconds)) == pytest.approx(seconds)


@given(st.integers(1, 2**50))
def test_a_size_is_read_back_as_it_was_shown(size):
    assert values.parse_size(values.show_size(size)) == size


@given(st.text() | st.integers() | st.none() | st.booleans() | st.lists(st.text()))
def test_whatever_it_is_it_is_taken_or_refused(value):
    for kind in (values.DURATION, values.SIZE, values.NETWORK, values.MOMENT, values.BASE_URL):
        with suppress(Wrong):
            kind.parse(value)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("250ms", 0.25),
        ("0.5ms", 0.0005),
        ("1.5s", 1.5),
        ("5m", 300.0),
        ("24h", 86_400.0),
        ("90d", 7_776_000.0),
    ],
)
def test_durations_are_seconds(text, seconds):
    assert values.DURATION.parse(text) == seconds


@pytest.mark.parametrize("value", ["0s", "0ms", "10", "10 s", "-1s", "1h30m", "", 11, True, None])
def test_no_duration(value):
    with pytest.raises(Wrong):
        values.DURATION.parse(value)


def test_a_wait_may_be_none_at_all():
    assert values.WAIT.parse("0s") == 0.0


@pytest.mark.parametrize("value", ["0B", "32MB", "32", "1.5MiB", 33, None])
def test_no_size(value):
    with pytest.raises(Wrong):
        values.SIZE.parse(value)


def test_money_is_exact():
    assert values.USD.parse(Decimal("0.1")) * 3 == Decimal("0.3")
    assert values.USD.parse(7) == Decimal(7)
    assert values.USD.show(Decimal("1E+2")) == "100"


@pytest.mark.parametrize("value", [Decimal("-0.01"), Decimal("NaN"), Decimal("inf"), "1", True])
def test_no_money(value):
    with pytest.raises(Wrong, match="a number of at least 0"):
        values.USD.parse(value)


def test_a_limit_of_nothing_is_not_unlimited():
    with pytest.raises(Wrong) as caught:
        values.LIMIT_USD.parse(0)
    assert caught.value.hint == "leave it out for no limit"
    with pytest.raises(Wrong):
        values.COUNT.parse(0)


def test_a_choice_names_the_nearest():
    kind = values.choice(("cancel", "continue"))
    assert kind.parse("cancel") == "cancel"
    with pytest.raises(Wrong) as caught:
        kind.parse("cancel_")
    assert (caught.value.expected, caught.value.hint) == (
        "cancel or continue",
        "did you mean cancel?",
    )
    with pytest.raises(Wrong) as caught:
        values.choice(("only",)).parse(3)
    assert (caught.value.expected, caught.value.hint) == ("only", "")


def test_a_kind_that_takes_nothing_expects_nothing():
    with pytest.raises(TypeError):
        values.wanted(values.Kind(lambda value: value, str))


def test_a_list_names_the_element_that_is_wrong():
    kind = values.many(values.COUNT)
    with pytest.raises(Wrong) as caught:
        kind.parse([1, 0])
    assert (caught.value.expected, caught.value.found) == ("a list of: a whole number from 1", "0")
    with pytest.raises(Wrong) as caught:
        kind.parse([1, 1])
    assert (caught.value.expected, caught.value.found) == ("each only once", "1 twice")


def test_a_string_where_a_list_belongs_is_told_about_brackets():
    with pytest.raises(Wrong) as caught:
        values.many(values.GLOB).parse("gpt-*")
    assert caught.value.hint == 'put it in brackets: ["…"]'
    with pytest.raises(Wrong) as caught:
        values.many(values.GLOB, at_least=1).parse([])
    assert caught.value.expected == "a list of at least 1"


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://api.example.com/v1/", "https://api.example.com/v1"),
        ("http://10.0.0.7:8000", "http://10.0.0.7:8000"),
        ("http://[::1]:8000/v1", "http://[::1]:8000/v1"),
        (
            "https://x.openai.azure.com/openai/v1?api-version=preview",
            "https://x.openai.azure.com/openai/v1?api-version=preview",
        ),
    ],
)
def test_base_urls_lose_their_last_slash_only(url, kept):
    assert values.BASE_URL.parse(url) == kept


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("https://x.openai.azure.com/", "write https://x.openai.azure.com/openai/v1"),
        ("https://h/v1/chat/completions", "write https://h/v1"),
        ("api.example.com", ""),
        ("ftp://h", ""),
        ("http://h:99999", ""),
        ("http://", ""),
        ("http://a b", ""),
        (None, ""),
    ],
)
def test_no_base_url(url, hint):
    with pytest.raises(Wrong) as caught:
        values.BASE_URL.parse(url)
    assert caught.value.hint == hint


def test_credentials_in_an_address_are_refused_and_not_repeated():
    with pytest.raises(Wrong) as caught:
        values.EGRESS.parse("http://user:hunter2@proxy:3128")
    assert caught.value.found == "credentials in the address"


def test_a_public_url_may_be_empty():
    assert values.PUBLIC_URL.parse("") == ""
    assert values.PUBLIC_URL.parse("https://llm.example.com/") == "https://llm.example.com"


def test_networks():
    assert values.NETWORK.parse("10.0.0.0/8") == ip_network("10.0.0.0/8")
    assert values.NETWORK.parse("::1") == ip_network("::1/128")
    with pytest.raises(Wrong) as caught:
        values.NETWORK.parse("10.1.2.3/8")
    assert caught.value.hint == "write 10.0.0.0/8"
    with pytest.raises(Wrong):
        values.NETWORK.parse("ten")


@pytest.mark.parametrize(
    "value",
    [
        "2027-01-01",
        date(2027, 1, 1),
        datetime(2027, 1, 1),  # noqa: DTZ001 - as TOML gives a local one
        "2027-01-01T02:00:00+02:00",
        datetime(2027, 1, 1, 2, tzinfo=timezone(timedelta(hours=2))),
    ],
)
def test_moments_are_utc_and_a_date_is_its_first(value):
    assert values.MOMENT.parse(value) == datetime(2027, 1, 1, tzinfo=UTC)
    assert values.MOMENT.show(values.MOMENT.parse(value)) == "2027-01-01T00:00:00Z"


@pytest.mark.parametrize("value", ["tomorrow", 20270101, None])
def test_no_moment(value):
    with pytest.raises(Wrong):
        values.MOMENT.parse(value)


def test_json_is_plain():
    assert values.parse_json({"a": [Decimal("0.5"), 1, "x", True]}) == {"a": [0.5, 1, "x", True]}
    with pytest.raises(Wrong) as caught:
        values.parse_json([date(2027, 1, 1)])
    assert caught.value.found == "2027-01-01"


def test_values_in_messages_look_like_toml_and_are_short():
    shown = values.repr_toml({"a": [True, 1], "b": {}})
    assert shown == "{ a = [true, 1], b = {} }"
    assert len(values.repr_toml("x" * 200)) == 80
