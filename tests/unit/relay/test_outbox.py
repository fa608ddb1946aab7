"""When the tokens of a turn go out, and in which order."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from proxy.relay.delivery import Delivery
from proxy.relay.outbox import Outbox
from tests.unit.relay.turns import Turn


class Wire:
    """A transport that notes what is written, among all of its kind, in order."""

    def __init__(self, name: str, log: list[tuple[str, bytes]]) -> None:
        self.name = name
        self.log = log
        self.closing = False
        self.broken = False

    def write(self, data: bytes) -> None:
        if self.broken:
            raise RuntimeError("the handler is closed")
        self.log.append((self.name, data))

    def is_closing(self) -> bool:
        return self.closing

    def abort(self) -> None:
        self.closing = True


def made(*names: str) -> tuple[Outbox, Turn, list[tuple[str, bytes]], list[Any]]:
    log: list[tuple[str, bytes]] = []
    turn = Turn()
    return Outbox(cast(asyncio.AbstractEventLoop, turn)), turn, log, [Wire(n, log) for n in names]


def test_tokens_go_out_together_when_the_turn_ends():
    outbox, turn, log, (a, b) = made("a", "b")
    outbox.put(a, b"1")
    outbox.put(b, b"2")
    outbox.put(a, b"3")
    assert log == []
    assert len(turn.soon) == 1
    turn.end()
    assert log == [("a", b"1"), ("b", b"2"), ("a", b"3")]
    outbox.put(b, b"4")
    turn.end()
    assert log[3:] == [("b", b"4")]


def test_what_was_flushed_does_not_go_out_again():
    outbox, turn, log, (a,) = made("a")
    outbox.put(a, b"1")
    outbox.flush()
    turn.end()
    assert log == [("a", b"1")]


def test_a_client_that_left_meanwhile_gets_nothing_and_the_others_theirs():
    outbox, turn, log, (a, b, c) = made("a", "b", "c")
    for wire in (a, b, c):
        outbox.put(wire, b"x")
    a.closing = True
    b.broken = True
    turn.end()
    assert log == [("c", b"x")]
    assert b.closing


def test_the_end_of_a_stream_never_overtakes_its_tokens():
    outbox, turn, log, (a,) = made("a")
    delivery = Delivery(a, outbox, fields=b"", http10=False, closing=False)
    delivery.start(b"", b"one")
    delivery.write(b"two")
    delivery.write(b"three")
    delivery.finish(b"four")
    turn.end()
    assert [data for _, data in log[1:]] == [
        b"3\r\ntwo\r\n",
        b"5\r\nthree\r\n",
        b"4\r\nfour\r\n0\r\n\r\n",
    ]


def test_an_answer_that_ends_with_its_connection_is_whole_before_it_closes():
    outbox, turn, log, (a,) = made("a")
    a.close = a.abort
    delivery = Delivery(a, outbox, fields=b"", http10=True, closing=False)
    delivery.start(b"", b"one")
    delivery.write(b"two")
    delivery.finish(b"")
    turn.end()
    assert [data for _, data in log[1:]] == [b"two"]
    assert a.closing


def test_what_is_no_token_goes_out_at_once_behind_what_waits():
    outbox, turn, log, (a,) = made("a")
    delivery = Delivery(a, outbox, fields=b"", http10=False, closing=False)
    delivery.start(b"", b"")
    delivery.write(b"token")
    delivery.write(b"x" * 4096)
    assert [data for _, data in log[1:]] == [
        b"5\r\ntoken\r\n",
        b"1000\r\n" + b"x" * 4096 + b"\r\n",
    ]
    turn.end()
    assert len(log) == 3
