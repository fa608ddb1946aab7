"""The one key among the credentials that a request carries."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from proxy.billing.keys import Keyring, digest
from proxy.config.model import Key
from proxy.errors import GatewayError, Kind
from proxy.server.auth import MAX_CREDENTIAL, identify

OURS, OTHER = "sk-splice-ours", "sk-splice-other"
KEYRING = Keyring([Key(name="ours", hash=digest(OURS)), Key(name="other", hash=digest(OTHER))])


def who(*headers: tuple[str, str], query: str = "") -> str:
    return identify(CIMultiDictProxy(CIMultiDict(headers)), query, KEYRING).name


def refused(*headers: tuple[str, str], query: str = "") -> str:
    with pytest.raises(GatewayError) as raised:
        who(*headers, query=query)
    assert raised.value.kind is Kind.BAD_KEY
    return raised.value.message


def basic(credentials: bytes) -> str:
    return "Basic " + base64.b64encode(credentials).decode()


@pytest.mark.parametrize(
    "header",
    [
        ("Authorization", f"Bearer {OURS}"),
        ("authorization", f"bEaReR  {OURS} "),
        ("Authorization", OURS),
        ("Authorization", basic(f"{OURS}:".encode())),
        ("Authorization", basic(f"{OURS}:x".encode())),
        ("Authorization", basic(f":{OURS}".encode())),
        ("X-Api-Key", OURS),
        ("x-goog-api-key", f" {OURS}"),
    ],
)
def test_a_key_is_found_in_each_place(header):
    assert who(header) == "ours"


@pytest.mark.parametrize(
    "query", [f"key={OURS}", f"a=b&key={OURS}&alt=sse", f"key=&key={OURS}", "key=sk%2Dsplice-ours"]
)
def test_a_key_is_found_in_the_query(query):
    assert who(query=query) == "ours"


@pytest.mark.parametrize("query", ["monkey=" + OURS, "", "key=", "key", "KEY=" + OURS])
def test_other_parameters_are_no_key(query):
    assert "No API key" in refused(query=query)


def test_of_two_credentials_the_one_that_is_ours_counts():
    assert who(("authorization", f"Bearer {OURS}"), ("x-api-key", "sk-ant-else")) == "ours"
    assert who(("authorization", "Bearer else"), ("x-api-key", OURS)) == "ours"
    assert who(("authorization", "Bearer else"), query=f"key={OURS}") == "ours"


def test_one_key_in_several_places_is_one_key():
    assert (
        who(("authorization", f"Bearer {OURS}"), ("x-api-key", OURS), query=f"key={OURS}") == "ours"
    )


def test_two_keys_of_ours_are_refused_with_both_places():
    message = refused(("authorization", f"Bearer {OURS}"), ("x-api-key", OTHER))
    assert "authorization" in message
    assert "x-api-key" in message
    assert "?key=" in refused(("x-api-key", OURS), query=f"key={OTHER}")


@pytest.mark.parametrize("name", ["authorization", "x-api-key", "x-goog-api-key"])
def test_a_header_that_comes_twice_must_say_the_same(name):
    assert who((name, OURS), (name, OURS)) == "ours"
    assert name in refused((name, OURS), (name, OTHER))
    assert name in refused((name, OURS), (name, "sk-else"))


def test_what_is_nobodys_key_is_told_from_no_key():
    assert "not valid" in refused(("authorization", "Bearer sk-wrong"))
    assert "No API key" in refused()
    assert "No API key" in refused(("authorization", "Bearer "))


def test_a_credential_that_cannot_be_one_is_not_looked_up():
    assert "No API key" in refused(("x-api-key", "k" * (MAX_CREDENTIAL + 1)))
    assert "No API key" in refused(("authorization", basic(b"k" * 4 * MAX_CREDENTIAL)))


def test_no_message_repeats_a_credential():
    for headers in (
        [("x-api-key", "sk-wrong-one")],
        [("x-api-key", OURS), ("authorization", f"Bearer {OTHER}")],
    ):
        message = refused(*headers)
        assert not any(token in message for token in (OURS, OTHER, "sk-wrong-one"))


@given(st.text(max_size=40), st.sampled_from(["authorization", "x-api-key"]), st.text(max_size=40))
def test_no_text_opens_the_door(value, name, query):
    refused((name, value), query=query)


@given(st.binary(max_size=30))
def test_no_bytes_open_it_either(value):
    surrogates = value.decode("utf-8", "surrogateescape")
    refused(("authorization", f"Bearer {surrogates}"))
    refused(("authorization", f"Basic {surrogates}"))
    refused(("authorization", basic(value)))
