"""What an upstream's refusal means: from its status, headers and body to one kind of failure.

Every provider has its own error shape, so the body is searched for the words that matter wherever they stand. What the
client may read of it is decided by the kind (``proxy.errors``): the text of a refused account never leaves.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from proxy.errors import GatewayError, Kind

MAX_MESSAGE = 1000
"""Characters of an upstream's message that a client gets to read."""

_CONTEXT_WORDS = re.compile(
    r"prompt is too long|maximum context length|context[_ ]length[_ ]exceeded|reduce the length of the messages"
    r"|input token count",
    re.IGNORECASE,
)
_POLICY_CODES = {"content_policy_violation", "content_filter", "ResponsibleAIPolicyViolation"}
_QUOTA_CODES = {
    "insufficient_quota",
    "billing_hard_limit_reached",
    "credit_balance_exhausted",
    "exceeded_current_quota_error",
    "contract_spend_limit_reached",
    "enforced_spend_limit_reached",
    "billing_error",
    "usage_not_included",
}
_QUOTA_WORDS = re.compile(
    r"credit balance is too low|insufficient balance|exceeded your current quota", re.IGNORECASE
)
_AUTH_REASONS = {"API_KEY_INVALID", "API_KEY_EXPIRED", "ACCESS_TOKEN_EXPIRED"}
_AUTH_CODES = {
    "invalid_api_key",
    "wrong_api_key",
    "authentication_error",
    "organization_on_hold",
    "invalid_authentication",
}
_OVERLOADED_CODES = {
    "overloaded_error",
    "overloaded",
    "server_is_overloaded",
    "service_unavailable",
    "UNAVAILABLE",
}
_RATE_CODES = {
    "rate_limit_error",
    "rate_limit_exceeded",
    "RESOURCE_EXHAUSTED",
    "ramp_limit_exceeded",
    "requests",
    "tokens",
}
_TIMEOUT_CODES = {"timeout_error", "DEADLINE_EXCEEDED", "timeout"}
_NOT_FOUND_CODES = {"not_found_error", "model_not_found", "NOT_FOUND"}
_INVALID_CODES = {
    "invalid_request_error",
    "INVALID_ARGUMENT",
    "FAILED_PRECONDITION",
    "OUT_OF_RANGE",
    "tool_use_failed",
}
_FORBIDDEN_CODES = {"permission_error", "PERMISSION_DENIED", "permission_denied"}
_OWN_FAULT = re.compile(r"invalid_prompt|invalid_image\w*|image_\w+|\w*bio_policy")
"""Codes by which OpenAI's streams say that the request itself is at fault."""
_SECRET = re.compile(r"\b(?:sk|pk|gsk|xai|AIza|key)[-_]?[\w*-]{8,}")
"""Providers repeat the key that they refuse, or part of it."""
_LONGEST_WAIT = 30 * 86_400.0
"""Seconds: a month is the longest that a quota lasts, and more digits than that are a mistake."""
_DURATION = re.compile(r"(\d+(?:\.\d+)?)s")


@dataclass(slots=True)
class Evidence:
    """What an error body says, in whatever shape it says it: every code-like word, one message, one parameter."""

    words: set[str] = field(default_factory=set)
    message: str = ""
    code: str | None = None
    param: str | None = None
    status: int | None = None
    retry_after: float | None = None
    daily_quota: bool = False
    moderation: bool = False


def classify(status: int, headers: Mapping[bytes, bytes], body: bytes) -> GatewayError:
    """Return the failure that an upstream's answer with an error status stands for.

    ``headers`` have lower-case names. The body may be anything.
    """
    evidence = read_evidence(_json(body))
    kind = _kind(status, evidence)
    return _error(
        kind,
        evidence,
        retry_after(headers, evidence),
        f"{status} {body[:1024].decode('utf-8', 'replace')}",
    )


def classify_event(error: object) -> GatewayError:
    """Return the failure that an error object inside a 200 stands for: a dict, a string, or anything."""
    evidence = read_evidence(
        {"error": error} if not (isinstance(error, dict) and "error" in error) else error
    )
    told = evidence.status
    kind = _kind(told if told is not None and told >= 400 else None, evidence)
    return _error(kind, evidence, retry_after({}, evidence), str(error)[:1024])


def own_param(error: GatewayError) -> str | None:
    """Return the place in the client's body that ``error`` is about.

    What an upstream complains of stands in the body that we wrote, and its place there says nothing to the client of another
    dialect.
    """
    return None if error.evidence else error.param


def read_evidence(document: object) -> Evidence:
    """Return what an error document says.

    Known shapes: ``{"error": {…}}``, ``{"error": "text"}``, ``{"detail": …}``, ``{"message", "code"}``, a list of one such
    object, and none at all.
    """
    evidence = Evidence()
    if isinstance(document, list) and document:
        document = document[0]
    if not isinstance(document, dict):
        return evidence
    inner = document.get("error") or document.get("detail") or document
    if isinstance(inner, str):
        evidence.message = inner
        inner = document
    elif isinstance(inner, list):
        evidence.message = _joined(inner)
        inner = document
    if isinstance(inner, dict):
        _read_object(inner, evidence)
    return evidence


def retry_after(headers: Mapping[bytes, bytes], evidence: Evidence) -> int | None:
    """Return the whole seconds to wait, rounded up: ``retry-after-ms``, else ``retry-after``, else the body's hint.

    Negative, endless and unreadable values count as not said; an HTTP date too, since clocks differ.
    """
    for name, unit in ((b"retry-after-ms", 0.001), (b"retry-after", 1.0)):
        try:
            seconds = float(headers[name]) * unit
        except (KeyError, ValueError):
            continue
        if 0 <= seconds < math.inf:
            return math.ceil(min(seconds, _LONGEST_WAIT))
    if evidence.retry_after is None:
        return None
    return math.ceil(min(evidence.retry_after, _LONGEST_WAIT))


def _read_object(error: dict[str, Any], evidence: Evidence) -> None:
    for key in ("type", "code", "status", "error_code", "reason"):
        value = error.get(key)
        if isinstance(value, str):
            evidence.words.add(value)
        elif type(value) is int and evidence.status is None:
            evidence.status = value
    if type(error.get("status_code")) is int:
        evidence.status = error["status_code"]
    code = error.get("code")
    evidence.code = code if isinstance(code, str) else None
    message = error.get("message")
    if isinstance(message, str) and message:
        evidence.message = message
    elif isinstance(message, dict) and isinstance(message.get("detail"), str):
        evidence.message = message["detail"]
    elif isinstance(message, dict) and isinstance(message.get("detail"), list):
        evidence.message = _joined(message["detail"])
    param = error.get("param")
    evidence.param = param if isinstance(param, str) else None
    details = error.get("details")
    for detail in details if isinstance(details, list) else [details]:
        if isinstance(detail, dict):
            _read_detail(detail, evidence)
    metadata = error.get("metadata")
    if isinstance(metadata, dict):
        evidence.moderation = "flagged_input" in metadata or "reasons" in metadata
        if isinstance(metadata.get("error_type"), str):
            evidence.words.add(metadata["error_type"])
    inner = error.get("innererror")
    if isinstance(inner, dict) and isinstance(inner.get("code"), str):
        evidence.words.add(inner["code"])


def _joined(details: list[Any]) -> str:
    """Return what FastAPI says of each field of a request."""
    return "; ".join(
        str(entry["msg"]) for entry in details if isinstance(entry, dict) and entry.get("msg")
    )


def _read_detail(detail: dict[str, Any], evidence: Evidence) -> None:
    for key in ("reason", "error_code"):
        if isinstance(detail.get(key), str):
            evidence.words.add(detail[key])
    delay = detail.get("retryDelay")
    if isinstance(delay, str) and (told := _DURATION.fullmatch(delay)):
        seconds = float(told[1])
        evidence.retry_after = seconds if seconds < math.inf else None
    violations = detail.get("violations")
    for violation in violations if isinstance(violations, list) else ():
        if isinstance(violation, dict) and "PerDay" in str(violation.get("quotaId")):
            evidence.daily_quota = True


def _kind(status: int | None, evidence: Evidence) -> Kind:
    """Return the kind for a status (None inside a stream that began as 200) and what the body says."""
    words = evidence.words
    if (
        words & _QUOTA_CODES
        or any(w.endswith("_spend_limit_exceeded") for w in words)
        or evidence.daily_quota
    ):
        return Kind.UPSTREAM_QUOTA
    # Gemini says "exceeded your current quota" of every limit; of the daily ones it says so in the details.
    is_quota = "RESOURCE_EXHAUSTED" not in words and _QUOTA_WORDS.search(evidence.message)
    if status == 402 or is_quota:
        return Kind.UPSTREAM_QUOTA
    if words & _AUTH_REASONS or words & _AUTH_CODES or status == 401:
        return Kind.UPSTREAM_AUTH
    if words & _POLICY_CODES or evidence.moderation:
        return Kind.CONTENT_POLICY
    if _is_context(status, evidence):
        return Kind.CONTEXT
    if status is not None:
        found = _BY_STATUS.get(status)
        if found is not None:
            return Kind.OVERLOADED if found is Kind.SERVER and words & _OVERLOADED_CODES else found
        if 400 <= status < 500:
            return Kind.INVALID_REQUEST
        return Kind.SERVER
    if any(_OWN_FAULT.fullmatch(word) for word in words):
        return Kind.INVALID_REQUEST
    for known, kind in _BY_WORD:
        if words & known:
            return kind
    return Kind.SERVER


def _is_context(status: int | None, evidence: Evidence) -> bool:
    if status is not None and not 400 <= status < 500:
        return False
    return status != 429 and bool(
        "context_length_exceeded" in evidence.words or _CONTEXT_WORDS.search(evidence.message)
    )


def _error(kind: Kind, evidence: Evidence, wait: int | None, told: str) -> GatewayError:
    error = GatewayError(
        kind,
        evidence.message[:MAX_MESSAGE] or "The upstream provider refused the request.",
        param=evidence.param,
        retry_after=wait,
        evidence=_SECRET.sub("***", told),
    )
    if kind is Kind.INVALID_REQUEST:
        error.code = evidence.code
    return error


def _json(body: bytes) -> object:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


_BY_STATUS: dict[int, Kind] = {
    400: Kind.INVALID_REQUEST,
    403: Kind.UPSTREAM_FORBIDDEN,
    404: Kind.NOT_FOUND,
    408: Kind.TIMEOUT,
    409: Kind.SERVER,
    413: Kind.TOO_LARGE,
    422: Kind.INVALID_REQUEST,
    429: Kind.RATE_LIMIT,
    500: Kind.SERVER,
    502: Kind.SERVER,
    503: Kind.OVERLOADED,
    504: Kind.TIMEOUT,
    529: Kind.OVERLOADED,
}

_BY_WORD: tuple[tuple[set[str], Kind], ...] = (
    (_OVERLOADED_CODES, Kind.OVERLOADED),
    (_RATE_CODES, Kind.RATE_LIMIT),
    (_TIMEOUT_CODES, Kind.TIMEOUT),
    (_NOT_FOUND_CODES, Kind.NOT_FOUND),
    (_FORBIDDEN_CODES, Kind.UPSTREAM_FORBIDDEN),
    ({"request_too_large"}, Kind.TOO_LARGE),
    (_INVALID_CODES, Kind.INVALID_REQUEST),
)
