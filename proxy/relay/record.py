"""What is known of one request when it has ended: what its log line tells, and what the ledger keeps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from proxy.billing.entry import Row
from proxy.errors import GatewayError
from proxy.usage import Usage

_NOTHING = Usage()
_LONGEST = 256
"""Characters of what a client or an upstream made up, as far as the ledger keeps it."""


@dataclass(slots=True, kw_only=True)
class Record:
    """Filled while the request runs; times in seconds. ``status`` is what the client got, 499 if it left before that."""

    request_id: str
    started: float
    route: str
    dialect: str
    key: str | None = None
    key_hash: str | None = None
    """Set where a known key calls a model: such a request is kept in the ledger, however it ends."""
    team: str | None = None
    client_request_id: str | None = None
    trace_id: str | None = None
    model: str | None = None
    model_asked: str | None = None
    """The name that the client used; ``model`` is the one that it stands for."""
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
    events: int = 0
    """Of a stream that had its say: the events with content."""
    cost_micro: int = 0
    """What we pay for it, in micro-USD."""
    price_micro: int = 0
    """What the key pays for it."""
    key_drawn_micro: int = 0
    """What of the price came out of the credit of the key."""
    team_drawn_micro: int = 0
    priced: bool = True
    """False: nobody knows what its tokens cost, so they are recorded at nothing."""
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
            "queue_s": round(self.queue, 6) if self.queue else 0.0,
            "key": self.key,
            "model": self.model,
            "upstream_model": self.upstream_model,
            "account": self.account,
        }
        if self.account is None:
            # A request that was refused has less to tell.
            fields = {name: value for name, value in fields.items() if value is not None}
        if self.team is not None:
            fields["team"] = self.team
        if self.client_request_id is not None:
            fields["client_request_id"] = self.client_request_id
        if self.trace_id is not None:
            fields["trace_id"] = self.trace_id
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
            if not self.priced:
                fields["unpriced"] = True
            # Of so few digits, the nearest float prints as the decimal that it is nearest to.
            fields["cost_usd"] = self.cost_micro / 1_000_000
            if self.price_micro != self.cost_micro:
                fields["price_usd"] = self.price_micro / 1_000_000
        error = self.error
        if error is not None:
            fields["error_type"] = error.row.error_type
            if error.row.text is not None:
                # What the client was not told. An error about its own words may quote them.
                fields["evidence"] = error.evidence
        return fields

    def row(self, wall: float) -> Row:
        """Return what the ledger keeps of a request that has ended just now, which is ``wall`` seconds after 1970."""
        usage = self.usage or _NOTHING
        started = self.started
        duration = self.ended - started
        error = self.error
        content = self.first_content
        team = self.team
        answer_id, asked, tier = self.answer_id, self.model_asked, usage.tier
        return (
            self.request_id,
            answer_id and answer_id[:_LONGEST],
            int((wall - duration) * 1e6),
            self.key_hash,
            self.key,
            team,
            f"team:{team}" if team is not None else f"key:{self.key}",
            self.route,
            self.dialect,
            asked and asked[:_LONGEST],
            self.model,
            self.upstream_model,
            self.provider,
            self.account,
            self.status,
            error.row.error_type if error is not None else None,
            self.stream,
            self.attempts,
            *usage[:9],
            tier and tier[:_LONGEST],
            usage.estimated,
            self.cost_micro,
            self.price_micro,
            int(duration * 1e6),
            int(self.queue * 1e6),
            int(self.connect * 1e6),
            int((content - started) * 1e6) if content is not None else None,
            self.upstream_request_id,
            self.client_request_id,
            self.trace_id,
            self.key_drawn_micro,
            self.team_drawn_micro,
        )
