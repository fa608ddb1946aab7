"""The header lines of a request to an upstream: the account's credential, and the little that a client may say itself."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping

from proxy.providers import Auth, Dialect

TRANSLATED_VERSION = b"2023-06-01"
"""Translated requests to Anthropic are of our making and fit this version; later ones refuse a temperature."""

_PASSED: Mapping[Dialect, tuple[str, ...]] = {
    "anthropic": ("anthropic-version", "anthropic-beta"),
    "openai-chat": ("openai-beta", "idempotency-key"),
    "openai-responses": ("openai-beta", "idempotency-key"),
    "gemini": (),
}
"""What a client's own headers may add to a native call. Everything else stays here."""

_SAFE = re.compile(r"[\x20-\x7e]{1,512}")
_CREDENTIAL: Mapping[Auth, tuple[bytes, bytes]] = {
    "bearer": (b"Authorization", b"Bearer "),
    "x-api-key": (b"x-api-key", b""),
    "x-goog-api-key": (b"x-goog-api-key", b""),
    "api-key": (b"api-key", b""),
}


def account_lines(
    auth: Auth, secret: str | None, *, stream: bool, agent: bytes
) -> list[tuple[bytes, bytes]]:
    """Return the lines that are the same for every call of an account."""
    accept = b"text/event-stream" if stream else b"application/json"
    return passed_lines(auth, secret, content_type=b"application/json", accept=accept, agent=agent)


def passed_lines(
    auth: Auth, secret: str | None, *, content_type: bytes | None, accept: bytes, agent: bytes
) -> list[tuple[bytes, bytes]]:
    """Return the same for a call that is passed on; ``content_type`` is None where there is no body."""
    lines = [(b"Accept", accept), (b"Accept-Encoding", b"identity"), (b"User-Agent", agent)]
    if content_type is not None:
        lines.insert(0, (b"Content-Type", content_type))
    if secret is not None and auth != "none":
        name, scheme = _CREDENTIAL[auth]
        lines.append((name, scheme + secret.encode()))
    return lines


def client_lines(
    dialect: Dialect, client: Mapping[str, str], *, native: bool, key: str = ""
) -> list[tuple[bytes, bytes]]:
    """Return the lines that depend on the client, whose ``key`` has this hash."""
    lines = []
    if native:
        for passed in _PASSED[dialect]:
            value = client.get(passed)
            if value is not None and _SAFE.fullmatch(value):
                if passed == "idempotency-key":
                    # An account is shared: by the same words it would give one key what another has asked for.
                    value = hashlib.sha256(f"{key} {value}".encode()).hexdigest()
                lines.append((passed.encode(), value.encode()))
    if dialect == "anthropic" and not (lines and lines[0][0] == b"anthropic-version"):
        lines.append((b"anthropic-version", TRANSLATED_VERSION))
    return lines


def head_bytes(lines: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return ``lines`` as they go over the wire. Raises ValueError if a value would break out of its line."""
    head = b"".join(b"%b: %b\r\n" % line for line in lines)
    count = head.count(b"\n")
    if head.count(b"\r\n") != count or head.count(b"\r") != count or b"\0" in head:
        raise ValueError("a header holds CR, LF or NUL")
    return head
