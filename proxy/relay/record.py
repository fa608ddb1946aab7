"""What is known of one request when it has ended: what its log line tells, and later its bill."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from proxy.errors import GatewayError
from proxy.usage import Usage


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
    usage: Usage | None = None
    error: GatewayError | None = None
    queue: float = 0.0
    connect: float = 0.0
    first_byte: float | None = None
    first_content: float | None = None
    ended: float = 0.0

    def fields(self) -> dict[str, Any]:
        """Return the fields of the log line; what is None is left out of it."""
        usage = self.usage
        return {
            "request_id": self.request_id,
            "client_request_id": self.client_request_id,
            "trace_id": self.trace_id,
            "key": self.key,
            "team": self.team,
            "route": self.route,
            "dialect": self.dialect,
            "model": self.model,
            "upstream_model": self.upstream_model,
            "account": self.account,
            "status": self.status,
            "error_type": self.error.row.error_type if self.error is not None else None,
            # What the client was not told; an error about its own words may quote them.
            "evidence": self.error.evidence
            if self.error is not None and self.error.row.text is not None
            else None,
            "stream": self.stream,
            "attempts": self.attempts,
            "input_tokens": usage.input if usage else None,
            "output_tokens": usage.output if usage else None,
            "cache_read_tokens": usage.cache_read if usage else None,
            "cache_write_tokens": usage.cache_writes if usage else None,
            "estimated": True if usage and usage.estimated else None,
            "duration_s": round(self.ended - self.started, 6),
            "ttft_s": None
            if self.first_content is None
            else round(self.first_content - self.started, 6),
            "queue_s": round(self.queue, 6),
        }
