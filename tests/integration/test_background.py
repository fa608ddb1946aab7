"""Responses in the background: the client is answered at once, and what they used is billed when they have ended."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from proxy.relay import background
from tests.integration import spoken
from tests.integration.gateway import BEARER, Gateway, config_text, gateway, upstream
from tests.integration.scripted import Pause, Scripted, Step, play, settled, whole
from tests.integration.wire import request

DIALECT = "openai-responses"
PATH = "/v1/responses"
BODY = {"model": "up/m", "input": "Hi", "background": True}


class Worker:
    """An upstream that has ended a response after it was asked ``looks`` times; None: it never does."""

    def __init__(self, looks: int | None, **told: Any) -> None:
        self.looks = looks
        self.asked = 0
        self.told = told
        self.steps: list[Step] | None = None
        self.server = Scripted(self)

    async def __call__(self, reader, writer, asked) -> None:
        if self.steps is not None and asked.method == "GET":
            await play(self.steps, writer)
            return
        document = {**spoken.document(DIALECT), "background": True}
        self.asked += asked.method == "GET"
        if self.looks is None or self.asked < self.looks or asked.method == "POST":
            document |= {
                "status": "in_progress" if self.asked else "queued",
                "output": [],
                "usage": None,
            }
        else:
            document |= self.told
        await play([whole(json.dumps(document).encode(), **spoken.JSON)], writer)


@pytest.fixture(autouse=True)
def _quickly(monkeypatch):
    monkeypatch.setattr(background, "FIRST", 0.01)
    monkeypatch.setattr(background, "LAST", 0.02)


PRICED = (
    '[[models]]\nname = "priced"\ntargets = ["up/m"]\nprice = { input = 1000, output = 1000 }\n'
)


def ended(front: Gateway) -> list[dict[str, Any]]:
    return [one for one in front.lines if one["msg"] == "request" and one["route"] == PATH]


async def test_it_is_answered_at_once_and_billed_when_it_has_ended():
    up = Worker(3)
    async with (
        up.server,
        gateway(config_text(upstream(up.server.url, DIALECT), PRICED)) as front,
    ):
        wire = await front.wire()
        queued = await wire.post(PATH, {**BODY, "model": "priced"}, authorization=BEARER)
        assert (queued.status, queued.json["status"]) == (200, "queued")
        assert "x-splice-cost-usd" not in queued.headers
        # The connection is free for the next request.
        wire.send(request("GET", f"{PATH}/resp_1", authorization=BEARER))
        assert (await wire.answer()).status == 200
        await settled(lambda: ended(front))
        (line,) = ended(front)
        told = (await front.get("/v1/usage/resp_1")).json
    assert (line["input_tokens"], line["output_tokens"]) == (spoken.INPUT, spoken.OUTPUT)
    assert "estimated" not in line
    assert told["cost_micro"] == 1000 * (spoken.INPUT + spoken.CACHED + spoken.OUTPUT)
    assert (told["output_tokens"], told["estimated"]) == (spoken.OUTPUT, False)


async def test_it_is_billed_once_however_often_it_is_read():
    up = Worker(2)
    async with up.server, gateway(config_text(upstream(up.server.url, DIALECT))) as front:
        await front.post(PATH, BODY)
        await settled(lambda: ended(front))
        for _ in range(3):
            assert (await front.get(f"{PATH}/resp_1")).json["status"] == "completed"
        usage = (await front.get("/v1/usage")).json
    assert usage["breakdown_by_model"][0]["requests"] == 1
    assert usage["total_tokens"] == spoken.INPUT + spoken.CACHED + spoken.OUTPUT


async def test_it_is_billed_when_its_client_has_left_before_the_answer():
    up = Worker(1)
    held: list[Any] = []

    async def slowly(reader, writer, asked) -> None:
        held.append(asked.method)
        if asked.method == "POST":
            await play([Pause(0.1)], writer)
        await up(reader, writer, asked)

    async with (
        Scripted(slowly) as server,
        gateway(config_text(upstream(server.url, DIALECT))) as front,
    ):
        wire = await front.wire()
        wire.send(request("POST", PATH, json.dumps(BODY).encode(), authorization=BEARER))
        await settled(lambda: held)
        wire.leave()
        await settled(lambda: ended(front))
        (line,) = ended(front)
    assert line["output_tokens"] == spoken.OUTPUT


async def test_a_stream_in_the_background_is_read_on_when_its_client_leaves():
    begun = spoken.HEAD + spoken.chunk(spoken.metadata(DIALECT) + spoken.text(DIALECT, "He"))
    rest = spoken.chunk(spoken.more(DIALECT, "llo") + spoken.end(DIALECT)) + spoken.LAST
    async with (
        Scripted([begun, Pause(0.2), rest]) as server,
        gateway(config_text(upstream(server.url, DIALECT))) as front,
    ):
        wire = await front.wire()
        wire.send(
            request(
                "POST", PATH, json.dumps({**BODY, "stream": True}).encode(), authorization=BEARER
            )
        )
        await wire.head()
        wire.leave()
        await settled(lambda: ended(front))
        (line,) = ended(front)
    assert (line["status"], line["output_tokens"]) == (499, spoken.OUTPUT)
    assert "estimated" not in line


@pytest.mark.parametrize(
    "told", [{"status": "failed", "usage": None}, {"status": "cancelled", "usage": None}]
)
async def test_what_came_to_nothing_costs_nothing(told):
    up = Worker(1, **told)
    async with up.server, gateway(config_text(upstream(up.server.url, DIALECT))) as front:
        await front.post(PATH, BODY)
        await settled(lambda: ended(front))
        (line,) = ended(front)
    assert (line["input_tokens"], line["output_tokens"], line["cost_usd"]) == (0, 0, 0.0)


@pytest.mark.parametrize("status", ["404 Not Found", "500 No"])
async def test_one_that_nobody_hears_of_again_is_an_estimate(status, monkeypatch):
    monkeypatch.setattr(background, "UNHEARD", 0.1)
    up = Worker(None)
    up.steps = [whole(b"{}", status, **spoken.JSON)]
    async with up.server, gateway(config_text(upstream(up.server.url, DIALECT))) as front:
        await front.post(PATH, BODY)
        await settled(lambda: ended(front))
        (line,) = ended(front)
        assert (await front.admin("GET", "accounts/up")).json["state"] == "available"
    assert line["estimated"]


async def test_it_is_among_what_runs_and_ends_as_an_estimate_with_the_gateway():
    up = Worker(None)
    async with up.server, gateway(config_text(upstream(up.server.url, DIALECT))) as front:
        assert (await front.post(PATH, BODY)).status == 200
        await settled(lambda: up.asked > 2)
        (running,) = (await front.admin("GET", "requests?in_flight=true")).json["data"]
        assert running["phase"] == "waiting"
        await front.running.drain(0)
        (line,) = ended(front)
    assert line["estimated"]


async def test_an_answer_that_is_complete_at_once_is_billed_at_once():
    async with (
        Scripted([spoken.told(DIALECT)]) as server,
        gateway(config_text(upstream(server.url, DIALECT))) as front,
    ):
        answered = await front.post(PATH, BODY)
        assert (answered.status, answered.headers["x-splice-tokens-output"]) == (200, "7")
    assert len(server.requests) == 1


async def test_a_refusal_is_told_and_nobody_waits_for_it():
    async with (
        Scripted([whole(b'{"error": {"message": "no"}}', "400 No")]) as server,
        gateway(config_text(upstream(server.url, DIALECT))) as front,
    ):
        assert (await front.post(PATH, BODY)).status == 400
    assert len(server.requests) == 1


async def test_a_translated_one_is_refused():
    async with (
        Scripted([spoken.told("anthropic")]) as server,
        gateway(config_text(upstream(server.url, "anthropic"))) as front,
    ):
        refused = await front.post(PATH, BODY)
    assert (refused.status, refused.error["param"], server.requests) == (400, "background", [])


async def test_a_fault_in_a_call_that_is_looked_after_is_none_of_its_connection(monkeypatch):
    worker = Worker(None)
    async with worker.server as up, gateway(config_text(upstream(up.url, DIALECT))) as front:
        monkeypatch.setattr(front.running.gateway.log, "failure", lambda *_, **__: None)
        wire = await front.wire()
        assert (await wire.post(PATH, BODY, authorization=BEARER)).status == 200
        (call,) = front.running.gateway.calls
        monkeypatch.setattr(call, "sweep", lambda _: 1 / 0)
        await settled(lambda: not front.running.gateway.calls)
        wire.send(request("GET", "/healthz"))
        assert (await wire.answer()).status == 200


async def test_a_client_that_did_not_read_for_a_while_keeps_its_connection_when_its_call_goes_on():
    worker = Worker(None)
    async with worker.server as up:
        text = config_text(upstream(up.url, DIALECT), timeouts='client_write = "50ms"')
        async with gateway(text) as front:
            wire = await front.wire()
            assert (await wire.post(PATH, BODY, authorization=BEARER)).status == 200
            (call,) = front.running.gateway.calls
            # As it is left where the answer was out before its client had read all of it.
            call.pause()
            await asyncio.sleep(0.2)
            wire.send(request("GET", "/healthz"))
            assert (await wire.answer()).status == 200


async def test_what_is_deleted_before_we_have_looked_again_is_billed_all_the_same(monkeypatch):
    monkeypatch.setattr(background, "FIRST", 60.0)
    worker = Worker(looks=2)
    async with worker.server:
        text = config_text(upstream(worker.server.url, DIALECT), PRICED)
        async with gateway(text) as front:
            asked = await front.post(PATH, {**BODY, "model": "priced"})
            name = asked.json["id"]
            refused = await front.get(f"{PATH}/{name}", "DELETE")
            assert (refused.status, worker.asked) == (400, 1)
            assert "cancel it before" in refused.error["message"]
            assert not ended(front)
            assert (await front.get(f"{PATH}/{name}", "DELETE")).status == 200
            assert [one.method for one in worker.server.requests][-2:] == ["GET", "DELETE"]
            (line,) = ended(front)
            assert (line["output_tokens"], line.get("estimated")) == (spoken.OUTPUT, None)
