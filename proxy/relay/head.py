"""The header lines of an answer that are known once an account has answered."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from proxy.dialects.plan import dropped_header
from proxy.money import usd
from proxy.relay.record import Record
from proxy.usage import Usage

_REQUEST_IDS = (b"x-request-id", b"request-id", b"x-goog-request-id", b"cf-ray")
_LONGEST_ID = 128


def upstream_request_id(headers: Mapping[bytes, bytes]) -> str | None:
    """Return the provider's own id of a request, by which its support finds it."""
    for name in _REQUEST_IDS:
        value = headers.get(name)
        if value:
            return value[:_LONGEST_ID].decode("ascii", "replace")
    return None


def dropped_fields(dropped: frozenset[str]) -> bytes:
    """Return the line that names the parameters that were not sent on; nothing if there are none."""
    return b"x-splice-dropped: %b\r\n" % dropped_header(dropped).encode() if dropped else b""


def timing_fields(record: Record, started: float, now: float) -> bytes:
    """Return the line that tells where the time went, in milliseconds; ``started`` is when the key's request was let in."""
    first = record.first_byte or now
    upstream = first - started - record.connect - record.queue
    return (
        b"server-timing: auth;dur=%.1f, queue;dur=%.1f, connect;dur=%.1f, ttfb;dur=%.1f, gateway;dur=%.1f\r\n"
        % (
            (started - record.started) * 1000,
            record.queue * 1000,
            record.connect * 1000,
            max(upstream, 0.0) * 1000,
            (now - first) * 1000,
        )
    )


def exposed_fields(expose: Collection[str], record: Record, upstream_id: str | None) -> bytes:
    """Return the lines that an operator chose to show: a reseller may not want any of them seen."""
    lines = []
    for name, header, value in (
        ("account", "x-splice-account", record.account),
        ("upstream_model", "x-splice-model", record.upstream_model),
        ("attempts", "x-splice-attempts", str(record.attempts)),
        ("upstream_request_id", "x-splice-upstream-request-id", upstream_id),
    ):
        if name in expose and value is not None and value.isascii() and value.isprintable():
            lines.append(f"{header}: {value}\r\n")
    return "".join(lines).encode()


def cost_field(price_micro: int) -> bytes:
    """Return the line that tells what the key pays for an answer that is sent whole, in USD."""
    return b"x-splice-cost-usd: %b\r\n" % usd(price_micro).encode()


def usage_fields(usage: Usage | None) -> bytes:
    """Return the token counts of an answer that is sent whole."""
    if usage is None:
        return b""
    return (
        b"x-splice-tokens-input: %d\r\nx-splice-tokens-output: %d\r\n"
        b"x-splice-tokens-cache-read: %d\r\nx-splice-tokens-cache-write: %d\r\n"
        % (usage.input, usage.output, usage.cache_read, usage.cache_writes)
    )
