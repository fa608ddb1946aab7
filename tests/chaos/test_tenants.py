"""Tenants that ask at once, each with canaries of its own in whatever a gateway could keep: nothing of one comes to another."""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections import Counter
from typing import Any

from proxy.config import key_hash
from proxy.routing.affinity import session_of
from tests.chaos.amount import AMOUNT, FIGURES
from tests.integration import spoken
from tests.integration.gateway import PATHS, Gateway, account, config_text, gateway, upstream
from tests.integration.scripted import Scripted, whole
from tests.integration.wire import Answered, Wire, encoded, request

TENANTS = 20 if AMOUNT.is_short else 100
ASKS = 12 if AMOUNT.is_short else max(AMOUNT.requests * 2, 12)
"""Of each tenant."""
LISTED = 100
"""What of its history a tenant looks at."""
CANARY = re.compile(rb"canary-(\d+)-")
TOOLS = [{"type": "function", "function": {"name": "now", "parameters": {"type": "object"}}}]
CALL = {"id": "toolu_same", "type": "function", "function": {"name": "now", "arguments": "{}"}}


def key_of(tenant: int) -> str:
    return f"sk-splice-tenant-{tenant:04}"


def canary(tenant: int, kind: str) -> str:
    return f"canary-{tenant}-{kind}"


def tenants_in(data: bytes) -> set[int]:
    return {int(number) for number in CANARY.findall(data)}


async def thinker(reader, writer, asked) -> None:
    """Answer with thinking and a call, sealed for whoever asked; every tenant's call and answer have the same ids."""
    (tenant,) = {int(number) for number in re.findall(rb"I am (\d+)", asked.body)}
    seal = f"seal-of-{tenant}"
    document = {
        **spoken.document("anthropic", f"you are {tenant}"),
        "content": [
            {"type": "thinking", "thinking": canary(tenant, "thought"), "signature": seal},
            {"type": "text", "text": canary(tenant, "answer")},
            {"type": "tool_use", "id": "toolu_same", "name": "now", "input": {}},
        ],
        "stop_reason": "tool_use",
    }
    await asyncio.sleep(random.random() * 0.003)  # so that answers overtake each other
    headers = {"set_cookie": f"who={canary(tenant, 'cookie')}", **spoken.JSON}
    writer.write(whole(json.dumps(document).encode(), **headers))


def first(tenant: int, surface: str) -> dict[str, Any]:
    said = f"I am {tenant}: {canary(tenant, 'prompt')}"
    body: dict[str, Any] = {
        "model": "up/m",
        "max_tokens": 4096,
        "messages": [{"role": "user", "content": said}],
    }
    if surface == "chat":
        body |= {"tools": TOOLS, "reasoning_effort": "high", "user": "the same user"}
    return body


def second(tenant: int) -> dict[str, Any]:
    """Return the request that goes on after the call, without the thinking that came with it."""
    body = first(tenant, "chat")
    body["messages"] += [
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "toolu_same", "content": "noon"},
    ]
    return body


async def test_nothing_of_one_tenant_comes_to_another():
    keys = "".join(
        f'[[keys]]\nname = "t{tenant}"\nhash = "sha256:{key_hash(key_of(tenant))}"\n'
        for tenant in range(TENANTS)
    )
    async with Scripted(thinker) as up:
        tables = upstream(up.url, "anthropic") + account("b", "up") + account("c", "up")
        async with gateway(config_text(tables, keys)) as front:
            mine = [Tenant(number, front) for number in range(TENANTS)]
            await asyncio.gather(*(one.live() for one in mine))
            everybody = {number: one.ids for number, one in enumerate(mine)}
            for one in mine:
                await one.look(everybody)
        # Upstreams saw each tenant's own words, thoughts and seals, and no cookie.
        for asked in up.requests:
            (tenant,) = {int(number) for number in re.findall(rb"I am (\d+)", asked.body)}
            assert tenants_in(asked.body) == {tenant}
            assert set(re.findall(rb"seal-of-(\d+)", asked.body)) <= {str(tenant).encode()}
            assert "cookie" not in asked.headers
    sealed = sum(b"seal-of" in asked.body for asked in up.requests)
    assert sealed >= TENANTS, "no seal came back at all"
    crossed = sum(one.crossed for one in mine)
    seen = sum((one.seen for one in mine), Counter[str]())
    assert crossed == 0
    FIGURES.append(
        f"{TENANTS} tenants, {len(up.requests)} requests, crossings {crossed}: {dict(seen)}"
    )


class Tenant:
    """One key and what it does."""

    def __init__(self, number: int, front: Gateway) -> None:
        self.number, self.front = number, front
        self.key = key_of(number)
        self.ids: list[str] = []
        self.crossed = 0
        self.seen: Counter[str] = Counter()

    async def ask(self, wire: Wire, path: str, body: object) -> Answered:
        return await wire.post(
            path,
            body,
            x_api_key=self.key,
            x_session_id="the same session",
            x_request_id=canary(self.number, "id"),
            cookie=f"a={canary(self.number, 'cookie')}",
        )

    async def live(self) -> None:
        """Ask in turns, leave sometimes, and look at what comes back."""
        rng = random.Random(self.number)
        wire = await self.front.wire()
        for turn in range(ASKS):
            surface = rng.choice(("chat", "messages"))
            if rng.random() < 0.15:
                wire.send(
                    request(
                        "POST",
                        PATHS[surface],
                        encoded(first(self.number, surface)),
                        x_api_key=self.key,
                    )
                )
                await asyncio.sleep(rng.random() * 0.004)
                wire.leave()
                wire = await self.front.wire()
                self.seen["left"] += 1
            goes_on = turn % 2 == 1
            path = PATHS["chat" if goes_on else surface]
            body = second(self.number) if goes_on else first(self.number, surface)
            answered = await self.ask(wire, path, body)
            assert answered.status == 200, answered
            self.crossed += tenants_in(answered.body) != {self.number}
            self.crossed += bool(tenants_in(str(answered.headers).encode()))
            self.ids.append(answered.headers["x-request-id"])
            self.seen[str(answered.status)] += 1

    async def look(self, everybody: dict[int, list[str]]) -> None:
        """Read all that the key may, and try what it may not."""
        wire = await self.front.wire()

        async def get(path: str) -> Answered:
            wire.send(request("GET", path, x_api_key=self.key))
            return await wire.answer()

        history = (await get(f"/v1/usage/requests?limit={LISTED}")).json["data"]
        told = {one["request_id"] for one in history}
        assert told >= {*self.ids[-LISTED // 2 :]}
        others = {one for number, ids in everybody.items() if number != self.number for one in ids}
        assert not told & others
        if len(history) < LISTED:
            tokens = (await get("/v1/usage")).json["total_tokens"]
            assert tokens == sum(map(_tokens, history))
        assert (await get(f"/v1/usage/{self.ids[0]}")).status == 200
        absent = await get("/v1/usage/req_00000000000000000000000000")
        for foreign in random.Random(self.number).sample(sorted(others), 5):
            refused = await get(f"/v1/usage/{foreign}")
            assert refused.status == absent.status == 404
            assert refused.error["message"].replace(foreign, "ID") == absent.error[
                "message"
            ].replace("req_00000000000000000000000000", "ID")
        # All of them have had an answer with this id; whose it is depends on who asks.
        by_answer = (await get("/v1/usage/chatcmpl-1")).json
        assert by_answer["request_id"] in told


def _tokens(one: dict[str, Any]) -> int:
    return int(one["input_tokens"] + one["output_tokens"] + one["cache_read_input_tokens"])


def test_one_session_of_two_keys_is_two_sessions():
    document = {"messages": [{"role": "user", "content": "Hi"}], "user": "same"}
    headers = {"x-session-id": "same"}
    assert session_of("one", headers, document) != session_of("two", headers, document)
    assert session_of("one", headers, document) == session_of("one", headers, document)
