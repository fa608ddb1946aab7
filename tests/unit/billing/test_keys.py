"""Keys are known by what they hash to, and refused in words."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_network

import pytest

from proxy.billing.keys import Keyring, check, digest
from proxy.config import key_hash
from proxy.config.model import Key
from proxy.errors import GatewayError, Kind

KEY = Key(name="one", hash=digest("sk-one"))
NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


def refused(key: Key, address: str | None = "1.2.3.4") -> GatewayError:
    with pytest.raises(GatewayError) as raised:
        check(key, NOW, address)
    assert raised.value.status == 403
    return raised.value


def test_a_digest_is_the_one_that_configurations_hold():
    assert digest("sk-one") == key_hash("sk-one")
    assert len(digest("")) == 64


def test_bytes_that_are_no_text_hash_too():
    assert digest("\udcff") != digest("\udcfe")


def test_a_key_is_found_by_its_whole_token():
    keyring = Keyring([KEY])
    assert len(keyring) == 1
    assert keyring.find("sk-one") is KEY
    assert keyring.find("sk-one") is KEY
    assert keyring.find("sk-on") is None
    assert keyring.find(KEY.hash) is None


def test_a_key_of_the_database_is_found_until_it_is_dropped():
    keyring = Keyring([KEY])
    stored = replace(KEY, name="stored", hash=digest("sk-two"))
    keyring.put(stored.hash, stored)
    assert (keyring.find("sk-two"), len(keyring)) == (stored, 2)
    changed = replace(stored, rpm=1)
    keyring.put(stored.hash, changed)
    assert keyring.find("sk-two") is changed
    keyring.drop(stored.hash)
    keyring.drop(stored.hash)
    assert (keyring.find("sk-two"), len(keyring)) == (None, 1)


def test_another_configuration_replaces_its_own_keys_and_no_others():
    keyring = Keyring([KEY])
    stored = replace(KEY, name="stored", hash=digest("sk-two"))
    keyring.put(stored.hash, stored)
    assert keyring.find("sk-one") is KEY
    keyring.adopt([replace(KEY, hash=digest("sk-three"))])
    assert [keyring.find(f"sk-{one}") is not None for one in ("one", "two", "three")] == [
        False,
        True,
        True,
    ]


def test_a_key_without_limits_may():
    check(KEY, NOW, "1.2.3.4")
    check(KEY, NOW, None)


def test_a_disabled_key_says_so():
    assert refused(replace(KEY, enabled=False)).kind is Kind.KEY_DISABLED


def test_an_expired_key_says_since_when():
    error = refused(replace(KEY, expires=NOW))
    assert error.kind is Kind.KEY_EXPIRED
    assert "2026-05-01 12:00" in error.message
    check(replace(KEY, expires=NOW.replace(minute=1)), NOW, None)


def test_an_address_must_be_among_the_allowed():
    key = replace(KEY, allow_ip=(ip_network("10.0.0.0/8"), ip_network("2001:db8::/32")))
    check(key, NOW, "10.9.9.9")
    check(key, NOW, "2001:db8::1")
    error = refused(key)
    assert error.kind is Kind.ADDRESS_NOT_ALLOWED
    assert "1.2.3.4" not in error.message
    refused(key, None)
