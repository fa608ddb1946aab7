"""What of a request is taken to the answer: addresses, origins, dialects."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest
from multidict import CIMultiDict

from proxy.server.exchange import address_of, cors_fields, dialect_of

TRUSTED = (ip_network("10.0.0.0/8"), ip_network("::1/128"))


class Peer:
    """As much of a request as says who is at the other end."""

    def __init__(self, peer: Any, *forwarded: str) -> None:
        self.transport = self
        self.headers = CIMultiDict([("X-Forwarded-For", value) for value in forwarded])
        self._peer = peer

    def get_extra_info(self, name: str) -> Any:
        assert name == "peername"
        return self._peer


def address(peer: Any, *forwarded: str, trusted: Any = TRUSTED) -> str | None:
    request: Any = Peer(peer, *forwarded)
    return address_of(request, trusted)


def test_without_trust_the_peer_is_the_client():
    assert address(("1.2.3.4", 5), "9.9.9.9", trusted=()) == "1.2.3.4"
    assert address(("1.2.3.4", 5), "9.9.9.9") == "1.2.3.4"


def test_a_trusted_proxy_says_who_the_client_is():
    assert address(("10.0.0.1", 5), "9.9.9.9") == "9.9.9.9"
    assert address(("::1", 5, 0, 0), "2001:db8::7") == "2001:db8::7"


def test_what_the_client_wrote_before_it_does_not_count():
    assert address(("10.0.0.1", 5), "6.6.6.6, 9.9.9.9") == "9.9.9.9"
    assert address(("10.0.0.1", 5), "6.6.6.6, 9.9.9.9, 10.1.1.1") == "9.9.9.9"
    assert address(("10.0.0.1", 5), "6.6.6.6", "9.9.9.9") == "9.9.9.9"


@pytest.mark.parametrize(
    "forwarded", ["", " , ", "unknown", "not an address", "9.9.9.9:1234", "[::1]"]
)
def test_what_is_no_address_leaves_the_proxy(forwarded):
    assert address(("10.0.0.1", 5), forwarded) == "10.0.0.1"


def test_a_proxy_alone_is_the_client():
    assert address(("10.0.0.1", 5)) == "10.0.0.1"
    assert address(("10.0.0.1", 5), "10.2.2.2") == "10.2.2.2"


def test_a_unix_socket_has_no_address():
    assert address("") is None
    assert address(None) is None


def test_a_link_local_peer_loses_its_zone():
    assert address(("fe80::1%eth0", 5, 0, 2), trusted=()) == "fe80::1"


@pytest.mark.parametrize(
    ("path", "dialect"),
    [
        ("/v1/messages", "messages"),
        ("/v1/messages/count_tokens", "messages"),
        ("/v1/v1/messages", "messages"),
        ("/v1/chat/completions", "chat"),
        ("/nowhere", "chat"),
        ("/", "chat"),
        ("/v1beta/models", "gemini"),
        ("/v1beta/nowhere", "gemini"),
        ("/v1/models/a/b:streamGenerateContent", "gemini"),
        ("/v1/models/a:b", "chat"),
    ],
)
def test_a_path_has_a_dialect_even_if_it_is_wrong(path, dialect):
    assert dialect_of(path) == dialect


def test_an_origin_is_repeated_only_if_it_is_allowed():
    assert "Access-Control-Allow-Origin: https://a.test\r\n" in cors_fields(
        "https://a.test", ("https://a.test",)
    )
    assert cors_fields("https://b.test", ("https://a.test",)) == ""
    assert "https://b.test" in cors_fields("https://b.test", ("*",))
    assert cors_fields("https://bü.test", ("*",)) == ""
    assert cors_fields("https://b.test", ()) == ""
