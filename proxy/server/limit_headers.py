"""What is left of a key's limits, in the header lines that SDKs read."""

from __future__ import annotations

import math
from datetime import UTC, datetime

from proxy.routing.limits import Left, Standing


def limit_fields(standing: Standing, dialect: str, wall: float) -> bytes:
    """Return the lines of ``x-ratelimit-*`` and, for Anthropic's clients, of ``anthropic-ratelimit-*``.

    Nothing is said of a limit that there is not. ``wall`` is the time since 1970.
    """
    lines = []
    for what, left in (("requests", standing.requests), ("tokens", standing.tokens)):
        if left is None:
            continue
        lines.append(
            f"x-ratelimit-limit-{what}: {left.limit}\r\nx-ratelimit-remaining-{what}: {left.remaining}\r\n"
            f"x-ratelimit-reset-{what}: {duration(left.reset)}\r\n"
        )
        if dialect == "messages":
            lines.append(_anthropic(what, left, wall))
    return "".join(lines).encode()


def duration(seconds: float) -> str:
    """Return ``seconds`` as Go writes durations: ``6m0s``, ``1h0m2.5s``, ``20ms``, ``0s``."""
    millis = round(seconds * 1000)
    if millis < 1000:
        return f"{millis}ms" if millis else "0s"
    minutes, rest = divmod(millis, 60_000)
    hours, minutes = divmod(minutes, 60)
    told = f"{rest / 1000:g}s"
    if hours:
        return f"{hours}h{minutes}m{told}"
    return f"{minutes}m{told}" if minutes else told


def _anthropic(what: str, left: Left, wall: float) -> str:
    # Rounded up: who comes back at the second that was told must find it whole.
    back = datetime.fromtimestamp(math.ceil(wall + left.reset), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    name = f"anthropic-ratelimit-{what}"
    return f"{name}-limit: {left.limit}\r\n{name}-remaining: {left.remaining}\r\n{name}-reset: {back}\r\n"
