"""How a client is told of a provider's refusal, read from the recording by nothing but this file."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Refusal:
    """How a client is told of a failure: the status, OpenAI's ``code`` (None: the upstream's own) and Anthropic's type."""

    status: int
    code: str | None
    kind: str

    @property
    def google(self) -> str:
        """Google's word for it."""
        return _GOOGLES[self.status]


_GOOGLES = {
    400: "INVALID_ARGUMENT", 404: "NOT_FOUND", 413: "INVALID_ARGUMENT", 429: "RESOURCE_EXHAUSTED", 502: "INTERNAL",
    503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED",
}  # fmt: skip
INVALID = Refusal(400, None, "invalid_request_error")
CONTEXT = Refusal(400, "context_length_exceeded", "invalid_request_error")
POLICY = Refusal(400, "content_policy_violation", "invalid_request_error")
ACCOUNT = Refusal(502, "upstream_auth", "api_error")
QUOTA = Refusal(503, "no_healthy_account", "overloaded_error")
LIMITED = Refusal(429, "rate_limit_exceeded", "rate_limit_error")
UNKNOWN = Refusal(404, "model_not_found", "not_found_error")
LARGE = Refusal(413, "request_too_large", "request_too_large")
BUSY = Refusal(503, "overloaded", "overloaded_error")
LATE = Refusal(504, "timeout", "timeout_error")
BROKEN = Refusal(502, "upstream_error", "api_error")
TRUNCATED = Refusal(502, "upstream_disconnected", "api_error")
MALFORMED = Refusal(502, "upstream_malformed", "api_error")

_TOO_LONG = (
    r"context_length_exceeded|maximum context length|prompt is too long|input token count"
    r"|reduce the length of the messages"
)
_WORDS = (
    (CONTEXT, _TOO_LONG),
    (POLICY, r'"code": ?"content_(filter|policy_violation)"'),
    (
        QUOTA,
        r"insufficient_quota|credit balance is too low|PerDay|billing_hard_limit|exceeded your current quota",
    ),
    (ACCOUNT, r"API_KEY_INVALID|invalid_api_key|wrong_api_key"),
)
_STATUSES = {
    401: ACCOUNT, 402: QUOTA, 403: ACCOUNT, 404: UNKNOWN, 408: LATE, 413: LARGE, 429: LIMITED,
    500: BROKEN, 502: BROKEN, 503: BUSY, 504: LATE, 529: BUSY,
}  # fmt: skip


def refusal_of(status: int, body: bytes | Json | str) -> Refusal:
    """Return how a client is told of an answer with an error status, or of an error object with the status inside it."""
    text = body.decode() if isinstance(body, bytes) else json.dumps(body)
    if status in (400, 402, 403, 422, 429):
        for refusal, words in _WORDS:
            if re.search(words, text):
                return refusal
    return _STATUSES.get(status, INVALID if 400 <= status < 500 else BROKEN)


def refusal_inside(error: Json | str) -> Refusal:
    """Return how a client is told of an error object that came with status 200."""
    if not isinstance(error, dict):
        return BROKEN
    for name in ("status_code", "code", "status"):
        if isinstance(error.get(name), int) and error[name] >= 400:
            return refusal_of(error[name], error)
    words = {str(error.get(name)) for name in ("type", "code", "status")}
    if words & {"rate_limit_exceeded", "rate_limit_error", "RESOURCE_EXHAUSTED"}:
        return LIMITED
    if words & {"overloaded_error", "UNAVAILABLE"}:
        return BUSY
    if words & {"invalid_request_error", "INVALID_ARGUMENT"}:
        return refusal_of(400, error)
    return BROKEN
