"""What /openapi.json says is true: what it allows is answered, in no other status and no other shape than it tells."""

from __future__ import annotations

import base64
import json
from collections import Counter
from contextlib import asynccontextmanager
from functools import cache
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # it has no types

from proxy import demo
from proxy.config import key_hash
from proxy.server import openapi
from tests.integration.gateway import BEARER, KEY, Gateway, gateway
from tests.integration.schemas import valid
from tests.integration.wire import Answered, encoded, request

DOCUMENT = json.loads(openapi.document("0", "http://127.0.0.1:8080"))
CHAT = ("demo-chat", "demo-gpt", "demo-claude", "demo-gemini")
EMBEDDING = ("demo-embedding", "demo-gemini-embedding")
EXAMPLES = 20
"""For each route and each dialect of an upstream."""


def described(method: str) -> list[Any]:
    return [
        pytest.param(path, methods[method], id=path)
        for path, methods in DOCUMENT["paths"].items()
        # The shapes of what is passed on are the provider's.
        if method in methods and methods[method]["tags"] != ["Passed on"]
    ]


@cache
def validator(shape: str) -> Draft202012Validator:
    """Return what holds a document against a schema, which is given as JSON."""
    return Draft202012Validator({**json.loads(shape), "components": DOCUMENT["components"]})


def holds(schema: dict[str, Any], value: Any) -> None:
    faults = [
        f"{fault.json_path}: {fault.message}"
        for fault in validator(json.dumps(schema)).iter_errors(value)
    ]
    assert not faults, (faults[:3], value)


def drawn(strategy: st.SearchStrategy[Any], count: int = EXAMPLES) -> list[Any]:
    """Return the same draws each time: a socket is no place for Hypothesis to shrink in."""
    gathered: list[Any] = []

    @settings(
        max_examples=count, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(strategy)
    def collect(one: Any) -> None:
        gathered.append(one)

    collect()
    return gathered


def resolved(value: dict[str, Any]) -> dict[str, Any]:
    """Return a response or header, which may stand somewhere else in the document."""
    found: Any = value
    if "$ref" in value:
        found = DOCUMENT
        for name in value["$ref"].removeprefix("#/").split("/"):
            found = found[name]
    assert isinstance(found, dict)
    return found


def is_as_described(operation: dict[str, Any], answered: Answered) -> None:
    """Hold an answer against what the document says of it: status, headers, content type, shape, every event of a stream."""
    assert str(answered.status) in operation["responses"], (answered.status, answered.body)
    told = resolved(operation["responses"][str(answered.status)])
    headers = {name: resolved(one) for name, one in told["headers"].items()}
    for name, one in headers.items():
        assert name in answered.headers or not one["required"], name
    ours = {
        name
        for name in answered.headers
        if name.startswith(("x-splice-", "x-ratelimit-", "retry-"))
    }
    assert ours <= set(headers)
    kind = answered.headers["content-type"].partition(";")[0]
    schema = told["content"][kind]["schema"]
    if kind == "text/event-stream":
        events = [one for one in answered.data if one != "[DONE]"]
        assert events
        for event in events:
            holds(schema["contentSchema"], event)
    else:
        holds(schema, answered.json if kind == "application/json" else answered.body.decode())


@asynccontextmanager
async def the_demo() -> Any:
    provider = await demo.start(words_per_second=0)
    try:
        text = demo.config_text(provider.url, 0, key_hash(KEY), "state")
        async with gateway(
            text.replace('[admin]\nlisten = ["127.0.0.1:0"]', "[admin]\nlisten = []")
        ) as front:
            yield front
    finally:
        await provider.close()


async def asked(
    front: Gateway, method: str, path: str, body: Any = None, **headers: str
) -> Answered:
    wire = await front.wire()
    sent = b"" if body is None else encoded(body)
    wire.send(request(method.upper(), path, sent, **headers))
    return await wire.answer()


@pytest.mark.parametrize(("path", "operation"), described("post"))
async def test_what_a_route_is_said_to_take_is_answered_as_it_is_said_to_answer(path, operation):
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    models = EMBEDDING if operation["tags"] == ["Embeddings"] else CHAT
    queries = (
        [""] if "alt" not in [one["name"] for one in operation["parameters"]] else ["", "?alt=sse"]
    )
    bodies = drawn(valid(schema, DOCUMENT))
    statuses: Counter[int] = Counter()
    async with the_demo() as front:
        for model in models:
            for number, body in enumerate(bodies):
                holds(schema, body)
                if "{id}" not in path:
                    body = {**body, "model": model}  # noqa: PLW2901 - as whoever calls would
                target = path.replace("{id}", model) + queries[number % len(queries)]
                answered = await asked(front, "POST", target, body, authorization=BEARER)
                assert answered.status < 500, (body, answered.body)
                is_as_described(operation, answered)
                statuses[answered.status] += 1
    # Were all of them refused, nothing would have been shown.
    assert statuses[200] >= len(models) * EXAMPLES / 4, statuses


def queries_of(operation: dict[str, Any]) -> list[str]:
    """Return queries that the document allows, of none, some and all of its parameters."""
    fields = {
        one["name"]: valid(one["schema"], DOCUMENT)
        for one in operation["parameters"]
        if one["in"] == "query"
    }
    return [urlencode(one) for one in drawn(st.fixed_dictionaries({}, optional=fields))]


@pytest.mark.parametrize(("path", "operation"), described("get"))
async def test_what_can_be_got_is_as_it_is_said_to_be(path, operation):
    async with the_demo() as front:
        made = await front.chat("demo-chat")
        ids = [
            "none",
            "a/b",
            "é",
            "index.md",
            "demo-chat",
            made.headers["x-request-id"],
            made.json["id"],
        ]
        targets = [path.replace("{id}", quote(one)) for one in ids] if "{id}" in path else [path]
        found = 0
        for target in targets:
            for query in dict.fromkeys(queries_of(operation)):
                for extra in ({}, {"anthropic_version": "2023-06-01"}, {"x_goog_api_key": KEY}):
                    answered = await asked(
                        front, "GET", f"{target}?{query}", **{"authorization": BEARER, **extra}
                    )
                    assert answered.status < 500, (target, query, answered.body)
                    is_as_described(operation, answered)
                    found += answered.status == 200
        assert found


@pytest.mark.parametrize(
    ("path", "method", "operation"),
    [
        pytest.param(path, method, operation, id=f"{method} {path}")
        for path, methods in DOCUMENT["paths"].items()
        for method, operation in methods.items()
    ],
)
async def test_who_has_no_key_is_told_so_where_the_document_says_that_one_is_needed(
    path, method, operation
):
    async with the_demo() as front:
        answered = await asked(
            front, method, path.replace("{id}", "index.md"), {} if method == "post" else None
        )
    assert answered.status == (200 if operation.get("security") == [] else 401)
    is_as_described(operation, answered)


@pytest.mark.parametrize("scheme", DOCUMENT["components"]["securitySchemes"])
async def test_a_key_is_taken_in_every_way_that_is_described(scheme):
    told = DOCUMENT["components"]["securitySchemes"][scheme]
    headers, query = {}, ""
    if told["type"] == "http":
        basic = base64.b64encode(f"{KEY}:".encode()).decode()
        headers["authorization"] = BEARER if told["scheme"] == "bearer" else f"Basic {basic}"
    elif told["in"] == "query":
        query = f"?{told['name']}={KEY}"
    else:
        headers[told["name"]] = KEY
    async with the_demo() as front:
        assert (await asked(front, "GET", f"/v1/key{query}", **headers)).status == 200


async def test_a_limited_key_and_a_wrong_model_are_refused_as_described():
    operation = DOCUMENT["paths"]["/v1/messages"]["post"]
    async with the_demo() as front:
        for said, status in (
            ("fail:429", 429),
            ("fail:500", 502),
            ("fail:529", 529),
            ("fail:400", 400),
        ):
            answered = await front.messages("demo-claude", said)
            assert answered.status == status
            is_as_described(operation, answered)
            await front.admin("POST", "accounts/demo-anthropic/clear")
        answered = await front.messages("nothing-like-it")
        assert answered.status == 404
        is_as_described(operation, answered)
