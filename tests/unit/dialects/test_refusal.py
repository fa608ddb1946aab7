from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.dialects.refusal import MAX_MESSAGE, classify, classify_event, read_evidence
from proxy.errors import GatewayError, Kind


def refused(status: int, body: Any, **headers: str) -> GatewayError:
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    return classify(
        status,
        {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()},
        raw,
    )


def error(**fields: Any) -> dict[str, Any]:
    return {"error": fields}


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, Kind.INVALID_REQUEST),
        (401, Kind.UPSTREAM_AUTH),
        (402, Kind.UPSTREAM_QUOTA),
        (403, Kind.UPSTREAM_FORBIDDEN),
        (404, Kind.NOT_FOUND),
        (408, Kind.TIMEOUT),
        (409, Kind.SERVER),
        (413, Kind.TOO_LARGE),
        (418, Kind.INVALID_REQUEST),
        (422, Kind.INVALID_REQUEST),
        (429, Kind.RATE_LIMIT),
        (500, Kind.SERVER),
        (503, Kind.OVERLOADED),
        (504, Kind.TIMEOUT),
        (522, Kind.SERVER),
        (529, Kind.OVERLOADED),
    ],
)
@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"5", b"{}", b'{"error":null}'])
def test_a_status_alone_says_what_happened(status, kind, body):
    assert refused(status, body).kind is kind


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        # Credit, wherever it is said.
        (429, error(code="insufficient_quota"), Kind.UPSTREAM_QUOTA),
        (429, error(type="exceeded_current_quota_error"), Kind.UPSTREAM_QUOTA),
        (429, error(code="org_spend_limit_exceeded"), Kind.UPSTREAM_QUOTA),
        (
            400,
            error(message="Your credit balance is too low to access the API."),
            Kind.UPSTREAM_QUOTA,
        ),
        (
            429,
            error(type="rate_limit_error", details={"error_code": "contract_spend_limit_reached"}),
            Kind.UPSTREAM_QUOTA,
        ),
        (
            429,
            error(details=[{"violations": [{"quotaId": "RequestsPerDayPerProject"}, 5]}]),
            Kind.UPSTREAM_QUOTA,
        ),
        (429, error(details=[{"violations": [{"quotaId": "RequestsPerMinute"}]}]), Kind.RATE_LIMIT),
        # A credential of ours.
        (
            400,
            error(status="INVALID_ARGUMENT", details=[{"reason": "API_KEY_INVALID"}]),
            Kind.UPSTREAM_AUTH,
        ),
        (403, error(type="authentication_error"), Kind.UPSTREAM_AUTH),
        (400, {"message": "Wrong key", "code": "wrong_api_key"}, Kind.UPSTREAM_AUTH),
        # What was asked.
        (
            400,
            error(code="content_filter", innererror={"code": "ResponsibleAIPolicyViolation"}),
            Kind.CONTENT_POLICY,
        ),
        (400, error(innererror={"code": "ResponsibleAIPolicyViolation"}), Kind.CONTENT_POLICY),
        (403, error(metadata={"reasons": [], "flagged_input": "x"}), Kind.CONTENT_POLICY),
        (400, error(code="context_length_exceeded"), Kind.CONTEXT),
        (400, error(message="prompt is too long: 210000 tokens"), Kind.CONTEXT),
        (413, error(message="Please reduce the length of the messages"), Kind.CONTEXT),
        (429, error(message="maximum context length"), Kind.RATE_LIMIT),
        (500, error(message="maximum context length"), Kind.SERVER),
        # Overload under a status of its own.
        (500, error(code="server_is_overloaded"), Kind.OVERLOADED),
        (502, error(metadata={"error_type": "overloaded"}), Kind.OVERLOADED),
    ],
)
def test_the_body_may_say_it_better(status, body, kind):
    assert refused(status, body).kind is kind


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (error(message="no"), "no"),
        ({"error": "Invalid credentials"}, "Invalid credentials"),
        ({"detail": "Unauthorized"}, "Unauthorized"),
        ({"detail": [{"msg": "a"}, {"msg": "b"}, {}, 5]}, "a; b"),
        ({"error": None, "message": "flat"}, "flat"),
        ({"object": "error", "message": {"detail": "deep"}}, "deep"),
        ({"object": "error", "message": {"detail": [{"msg": "a"}, {"msg": "b"}]}}, "a; b"),
        ([error(message="listed")], "listed"),
        (error(message=5), "The upstream provider refused the request."),
        (b"<html>", "The upstream provider refused the request."),
    ],
)
def test_every_provider_has_its_own_error_shape(body, message):
    assert refused(400, body).message == message


def test_a_client_keeps_the_place_and_the_code_of_its_own_mistake():
    told = refused(400, error(message="m" * 2000, param="temperature", code="invalid_value"))
    assert (told.param, told.code) == ("temperature", "invalid_value")
    assert len(told.message) == MAX_MESSAGE
    assert refused(400, error(param=5, code=5)).code is None


def test_what_a_provider_says_of_our_account_is_for_the_operator_only():
    told = refused(401, error(message="Incorrect API key provided: sk-abcdef1234567890, org-1"))
    assert told.message == "The upstream account was refused."
    assert "org-1" in told.evidence
    assert "sk-abcdef1234567890" not in told.evidence


@pytest.mark.parametrize(
    ("headers", "body", "seconds"),
    [
        ({"retry_after": "7"}, {}, 7),
        ({"retry_after": "0.2"}, {}, 1),
        ({"retry_after_ms": "1500", "retry_after": "9"}, {}, 2),
        ({"retry_after_ms": "soon", "retry_after": "9"}, {}, 9),
        ({"retry_after": "-1"}, {}, None),
        ({"retry_after": "inf"}, {}, None),
        ({"retry_after": "nan"}, {}, None),
        ({"retry_after": "Fri, 20 Nov 2026 10:00:00 GMT"}, {}, None),
        ({}, error(details=[{"retryDelay": "17s"}]), 17),
        ({}, error(details=[{"retryDelay": "0.5s"}]), 1),
        ({"retry_after": "3"}, error(details=[{"retryDelay": "17s"}]), 3),
        ({}, error(details=[{"retryDelay": "9" * 400 + "s"}]), None),
        ({}, error(details=[{"retryDelay": "soon"}]), None),
        ({}, {}, None),
    ],
)
def test_how_long_to_wait(headers, body, seconds):
    assert refused(429, body, **headers).retry_after == seconds


@pytest.mark.parametrize(
    ("told", "kind"),
    [
        ("boom", Kind.SERVER),
        (5, Kind.SERVER),
        ({"error": {"type": "overloaded_error"}}, Kind.OVERLOADED),
        ({"type": "rate_limit_error"}, Kind.RATE_LIMIT),
        ({"type": "requests", "code": "rate_limit_exceeded"}, Kind.RATE_LIMIT),
        ({"type": "timeout_error"}, Kind.TIMEOUT),
        ({"code": "model_not_found"}, Kind.NOT_FOUND),
        ({"type": "permission_error"}, Kind.UPSTREAM_FORBIDDEN),
        ({"type": "request_too_large"}, Kind.TOO_LARGE),
        ({"type": "invalid_request_error"}, Kind.INVALID_REQUEST),
        ({"code": "invalid_prompt", "type": "server_error"}, Kind.INVALID_REQUEST),
        ({"code": "image_too_small"}, Kind.INVALID_REQUEST),
        ({"code": "server_error"}, Kind.SERVER),
        ({"code": "tool_use_failed", "status_code": 400}, Kind.INVALID_REQUEST),
        ({"code": 502, "message": "Provider returned error"}, Kind.SERVER),
        ({"code": 429, "status_code": 503}, Kind.OVERLOADED),
        ({"code": 200, "type": "overloaded_error"}, Kind.OVERLOADED),
        ({"message": "This model's maximum context length is 10"}, Kind.CONTEXT),
    ],
)
def test_an_error_inside_a_200_says_so_in_words(told, kind):
    assert classify_event(told).kind is kind


KEYS = [
    "error",
    "detail",
    "message",
    "code",
    "type",
    "details",
    "metadata",
    "innererror",
    "retryDelay",
    "violations",
    "msg",
]
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-999, 999)
    | st.floats(allow_nan=False)
    | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(JSON, st.integers(300, 599))
def test_any_body_is_one_kind_of_failure(document, status):
    assert isinstance(classify(status, {}, orjson.dumps(document)), GatewayError)
    assert isinstance(classify_event(document), GatewayError)
    assert read_evidence(document) is not None


def test_geminis_limit_by_the_minute_is_no_spent_quota():
    error = {
        "code": 429,
        "message": "You exceeded your current quota, please check your plan and billing details.",
        "status": "RESOURCE_EXHAUSTED",
        "details": [
            {"violations": [{"quotaId": "GenerateRequestsPerMinutePerProjectPerModel-FreeTier"}]},
            {"retryDelay": "17s"},
        ],
    }
    refused = classify(429, {}, orjson.dumps({"error": error}))
    assert (refused.kind, refused.retry_after) == (Kind.RATE_LIMIT, 17)


def test_a_wait_of_ages_is_cut_to_a_month():
    refused = classify(429, {b"retry-after": b"99999999999999999999"}, b"")
    assert refused.retry_after == 30 * 86_400
