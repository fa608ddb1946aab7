"""Keys, teams and credits of the database, over the admin API of a gateway that runs."""

from __future__ import annotations

import asyncio
import json
from contextlib import closing
from typing import Any

import pytest

from proxy.billing.database import connect
from proxy.config import ConfigError, key_hash
from tests.integration import spoken
from tests.integration.gateway import (
    Gateway,
    chat_body,
    config_text,
    gateway,
    in_front_of,
    upstream,
)
from tests.integration.scripted import Pause, Scripted, settled
from tests.integration.wire import Answered, Wire, encoded, request

NOBODY = "http://127.0.0.1:9"


async def asked(
    front: Gateway, method: str, path: str, body: Any = None, **headers: str
) -> Answered:
    """Ask the admin API over its socket, with a body."""
    wire = front.keep(await Wire.open(front.socket))
    sent = b"" if body is None else encoded(body)
    wire.send(request(method, f"/api/v1/{path}", sent, **{"host": "", **headers}))
    return await wire.answer()


async def made(front: Gateway, name: str = "ci", **options: Any) -> Any:
    answered = await asked(front, "POST", "keys", {"name": name, **options})
    assert answered.status == 200, answered.body
    return answered.json


def running():
    return gateway(config_text(upstream(NOBODY)))


async def seen(front: Gateway, text: str) -> Answered:
    """Ask what a key may know of itself."""
    return await front.get("/v1/key", authorization=f"Bearer {text}")


# Keys.


async def test_a_key_works_from_the_answer_that_tells_it_on():
    async with in_front_of([spoken.told("openai-chat")]) as (front, _):
        created = await made(front, rpm=5, models=["up/*"])
        bearer = {"authorization": f"Bearer {created['key']}"}
        answered = await front.post("/v1/chat/completions", chat_body("up/m"), **bearer)
        assert (answered.status, answered.text) == (200, "Hello")
        assert answered.headers["x-ratelimit-limit-requests"] == "5"
        request_id = answered.headers["x-request-id"]
        assert (await front.get(f"/v1/usage/{request_id}", **bearer)).status == 200
    assert created["key"].startswith("sk-splice-")
    assert created["shown"] == f"sk-splice-…{created['key'][-4:]}"


async def test_a_key_is_told_once():
    async with running() as front:
        created = await made(front, rpm=5)
        shown = (await asked(front, "GET", "keys/ci")).json
        listed = (await asked(front, "GET", "keys")).json
    assert {**shown, "key": created["key"]} == created
    assert listed == {"data": [shown], "has_more": False, "next": None}
    assert created["key"] not in json.dumps([shown, listed])


async def test_a_key_has_its_options_from_the_next_request_on():
    async with running() as front:
        text = (await made(front, rpm=5))["key"]
        assert (await seen(front, text)).json["limits"]["requests"]["limit"] == 5
        await asked(front, "PATCH", "keys/ci", {"rpm": 9, "models": ["x"]})
        changed = (await seen(front, text)).json
        assert (changed["limits"]["requests"]["limit"], changed["models"]) == (9, ["x"])
        await asked(front, "PATCH", "keys/ci", {"rpm": None})
        assert (await seen(front, text)).json["limits"]["requests"] is None


async def test_a_disabled_key_says_so_until_it_is_enabled():
    async with running() as front:
        text = (await made(front))["key"]
        assert (await seen(front, text)).status == 200
        assert (await asked(front, "POST", "keys/ci/disable")).json["state"] == "disabled"
        refused = await seen(front, text)
        assert (refused.status, refused.error["code"]) == (403, "key_disabled")
        assert (await asked(front, "POST", "keys/ci/enable")).json["state"] == "active"
        assert (await seen(front, text)).status == 200


async def test_a_revoked_key_is_nobodys_from_the_next_request_on_and_on_the_same_connection():
    async with running() as front:
        text = (await made(front))["key"]
        wire = await front.wire()
        ask = request("GET", "/v1/key", authorization=f"Bearer {text}")
        wire.send(ask)
        assert (await wire.answer()).status == 200
        assert (await asked(front, "POST", "keys/ci/revoke")).json["state"] == "revoked"
        wire.send(ask)
        assert (await wire.answer()).status == 401
        assert (await asked(front, "POST", "keys/ci/enable")).status == 409


async def test_a_rotated_key_works_on_for_its_grace_and_keeps_its_requests():
    async with in_front_of([spoken.told("openai-chat")]) as (front, _):
        old = (await made(front))["key"]
        answered = await front.post(
            "/v1/chat/completions", chat_body("up/m"), authorization=f"Bearer {old}"
        )
        request_id = answered.headers["x-request-id"]
        rotated = (await asked(front, "POST", "keys/ci/rotate", {"grace": "1h"})).json
        new = rotated["key"]
        assert rotated["rotated_out"][0]["shown"] == f"sk-splice-…{old[-4:]}"
        for text in (old, new):
            found = await front.get(f"/v1/usage/{request_id}", authorization=f"Bearer {text}")
            assert found.status == 200
        last = (await asked(front, "POST", "keys/ci/rotate", {"grace": "0s"})).json["key"]
        assert [(await seen(front, text)).status for text in (old, new, last)] == [200, 403, 200]
        assert (await seen(front, new)).error["code"] == "key_expired"


async def test_a_disabled_keys_streams_run_on_unless_they_are_to_end_now():
    begun = spoken.metadata("openai-chat") + spoken.text("openai-chat", "He")
    hold = [spoken.HEAD + spoken.chunk(begun), Pause(20)]
    for query, ends in (("", False), ("?now=true", True)):
        async with in_front_of(hold) as (front, _):
            text = (await made(front))["key"]
            wires = []
            for bearer in (text, "sk-splice-the-key-of-the-tests"):
                wire = await front.wire()
                body = encoded(chat_body("up/m", stream=True))
                headers = {"authorization": f"Bearer {bearer}"}
                wire.send(request("POST", "/v1/chat/completions", body, **headers))
                assert (await wire.head())[0] == 200
                await wire.frame()
                wires.append(wire)
            found = (await asked(front, "POST", f"keys/ci/disable{query}")).json
            assert (found["ended"], found["in_flight"]) == ((1, 0) if ends else (0, 1))
            if ends:
                await settled(lambda: len(front.running.gateway.calls) == 1)
                assert b'"error"' in await wires[0].frame()
            assert len(front.running.gateway.calls) == (1 if ends else 2)
            (other,) = [c for c in front.running.gateway.calls if c.record.key == "tester"]
            assert not other.delivery.finished


async def test_a_hash_of_another_gateway_is_taken():
    async with running() as front:
        created = await made(front, hash=f"sha256:{key_hash('sk-from-elsewhere')}")
        assert (created["key"], created["shown"]) == (None, None)
        assert (await seen(front, "sk-from-elsewhere")).status == 200


async def test_a_limit_by_tokens_counts_from_the_first_key_that_has_one():
    async with running() as front:
        assert not front.running.gateway.counts_tokens
        await made(front, tpm=100)
        assert front.running.gateway.counts_tokens


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({}, 400, "name"),
        ({"name": "a b"}, 400, "name"),
        ({"name": ["ci"]}, 400, "name"),
        ({"name": "tester"}, 409, "name"),
        ({"name": "ci", "rmp": 1}, 400, "rmp"),
        ({"name": "ci", "rpm": 0}, 400, "rpm"),
        ({"name": "ci", "hash": "sk-splice-itself"}, 400, "hash"),
        ({"name": "ci", "team": "none"}, 400, "team"),
        ({"name": "ci", "credit_usd": 0}, 400, "credit_usd"),
        ([], 400, None),
        (b"{", 400, None),
        (b"[" * 60_000, 400, None),
        (b"x" * 70_000, 413, None),
    ],
)
async def test_what_makes_no_key_is_refused_and_makes_none(body, status, param):
    async with running() as front:
        answered = await asked(front, "POST", "keys", body)
        assert (answered.status, answered.error["param"]) == (status, param)
        assert "sk-splice-itself" not in answered.body.decode()
        assert (await asked(front, "GET", "keys")).json["data"] == []


async def test_bytes_that_are_no_text_are_refused_like_any_other_mistake():
    async with running() as front:
        for path in ("keys/\xff", "keys/%ff", "teams/\xff", "credits/%ff", "credits?wallet=\xff"):
            assert (await asked(front, "GET", path)).status in (400, 404)
        assert (await asked(front, "GET", "keys?after=%ff&team=%ff")).status == 200
        assert (await asked(front, "POST", "keys/%ff/rotate", {"grace": "\u00ff"})).status == 400


async def test_a_grace_without_end_ends_with_the_calendar():
    async with running() as front:
        await made(front)
        rotated = await asked(front, "POST", "keys/ci/rotate", {"grace": "9999999999d"})
        assert rotated.json["rotated_out"][0]["until"] == "9999-12-31T23:59:59.000Z"


async def test_keys_are_listed_in_pages():
    async with running() as front:
        await asked(front, "POST", "teams", {"name": "red"})
        for number in range(5):
            await made(front, f"k{number}", team="red" if number % 2 else None)
        names, after, turns = [], "", 0
        while True:
            page = (await asked(front, "GET", f"keys?limit=2&after={after}")).json
            names += [one["name"] for one in page["data"]]
            turns += 1
            if not page["has_more"]:
                break
            after = page["next"]
        assert (names, turns) == ([f"k{number}" for number in range(5)], 3)
        red = (await asked(front, "GET", "keys?team=red")).json["data"]
        assert [one["name"] for one in red] == ["k1", "k3"]
        for query in ("limit=0", "limit=1001", "limit=x", "page=2"):
            assert (await asked(front, "GET", f"keys?{query}")).status == 400


# Credits.


async def test_a_credit_is_booked_once_for_its_idempotency_key_also_when_two_clients_race():
    async with running() as front:
        await asked(front, "POST", "teams", {"name": "red", "prepaid": True})
        body = {"wallet": "team:red", "amount_usd": "10.5", "note": "invoice 7"}
        answers = await asyncio.gather(
            *(asked(front, "POST", "credits", body, idempotency_key="i-7") for _ in range(8))
        )
        assert {answered.status for answered in answers} == {200}
        assert sorted(answered.json["booked"] for answered in answers) == [False] * 7 + [True]
        assert {answered.json["number"] for answered in answers} == {1}
        other = {**body, "amount_usd": 11}
        refused = await asked(front, "POST", "credits", other, idempotency_key="i-7")
        assert (refused.status, refused.error["param"]) == (409, "ref")
        shown = (await asked(front, "GET", "credits/team%3Ared")).json
    assert shown == {
        "wallet": "team:red",
        "prepaid": True,
        "paid_in_usd": "10.5",
        "charged_usd": "0",
        "charged_this_month_usd": "0",
        "credit_left_usd": "10.5",
        "allowance_left_usd": "0",
    }


async def test_credits_are_listed_the_last_first_in_pages():
    async with running() as front:
        for amount in (1, 2, -3):
            answered = await asked(
                front, "POST", "credits", {"wallet": "tester", "amount_usd": amount}
            )
            assert answered.status == 200
        page = (await asked(front, "GET", "credits?wallet=tester&limit=2")).json
        rest = (await asked(front, "GET", f"credits?wallet=tester&before={page['next']}")).json
    assert [one["amount_usd"] for one in page["data"] + rest["data"]] == ["-3", "2", "1"]
    assert (page["has_more"], rest["has_more"]) == (True, False)


@pytest.mark.parametrize(
    ("body", "headers", "status", "param"),
    [
        ({"amount_usd": 1}, {}, 400, "wallet"),
        ({"wallet": "nobody", "amount_usd": 1}, {}, 404, None),
        ({"wallet": "tester"}, {}, 400, "amount_usd"),
        ({"wallet": "tester", "amount_usd": "0.0000001"}, {}, 400, "amount_usd"),
        ({"wallet": "tester", "amount_usd": 1, "note": "a\nb"}, {}, 400, "note"),
        ({"wallet": "tester", "amount_usd": 1, "ref": "x"}, {}, 400, "ref"),
        ({"wallet": "tester", "amount_usd": 1}, {"idempotency_key": "a b"}, 400, "Idempotency-Key"),
        (
            {"wallet": "tester", "amount_usd": 1},
            {"idempotency_key": "\xff"},
            400,
            "Idempotency-Key",
        ),
    ],
)
async def test_what_is_no_credit_is_refused(body, headers, status, param):
    async with running() as front:
        answered = await asked(front, "POST", "credits", body, **headers)
        assert (answered.status, answered.error["param"]) == (status, param)
        assert front.running.gateway.directory.paid_in == {}


# Who may.


async def test_the_read_token_shows_keys_and_makes_none():
    tokens = 'listen = ["127.0.0.1:0"]\ntoken = "t0ken"\nread_token = "r3ad"'
    async with gateway(config_text(upstream(NOBODY), admin=tokens)) as front:

        async def over_network(method: str, token: str) -> int:
            wire = front.keep(await Wire.open(front.running.admin_addresses[0]))
            body = encoded({"name": "ci"})
            headers = {"host": "127.0.0.1", "authorization": f"Bearer {token}"}
            wire.send(
                request(method, "/api/v1/keys", body, content_length=str(len(body)), **headers)
            )
            return (await wire.answer()).status

        assert [await over_network("POST", token) for token in ("", "r3ad")] == [401, 403]
        assert [await over_network("GET", token) for token in ("", "r3ad")] == [401, 200]
        assert len((await asked(front, "GET", "keys")).json["data"]) == 0
        assert await over_network("POST", "t0ken") == 200
        with closing(connect(front.running.gateway.config.state.directory / "ledger.db")) as one:
            assert one.execute("SELECT through FROM changes").fetchall() == [("admin token",)]


# Beside the configuration.


async def test_a_configuration_that_takes_a_databases_name_or_key_is_not_reloaded(tmp_path):
    path = tmp_path / "config.toml"
    text = config_text(upstream(NOBODY))
    async with gateway(text, path=path) as front:
        created = await made(front)
        for name, digest in (("ci", "a" * 64), ("other", key_hash(created["key"]))):
            path.write_text(f'{text}\n[[keys]]\nname = "{name}"\nhash = "sha256:{digest}"\n')
            with pytest.raises(ConfigError, match=f'^keys: found "{name}"'):
                await front.running.reload()
        path.write_text(text.replace('name = "tester"', 'name = "renamed"'))
        await front.running.reload()
        assert (await seen(front, created["key"])).status == 200
        assert (await asked(front, "POST", "keys", {"name": "renamed"})).status == 409
        assert (await asked(front, "POST", "keys", {"name": "tester"})).status == 200


async def test_a_start_has_the_keys_of_the_database_and_refuses_one_that_the_configuration_has_too(
    tmp_path,
):
    text = config_text(upstream(NOBODY))
    async with gateway(text, directory=tmp_path) as front:
        created = await made(front)
    async with gateway(text, directory=tmp_path) as front:
        assert (await seen(front, created["key"])).status == 200
    twice = f'{text}\n[[keys]]\nname = "ci"\nhash = "sha256:{"a" * 64}"\n'
    for _ in range(2):
        # The second time too: what was opened was closed again.
        with pytest.raises(ConfigError, match=r'^keys: found "ci"'):
            async with gateway(twice, directory=tmp_path):
                raise AssertionError("it started")


# What is kept.


async def test_the_text_of_a_key_is_nowhere_at_rest(tmp_path):
    answers = spoken.told("openai-chat")

    async def script(reader, writer, request):
        writer.write(answers)

    async with (
        Scripted(script) as up,
        gateway(config_text(upstream(up.url)), directory=tmp_path) as front,
    ):
        texts = [(await made(front))["key"], (await made(front, "gone"))["key"]]
        rotated = await asked(front, "POST", "keys/ci/rotate", {"grace": "1h"})
        texts.append(rotated.json["key"])
        for text in texts:
            for headers in ({"authorization": f"Bearer {text}"}, {"x_api_key": text}):
                wire = await front.wire()
                found = await wire.post("/v1/chat/completions", chat_body("up/m"), **headers)
                assert found.status == 200
            for path in (f"/v1/key?key={text}", f"/v1/key?key={text}x"):
                wire = await front.wire()
                wire.send(request("GET", path))
                await wire.answer()
        await asked(front, "POST", "keys/gone/revoke")
        await seen(front, texts[1])
        scraper = front.keep(await Wire.open(front.socket))
        scraper.send(request("GET", "/metrics", host=""))
        scraped = (await scraper.answer()).body
        kept = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        logged = json.dumps(front.lines).encode()
    kept |= {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert any(path.suffix == ".journal" for path in kept)
    assert any(path.name == "ledger.db-wal" and data for path, data in kept.items())
    for text in texts:
        secret = text.removeprefix("sk-splice-")[:-4].encode()
        assert [path for path, data in kept.items() if secret in data] == []
        assert secret not in logged
        assert secret not in scraped
