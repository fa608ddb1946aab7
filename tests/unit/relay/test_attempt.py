"""One try of one account: what it holds back, when it commits, and how it ends."""

from __future__ import annotations

import asyncio
import json
from typing import Any, cast

import pytest

from proxy.dialects.asked import Asked
from proxy.dialects.plan import make_plan
from proxy.errors import GatewayError, Kind
from proxy.providers import Provider
from proxy.relay.attempt import MAX_DOCUMENT, MAX_HELD, Attempt, Delivered, Refused
from proxy.relay.delivery import Delivery
from proxy.relay.outbox import Outbox
from proxy.upstream.http1 import Failure
from tests.integration import spoken
from tests.unit.relay.turns import at_once

EVENTS = {b"content-type": b"text/event-stream"}
DOCUMENT = {b"content-type": b"application/json"}
DIALECT = "openai-chat"
META, TEXT, END = spoken.metadata(DIALECT), spoken.text(DIALECT, "Hi"), spoken.end(DIALECT)


class Client:
    """A client's transport that keeps what it gets."""

    def __init__(self) -> None:
        self.got = b""

    def write(self, data: bytes) -> None:
        self.got += data

    def is_closing(self) -> bool:
        return False


class Upstream:
    """As much of a connection as a try uses."""

    def __init__(self) -> None:
        self.aborted = False

    def abort(self) -> None:
        self.aborted = True


class Host:
    """A call that writes down what it is told."""

    def __init__(self, *, stream: bool) -> None:
        self.client = Client()
        self.delivery = Delivery(
            cast(asyncio.Transport, self.client),
            Outbox(at_once()),
            fields=b"",
            http10=False,
            closing=False,
        )
        self.wants_stream = stream
        self.told: list[str] = []

    def first_byte(self, now: float) -> None:
        self.told.append("first byte")

    def first_content(self, now: float) -> bytes:
        self.told.append("first content")
        return b"x-late: 1\r\n"

    def passes(self, answer: Any, status: int, headers: Any) -> None:
        self.wants_stream = answer.form != "document"
        self.told.append(f"passes {answer.form}")

    def settle(self, answer: Any) -> None:
        # The books are closed before the last frame goes out.
        self.told.append(f"settled {b'[DONE]' in self.client.got}")


def attempt(*, stream: bool = True, dialect: Any = DIALECT) -> tuple[Attempt, Host, Upstream]:
    body: dict[str, Any] = {
        "model": "m",
        "stream": stream,
        "messages": [{"role": "user", "content": "Hi"}],
    }
    asked = Asked(
        dialect="chat", body=json.dumps(body).encode(), document=body, edited=False, model="m", stream=stream,
        request_id="req_1", now=1.0, mint=lambda: "0" * 24, recall=lambda _: None, remember=lambda *_: None,
    )  # fmt: skip
    provider = Provider(name="up", base_url="http://up.test", dialects=(dialect,), auth="none")
    plan = make_plan(asked, provider, "m", strict=False)
    host, upstream = Host(stream=stream), Upstream()
    connection: Any = upstream
    return Attempt(host, plan, connection, asyncio.get_running_loop()), host, upstream


def refusal(made: Attempt) -> GatewayError:
    outcome = made.outcome.result()
    assert isinstance(outcome, Refused)
    return outcome.error


async def test_a_stream_is_held_back_until_its_content():
    made, host, _ = attempt()
    made.head(200, EVENTS)
    made.body(META)
    assert host.client.got == b""
    assert host.told == ["first byte"]
    made.body(TEXT)
    assert made.committed
    assert META + TEXT in host.client.got
    assert b"x-late: 1" in host.client.got
    made.body(END)
    assert host.told == ["first byte", "first content", "settled False"]
    assert made.outcome.result() == Delivered()
    assert host.client.got.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")


async def test_what_comes_after_the_end_is_not_heard():
    made, host, _ = attempt()
    made.head(200, EVENTS)
    made.body(META + TEXT + END)
    before = host.client.got
    assert made.over_at is not None
    made.body(TEXT)
    made.complete()
    assert host.client.got == before
    assert made.over_at is None


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, Kind.INVALID_REQUEST), (401, Kind.UPSTREAM_AUTH), (429, Kind.RATE_LIMIT), (500, Kind.SERVER), (529, Kind.OVERLOADED),
     (302, Kind.SERVER)],
)  # fmt: skip
async def test_a_refusal_is_classified_when_it_is_whole(status, kind):
    made, host, upstream = attempt()
    made.head(status, DOCUMENT)
    made.body(b'{"error":')
    made.body(b'{"message":"inside"}}')
    assert not made.outcome.done()
    made.complete()
    assert refusal(made).kind is kind
    assert host.client.got == b""
    assert not upstream.aborted


async def test_a_refusal_that_is_cut_is_still_one():
    made, _, _ = attempt()
    made.head(429, DOCUMENT)
    made.failed(Failure.truncated)
    assert refusal(made).kind is Kind.RATE_LIMIT


@pytest.mark.parametrize(
    ("failure", "kind", "stale"),
    [(Failure.reset_idle, Kind.UNREACHABLE, True), (Failure.reset, Kind.UNREACHABLE, False),
     (Failure.truncated, Kind.DISCONNECTED, False), (Failure.malformed, Kind.MALFORMED, False)],
)  # fmt: skip
async def test_a_connection_that_fails_before_content_is_a_refusal(failure, kind, stale):
    made, _, _ = attempt()
    made.failed(failure)
    assert refusal(made).kind is kind
    outcome = made.outcome.result()
    assert isinstance(outcome, Refused)
    assert outcome.stale is stale


async def test_a_connection_that_fails_after_content_is_an_error_frame():
    made, host, upstream = attempt()
    made.head(200, EVENTS)
    made.body(META + TEXT)
    made.failed(Failure.truncated)
    assert made.outcome.result() == Delivered()
    assert b'"error"' in host.client.got
    assert b"[DONE]" not in host.client.got
    assert host.client.got.endswith(b"0\r\n\r\n")
    assert upstream.aborted


async def test_time_that_is_over_before_content_lets_another_try():
    made, host, upstream = attempt()
    made.head(200, EVENTS)
    made.body(META)
    made.expire(GatewayError(Kind.TIMEOUT_FIRST_CONTENT))
    assert refusal(made).kind is Kind.TIMEOUT_FIRST_CONTENT
    assert (host.client.got, upstream.aborted) == (b"", True)


async def test_a_document_is_handed_over_whole():
    made, host, _ = attempt(stream=False)
    body = json.dumps(spoken.document(DIALECT)).encode()
    made.head(200, DOCUMENT)
    made.body(body[:50])
    made.body(body[50:])
    made.complete()
    assert made.outcome.result() == Delivered(body)
    assert host.client.got == b""


@pytest.mark.parametrize("stream", [False, True])
async def test_a_document_without_end_is_given_up(stream):
    made, _, upstream = attempt(stream=stream)
    made.head(200, DOCUMENT)
    piece = b" " * (1 << 20)
    for _ in range(MAX_DOCUMENT // len(piece) + 1):
        made.body(piece)
    assert refusal(made).kind is Kind.MALFORMED
    assert upstream.aborted


async def test_more_metadata_than_can_be_held_is_let_go():
    made, host, _ = attempt()
    made.head(200, EVENTS)
    for _ in range(MAX_HELD // len(META) + 2):
        made.body(META)
    assert made.committed
    assert host.client.got.count(META) >= MAX_HELD // len(META)


async def test_comments_are_held_back_without_end():
    made, host, _ = attempt()
    made.head(200, EVENTS)
    for _ in range(1000):
        made.body(b": keep-alive\n\n")
    assert not made.committed
    assert host.client.got == b""


async def test_a_coding_that_was_not_asked_for_is_given_up():
    made, _, upstream = attempt()
    made.head(200, {**EVENTS, b"content-encoding": b"gzip"})
    assert refusal(made).kind is Kind.MALFORMED
    assert upstream.aborted


async def test_an_abandoned_try_says_nothing_more():
    made, host, upstream = attempt()
    made.head(200, EVENTS)
    made.abort()
    assert upstream.aborted
    assert made.outcome.cancelled()
    made.failed(Failure.truncated)
    assert host.client.got == b""


@pytest.mark.parametrize("dialect", ["anthropic", "gemini", "openai-responses"])
async def test_a_translated_stream_commits_with_its_content_too(dialect):
    made, host, _ = attempt(dialect=dialect)
    made.head(200, EVENTS)
    made.body(spoken.metadata(dialect))
    assert host.client.got == b""
    made.body(spoken.text(dialect, "Hi"))
    assert b"Hi" in host.client.got
    made.body(spoken.end(dialect, "Hi"))
    made.complete()
    assert host.client.got.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
    assert host.told[-1] == "settled False"
