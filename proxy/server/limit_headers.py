"""What is left of a key's limits, in the header lines that SDKs read."""

from __future__ import annotations

import math
from datetime import UTC, datetime

from proxy.routing.limits import Left, Standing


def limit_fields(standing: Standing, dialect: str, wall: float) -> bytes:
    """Return the lines of ``x-ratelimit-*`` and, for Anthropic's clients, of ``anthropic-ratelimit-*``.

    Nothing is said of a limit that there is not. ``wall`` is the time since 1970.
    """
    fields = b""
    requests, tokens = standing
    if requests is not None:
        fields = _REQUESTS % (requests[0], requests[1], duration(requests[2]))
    if tokens is not None:
        fields += _TOKENS % (tokens[0], tokens[1], duration(tokens[2]))
    if dialect == "messages":
        if requests is not None:
            fields += _anthropic("requests", requests, wall)
        if tokens is not None:
            fields += _anthropic("tokens", tokens, wall)
    return fields


def duration(seconds: float) -> bytes:
    """Return ``seconds`` as Go writes durations: ``6m0s``, ``1h0m2.5s``, ``20ms``, ``0s``."""
    millis = round(seconds * 1000)
    if millis < 1000:
        return b"%dms" % millis if millis else b"0s"
    minutes, rest = divmod(millis, 60_000)
    hours, minutes = divmod(minutes, 60)
    told = f"{rest / 1000:g}s"
    if hours:
        told = f"{hours}h{minutes}m{told}"
    elif minutes:
        told = f"{minutes}m{told}"
    return told.encode()


def _anthropic(what: str, left: Left, wall: float) -> bytes:
    # Rounded up: who comes back at the second that was told must find it whole.
    back = datetime.fromtimestamp(math.ceil(wall + left.reset), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    name = f"anthropic-ratelimit-{what}"
    return f"{name}-limit: {left.limit}\r\n{name}-remaining: {left.remaining}\r\n{name}-reset: {back}\r\n".encode()


_REQUESTS, _TOKENS = (
    b"x-ratelimit-limit-%b: %%d\r\nx-ratelimit-remaining-%b: %%d\r\nx-ratelimit-reset-%b: %%b\r\n"
    % (what, what, what)
    for what in (b"requests", b"tokens")
)
