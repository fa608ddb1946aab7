"""What a client can be told when its call fails: one row for each kind of failure.

A failure is raised as a ``GatewayError`` of one ``Kind`` and rendered, in the dialect of the path that was called, by
``proxy.dialects``. Nothing here knows a wire format beyond the words that the table holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """Why a call failed. The first group is an upstream's doing, the second our own refusal."""

    INVALID_REQUEST = "invalid_request"
    CONTEXT = "context"
    CONTENT_POLICY = "content_policy"
    NOT_FOUND = "not_found"
    TOO_LARGE = "too_large"
    UPSTREAM_AUTH = "upstream_auth"
    UPSTREAM_FORBIDDEN = "upstream_forbidden"
    UPSTREAM_QUOTA = "upstream_quota"
    RATE_LIMIT = "rate_limit"
    OVERLOADED = "overloaded"
    TIMEOUT = "timeout"
    TIMEOUT_CONNECT = "timeout_connect"
    TIMEOUT_FIRST_CONTENT = "timeout_first_content"
    TIMEOUT_IDLE = "timeout_idle"
    TIMEOUT_TOTAL = "timeout_total"
    SERVER = "server"
    MALFORMED = "upstream_malformed"
    DISCONNECTED = "upstream_disconnected"
    UNREACHABLE = "upstream_unreachable"

    BAD_KEY = "bad_key"
    AUTH_RATE = "auth_rate"
    NO_CREDIT = "no_credit"
    MODEL_NOT_ALLOWED = "model_not_allowed"
    KEY_DISABLED = "key_disabled"
    KEY_EXPIRED = "key_expired"
    ADDRESS_NOT_ALLOWED = "address_not_allowed"
    KEY_RATE = "key_rpm"
    KEY_CONCURRENCY = "key_concurrency"
    BUDGET = "budget"
    ALL_LIMITED = "all_limited"
    NOBODY = "nobody"
    HOLDER_AWAY = "holder_away"
    UNKNOWN_MODEL = "unknown_model"
    UNKNOWN_OBJECT = "unknown_object"
    UNSUPPORTED_PARAMETER = "unsupported_parameter"
    UNSUPPORTED_CONTENT = "unsupported_content"
    TOOL_NOT_SUPPORTED = "tool_not_supported"
    PATH_NOT_ALLOWED = "path_not_allowed"
    METHOD = "method"
    SLOW_BODY = "slow_body"
    BODY_TOO_LARGE = "body_too_large"
    ENCODING = "encoding"
    UPGRADE = "upgrade"
    DRAINING = "draining"
    LEDGER = "ledger"
    INTERNAL = "internal"
    CANCELLED = "cancelled"
    CLIENT_CLOSED = "client_closed"


@dataclass(frozen=True, slots=True)
class Row:
    """How one kind is told: HTTP status, the words of each dialect, the metric's ``error_type``.

    ``text`` is the whole message where a client must not see anything more specific: an upstream's words about our
    account are none of its business.
    """

    status: int
    openai_type: str
    code: str | None
    messages_type: str
    gemini_status: str
    error_type: str
    text: str | None = None
    another: bool = False
    """Another account may succeed where this one failed."""


_INVALID = "invalid_request_error"
_SERVER = "server_error"
_RATE = "rate_limit_error"

ROWS: dict[Kind, Row] = {
    Kind.INVALID_REQUEST: Row(400, _INVALID, None, _INVALID, "INVALID_ARGUMENT", "invalid_request"),
    Kind.CONTEXT: Row(
        400, _INVALID, "context_length_exceeded", _INVALID, "INVALID_ARGUMENT", "invalid_request"
    ),
    Kind.CONTENT_POLICY: Row(
        400, _INVALID, "content_policy_violation", _INVALID, "INVALID_ARGUMENT", "content_filtered"
    ),
    Kind.NOT_FOUND: Row(
        404,
        _INVALID,
        "model_not_found",
        "not_found_error",
        "NOT_FOUND",
        "model_unknown",
        another=True,
    ),
    Kind.TOO_LARGE: Row(
        413, _INVALID, "request_too_large", "request_too_large", "INVALID_ARGUMENT", "too_large"
    ),
    Kind.UPSTREAM_AUTH: Row(
        502,
        _SERVER,
        "upstream_auth",
        "api_error",
        "INTERNAL",
        "auth_failed",
        "The upstream account was refused.",
        another=True,
    ),
    Kind.UPSTREAM_FORBIDDEN: Row(
        502,
        _SERVER,
        "upstream_auth",
        "api_error",
        "INTERNAL",
        "auth_failed",
        "The upstream account was refused.",
        another=True,
    ),
    Kind.UPSTREAM_QUOTA: Row(
        503,
        _SERVER,
        "no_healthy_account",
        "overloaded_error",
        "UNAVAILABLE",
        "quota_exhausted",
        "No healthy upstream account is available.",
        another=True,
    ),
    Kind.RATE_LIMIT: Row(
        429,
        _RATE,
        "rate_limit_exceeded",
        _RATE,
        "RESOURCE_EXHAUSTED",
        "upstream_rate_limited",
        "All upstream accounts are rate limited; retry later.",
        another=True,
    ),
    Kind.OVERLOADED: Row(
        503,
        _SERVER,
        "overloaded",
        "overloaded_error",
        "UNAVAILABLE",
        "overloaded",
        "The upstream provider is overloaded; retry later.",
        another=True,
    ),
    Kind.SERVER: Row(
        502,
        _SERVER,
        "upstream_error",
        "api_error",
        "INTERNAL",
        "server_error",
        "The upstream provider returned an error.",
        another=True,
    ),
    Kind.MALFORMED: Row(
        502,
        _SERVER,
        "upstream_malformed",
        "api_error",
        "INTERNAL",
        "bad_response",
        "The upstream provider sent an answer that cannot be read.",
        another=True,
    ),
    Kind.DISCONNECTED: Row(
        502,
        _SERVER,
        "upstream_disconnected",
        "api_error",
        "INTERNAL",
        "truncated",
        "The upstream provider closed the stream early.",
        another=True,
    ),
    Kind.UNREACHABLE: Row(
        502,
        _SERVER,
        "upstream_error",
        "api_error",
        "INTERNAL",
        "connection_failed",
        "The upstream provider could not be reached.",
        another=True,
    ),
    Kind.BAD_KEY: Row(
        401, _INVALID, "invalid_api_key", "authentication_error", "UNAUTHENTICATED", "unauthorized"
    ),
    Kind.AUTH_RATE: Row(
        429,
        _RATE,
        "rate_limit_exceeded",
        _RATE,
        "RESOURCE_EXHAUSTED",
        "rate_limited",
        "Too many requests without a valid API key came from your address.",
    ),
    Kind.NO_CREDIT: Row(
        402,
        "insufficient_quota",
        "insufficient_credits",
        "billing_error",
        "FAILED_PRECONDITION",
        "no_credit",
    ),
    Kind.MODEL_NOT_ALLOWED: Row(
        403, _INVALID, "model_not_allowed", "permission_error", "PERMISSION_DENIED", "not_allowed"
    ),
    Kind.KEY_DISABLED: Row(
        403, _INVALID, "key_disabled", "permission_error", "PERMISSION_DENIED", "not_allowed"
    ),
    Kind.KEY_EXPIRED: Row(
        403, _INVALID, "key_expired", "permission_error", "PERMISSION_DENIED", "not_allowed"
    ),
    Kind.ADDRESS_NOT_ALLOWED: Row(
        403, _INVALID, "address_not_allowed", "permission_error", "PERMISSION_DENIED", "not_allowed"
    ),
    Kind.KEY_RATE: Row(
        429, _RATE, "rate_limit_exceeded", _RATE, "RESOURCE_EXHAUSTED", "rate_limited"
    ),
    Kind.KEY_CONCURRENCY: Row(
        429, _RATE, "concurrency_limit_exceeded", _RATE, "RESOURCE_EXHAUSTED", "rate_limited"
    ),
    Kind.BUDGET: Row(429, _RATE, "budget_exceeded", _RATE, "RESOURCE_EXHAUSTED", "budget_exceeded"),
    Kind.ALL_LIMITED: Row(
        429,
        _RATE,
        "rate_limit_exceeded",
        _RATE,
        "RESOURCE_EXHAUSTED",
        "all_cooling",
        "All upstream accounts are rate limited; retry later.",
    ),
    Kind.NOBODY: Row(
        503,
        _SERVER,
        "no_healthy_account",
        "overloaded_error",
        "UNAVAILABLE",
        "no_account",
        "No healthy upstream account is available.",
    ),
    Kind.HOLDER_AWAY: Row(
        503,
        _SERVER,
        "account_unavailable",
        "overloaded_error",
        "UNAVAILABLE",
        "no_account",
        "What the request refers to is on an upstream account that is not available now, and on no other; retry later.",
    ),
    Kind.UNKNOWN_MODEL: Row(
        404, _INVALID, "model_not_found", "not_found_error", "NOT_FOUND", "model_unknown"
    ),
    Kind.UNKNOWN_OBJECT: Row(
        404, _INVALID, "not_found", "not_found_error", "NOT_FOUND", "invalid_request"
    ),
    Kind.PATH_NOT_ALLOWED: Row(
        403, _INVALID, "path_not_allowed", "permission_error", "PERMISSION_DENIED", "not_allowed"
    ),
    Kind.UNSUPPORTED_PARAMETER: Row(
        400, _INVALID, "unsupported_parameter", _INVALID, "INVALID_ARGUMENT", "invalid_request"
    ),
    Kind.UNSUPPORTED_CONTENT: Row(
        400, _INVALID, "unsupported_content", _INVALID, "INVALID_ARGUMENT", "invalid_request"
    ),
    Kind.TOOL_NOT_SUPPORTED: Row(
        400, _INVALID, "tool_not_supported", _INVALID, "INVALID_ARGUMENT", "invalid_request"
    ),
    Kind.METHOD: Row(
        405, _INVALID, "method_not_allowed", _INVALID, "INVALID_ARGUMENT", "invalid_request"
    ),
    Kind.SLOW_BODY: Row(
        408, _INVALID, "request_timeout", _INVALID, "INVALID_ARGUMENT", "invalid_request"
    ),
    Kind.BODY_TOO_LARGE: Row(
        413, _INVALID, "request_too_large", "request_too_large", "INVALID_ARGUMENT", "too_large"
    ),
    Kind.ENCODING: Row(
        415,
        _INVALID,
        "unsupported_content_encoding",
        _INVALID,
        "INVALID_ARGUMENT",
        "invalid_request",
    ),
    Kind.UPGRADE: Row(
        426, _INVALID, "upgrade_required", _INVALID, "INVALID_ARGUMENT", "invalid_request"
    ),
    Kind.DRAINING: Row(503, _SERVER, "draining", "overloaded_error", "UNAVAILABLE", "draining"),
    Kind.LEDGER: Row(
        503, _SERVER, "ledger_unavailable", "overloaded_error", "UNAVAILABLE", "ledger_unavailable"
    ),
    Kind.INTERNAL: Row(
        500,
        _SERVER,
        "internal_error",
        "api_error",
        "INTERNAL",
        "internal",
        "The gateway failed on this request; the request id leads to its log.",
    ),
    Kind.CANCELLED: Row(
        503,
        _SERVER,
        "cancelled",
        "api_error",
        "CANCELLED",
        "cancelled",
        "The operator of this gateway cancelled the request.",
    ),
    Kind.CLIENT_CLOSED: Row(499, _SERVER, None, "api_error", "CANCELLED", "cancelled"),
}
for _kind in (
    Kind.TIMEOUT,
    Kind.TIMEOUT_CONNECT,
    Kind.TIMEOUT_FIRST_CONTENT,
    Kind.TIMEOUT_IDLE,
    Kind.TIMEOUT_TOTAL,
):
    ROWS[_kind] = Row(
        504,
        _SERVER,
        "timeout",
        "timeout_error",
        "DEADLINE_EXCEEDED",
        # A bare 408 or 504 of an upstream says that it waited for its own model in vain.
        "timeout_first_content" if _kind is Kind.TIMEOUT else str(_kind),
        "The upstream provider timed out.",
        another=True,
    )


class GatewayError(Exception):
    """A call that fails, with everything that its client is to be told.

    ``message`` is ignored for kinds whose row has a fixed text. ``param`` is a path into the client's own body such as
    ``messages[2].content[0]``; ``code`` overrides the row's where an upstream gave a better one; ``retry_after`` is in
    whole seconds; ``evidence`` is what an operator may see in the log and a client never.
    """

    def __init__(
        self,
        kind: Kind,
        message: str = "",
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after: int | None = None,
        evidence: str = "",
        allow: str | None = None,
    ) -> None:
        self.kind = kind
        self.row = ROWS[kind]
        self.status = self.row.status
        """The HTTP status; a native Anthropic pair relays its 529 instead of the row's 503."""
        self.everybody_failed = False
        """More than one account was tried, and all failed: the client's own retries would only multiply ours."""
        self.native_body: bytes | None = None
        """The upstream's own words about the client's own request, where both speak one dialect."""
        self.message = self.row.text or message
        self.param = param
        self.code = code or self.row.code
        self.retry_after = retry_after
        self.evidence = evidence
        self.allow = allow
        """The methods that a path takes, for the Allow header of a 405."""
        super().__init__(self.message)

    def __repr__(self) -> str:
        return f"<GatewayError {self.kind} {self.message!r}>"


def invalid(param: str | None, message: str) -> GatewayError:
    """Return the 400 for a field of the client's body that is not what it must be."""
    return GatewayError(Kind.INVALID_REQUEST, message, param=param)


def unknown_object(name: str, param: str | None = None) -> GatewayError:
    """Return the 404 of what nobody made, what was deleted, and what another key made: which of these it is, it does not say."""
    return GatewayError(
        Kind.UNKNOWN_OBJECT, f"No object with the id `{name[:128]}` was found.", param=param
    )


def unsupported(param: str, message: str) -> GatewayError:
    """Return the 400 for content or a tool that the chosen upstream has no form for."""
    return GatewayError(Kind.UNSUPPORTED_CONTENT, message, param=param)
