"""What is known of one request when it has ended: what its log line tells, and later its bill."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from proxy.errors import GatewayError
from proxy.usage import Usage

_WHO_AND_WHERE = (
    "key",
    "team",
    "client_request_id",
    "trace_id",
    "model",
    "upstream_model",
    "account",
)


@dataclass(slots=True, kw_only=True)
class Record:
    """Filled while the request runs; times in seconds. ``status`` is what the client got, 499 if it left before that."""

    request_id: str
    started: float
    route: str
    dialect: str
    key: str | None = None
    team: str | None = None
    client_request_id: str | None = None
    trace_id: str | None = None
    model: str | None = None
    upstream_model: str | None = None
    account: str | None = None
    provider: str | None = None
    upstream_request_id: str | None = None
    answer_id: str | None = None
    status: int = 0
    stream: bool = False
    attempts: int = 0
    asking: bool = False
    """An account was asked and has not refused: the call does not wait for one."""
    usage: Usage | None = None
    cost_micro: int = 0
    """What we pay for it, in micro-USD."""
    price_micro: int = 0
    """What the key pays for it."""
    error: GatewayError | None = None
    upload: float = 0.0
    """How long the client's body was waited for."""
    queue: float = 0.0
    connect: float = 0.0
    upstream: float = 0.0
    """How long upstreams were waited for."""
    max_gap: float = 0.0
    """The longest silence of the upstream within a stream, as far as it was looked for."""
    first_byte: float | None = None
    first_content: float | None = None
    ended: float = 0.0

    def fields(self) -> dict[str, Any]:
        """Return the fields of the log line; what is not known is left out of it."""
        fields: dict[str, Any] = {
            "request_id": self.request_id,
            "route": self.route,
            "dialect": self.dialect,
            "status": self.status,
            "stream": self.stream,
            "attempts": self.attempts,
            "duration_s": round(self.ended - self.started, 6),
            "queue_s": round(self.queue, 6),
        }
        for name in _WHO_AND_WHERE:
            value = getattr(self, name)
            if value is not None:
                fields[name] = value
        if self.first_content is not None:
            fields["ttft_s"] = round(self.first_content - self.started, 6)
        usage = self.usage
        if usage is not None:
            fields["input_tokens"] = usage.input
            fields["output_tokens"] = usage.output
            fields["cache_read_tokens"] = usage.cache_read
            fields["cache_write_tokens"] = usage.cache_writes
            if usage.estimated:
                fields["estimated"] = True
        error = self.error
        if error is not None:
            fields["error_type"] = error.row.error_type
            if error.row.text is not None:
                # What the client was not told. An error about its own words may quote them.
                fields["evidence"] = error.evidence
        return fields
