"""What the log line of a request tells."""

from __future__ import annotations

import orjson

from proxy.billing.entry import named
from proxy.errors import GatewayError, Kind
from proxy.relay.record import Record
from proxy.usage import Usage


def record(**fields) -> Record:
    return Record(
        request_id="req_1", started=10.0, route="/v1/messages", dialect="messages", **fields
    )


def test_a_call_that_went_well():
    made = record(
        key="k", model="smart", upstream_model="m", account="a", status=200, stream=True, attempts=1,
        usage=Usage(input=5, cache_read=3, cache_write=2, cache_write_1h=1, output=7), first_content=10.25, ended=12.5,
    )  # fmt: skip
    fields = made.fields()
    assert fields["duration_s"] == 2.5
    assert fields["ttft_s"] == 0.25
    assert (fields["input_tokens"], fields["output_tokens"], fields["cache_read_tokens"]) == (
        5,
        7,
        3,
    )
    assert fields["cache_write_tokens"] == 3
    assert (fields["key"], fields["model"], fields["upstream_model"], fields["account"]) == (
        "k",
        "smart",
        "m",
        "a",
    )
    assert not {"error_type", "evidence", "estimated", "team", "trace_id"} & fields.keys()


def test_what_it_cost_is_told_exactly_and_what_was_paid_where_that_is_not_the_same():
    fields = record(usage=Usage(), cost_micro=8_050, price_micro=8_050).fields()
    assert orjson.dumps(fields["cost_usd"]) == b"0.00805"
    assert "price_usd" not in fields
    fields = record(usage=Usage(), cost_micro=900_000_000_000_001, price_micro=1).fields()
    assert orjson.dumps(fields["cost_usd"]) == b"900000000.000001"
    assert fields["price_usd"] == 1e-6
    assert "cost_usd" not in record(status=502).fields()
    assert "unpriced" not in fields
    assert record(usage=Usage(), priced=False).fields()["unpriced"] is True


def test_an_estimate_says_that_it_is_one():
    assert record(usage=Usage(output=1, estimated=True)).fields()["estimated"] is True


def test_a_failure_tells_the_operator_what_the_client_was_not_told():
    fields = record(
        status=502, error=GatewayError(Kind.SERVER, evidence="what the upstream said")
    ).fields()
    assert (fields["error_type"], fields["evidence"]) == ("server_error", "what the upstream said")


def test_what_may_quote_the_client_is_not_logged():
    fields = record(
        status=400, error=GatewayError(Kind.INVALID_REQUEST, "found 'a secret prompt'")
    ).fields()
    assert fields["error_type"] == "invalid_request"
    assert "a secret prompt" not in str(fields)


def test_the_row_for_the_ledger():
    made = record(
        key="k", key_hash="a" * 64, team="red", model="smart", model_asked="best", upstream_model="m", account="a", provider="p",
        status=200, stream=True, attempts=2, usage=Usage(1, 2, 3, 4, 5, 6, 7, 8, 9, "flex", estimated=True),
        cost_micro=10, price_micro=11, key_drawn_micro=11, team_drawn_micro=4, queue=0.5, connect=0.25, first_content=10.25, ended=12.5, answer_id="chatcmpl-1",
        upstream_request_id="up-1", client_request_id="mine", trace_id="t",
    )  # fmt: skip
    assert named(made.row(1_000_002.5)) == {
        "request_id": "req_1", "answer_id": "chatcmpl-1", "started": 1_000_000_000_000, "key_hash": "a" * 64, "key_name": "k",
        "team": "red", "wallet_id": "team:red", "route": "/v1/messages", "dialect": "messages", "model_asked": "best",
        "model": "smart", "upstream_model": "m", "provider": "p", "account": "a", "status": 200, "error_type": None,
        "stream": True, "attempts": 2, "input_tokens": 1, "cache_read_tokens": 2, "cache_write_tokens": 3,
        "cache_write_1h_tokens": 4, "output_tokens": 5, "reasoning_tokens": 6, "audio_input_tokens": 7,
        "audio_output_tokens": 8, "searches": 9, "service_tier": "flex", "estimated": True, "cost_micro": 10,
        "price_micro": 11, "duration_us": 2_500_000, "queue_us": 500_000, "connect_us": 250_000, "first_content_us": 250_000,
        "upstream_request_id": "up-1", "client_request_id": "mine", "trace_id": "t",
        "key_drawn_micro": 11, "team_drawn_micro": 4,
    }  # fmt: skip


def test_the_row_of_a_refused_call():
    made = record(
        key="k", key_hash="a" * 64, status=404, error=GatewayError(Kind.UNKNOWN_MODEL), ended=10.0
    )
    row = named(made.row(1.0))
    assert (row["status"], row["error_type"], row["wallet_id"]) == (404, "model_unknown", "key:k")
    assert (row["input_tokens"], row["output_tokens"], row["first_content_us"]) == (0, 0, None)


def test_what_others_made_up_is_cut_to_a_bearable_length():
    made = record(answer_id="x" * 10_000, model_asked="y" * 10_000, usage=Usage(tier="z" * 10_000))
    row = named(made.row(1.0))
    assert {len(str(row[name])) for name in ("answer_id", "model_asked", "service_tier")} == {256}
