from __future__ import annotations

import pytest

from proxy.errors import ROWS, GatewayError, Kind, invalid, unsupported


def test_every_kind_has_a_row():
    assert set(ROWS) == set(Kind)


def test_only_statuses_that_a_client_knows():
    assert {row.status for row in ROWS.values()} <= {
        400, 401, 402, 403, 404, 405, 408, 413, 415, 426, 429, 499, 500, 502, 503, 504,
    }  # fmt: skip


def test_types_of_both_dialects_are_of_closed_sets():
    assert {row.openai_type for row in ROWS.values()} == {
        "invalid_request_error",
        "server_error",
        "rate_limit_error",
        "insufficient_quota",
    }
    assert {row.messages_type for row in ROWS.values()} == {
        "invalid_request_error",
        "authentication_error",
        "billing_error",
        "permission_error",
        "not_found_error",
        "request_too_large",
        "rate_limit_error",
        "api_error",
        "overloaded_error",
        "timeout_error",
    }


@pytest.mark.parametrize("kind", [kind for kind in Kind if ROWS[kind].text])
def test_an_upstreams_words_never_leave_where_the_row_has_its_own(kind):
    error = GatewayError(kind, "account org-secret is over its limit", evidence="org-secret")
    assert "secret" not in error.message
    assert "secret" not in str(error)
    assert "secret" not in repr(error)


def test_what_another_account_may_do_better_never_quotes_the_upstream():
    quoting = {kind for kind, row in ROWS.items() if row.another and row.text is None}
    # Whether a model exists is the client's business.
    assert quoting == {Kind.NOT_FOUND}


def test_a_better_code_beats_the_rows():
    assert GatewayError(Kind.CONTEXT).code == "context_length_exceeded"
    assert (
        GatewayError(Kind.CONTEXT, code="string_above_max_length").code == "string_above_max_length"
    )


def test_the_timeouts_differ_for_the_operator_and_not_for_the_client():
    timeouts = [kind for kind in Kind if kind.startswith("timeout")]
    assert len(timeouts) == 5
    assert {ROWS[kind].status for kind in timeouts} == {504}
    assert ROWS[Kind.TIMEOUT_IDLE].error_type == "timeout_idle"
    assert ROWS[Kind.TIMEOUT].error_type == "timeout_first_content"


def test_a_wrong_field_and_content_without_a_form_are_told_with_their_place():
    error = invalid("messages[0].role", "no such role")
    assert (error.kind, error.param, error.message) == (
        Kind.INVALID_REQUEST,
        "messages[0].role",
        "no such role",
    )
    assert unsupported("messages[1]", "x").kind is Kind.UNSUPPORTED_CONTENT


def test_repr_is_what_the_log_shows():
    assert repr(invalid(None, "no")) == "<GatewayError invalid_request 'no'>"
