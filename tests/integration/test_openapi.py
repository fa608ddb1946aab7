"""What /openapi.json says is true: what it allows is answered, in no other status and no other shape than it tells."""

from __future__ import annotations

import base64
import json
from collections import Counter
from contextlib import asynccontextmanager
from functools import cache
from typing import Any
from urllib.parse import quote, urlencode

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # it has no types

from proxy import demo
from proxy.config import key_hash
from proxy.server import openapi
from proxy.server.failures import Failures
from tests.integration.gateway import BEARER, KEY, Gateway, config_text, gateway, upstream
from tests.integration.schemas import valid
from tests.integration.test_stored import Store
from tests.integration.warehouse import warehouse
from tests.integration.wire import Answered, encoded, request

DOCUMENT = json.loads(openapi.document("0", "http://127.0.0.1:8080"))
CHAT = ("demo-chat", "demo-gpt", "demo-claude", "demo-gemini")
EMBEDDING = ("demo-embedding", "demo-gemini-embedding")
TRANSLATED = ("Chat", "Messages", "Responses", "Gemini", "Embeddings")
"""The tags of what any model answers; for the others the provider has to have it."""
EXAMPLES = 20
"""For each route and each dialect of an upstream."""


STORED = "/v1/responses/{id}"
NATIVE = "/{provider}/{path}"
KEPT = ("/v1/files/{id}", "/v1/batches/{id}", "/v1/videos/{id}")


def described(method: str) -> list[Any]:
    """Return the operations of a method, but for those that need something to be stored first."""
    return [
        pytest.param(path, methods[method], id=path)
        for path, methods in DOCUMENT["paths"].items()
        if method in methods and not path.startswith((STORED, NATIVE, *KEPT))
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
    ranges = (kind, f"{kind.partition('/')[0]}/*", "*/*")
    told_as = next(one for one in ranges if one in told["content"])
    schema = told["content"][told_as]["schema"]
    if told_as == "text/event-stream":
        events = [one for one in answered.data if one != "[DONE]"]
        assert events
        for event in events:
            holds(schema["contentSchema"], event)
    else:
        # A file is bytes, whatever it is labelled.
        holds(
            schema,
            answered.json if told_as == "application/json" else answered.body.decode("latin-1"),
        )


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


def bodies() -> list[Any]:
    """Return the operations that take a body, with each kind of it."""
    return [
        pytest.param(path, operation, kind, id=f"{path} {kind}")
        for path, operation in (one.values for one in described("post"))
        for kind in operation.get("requestBody", {"content": {}})["content"]
    ]


@asynccontextmanager
async def in_front_of_whoever_has(operation: dict[str, Any]) -> Any:
    """Run a gateway in front of the demo, or of a provider of what the demo does not have; yield its models too."""
    tag = operation["tags"][0]
    if tag in TRANSLATED:
        async with the_demo() as front:
            yield front, EMBEDDING if tag == "Embeddings" else CHAT
    else:
        async with warehouse() as house, gateway(config_text(upstream(house.url))) as front:
            yield front, ("up/m",)


@pytest.mark.parametrize(("path", "operation", "kind"), bodies())
async def test_what_a_route_is_said_to_take_is_answered_as_it_is_said_to_answer(
    path, operation, kind
):
    schema = operation["requestBody"]["content"][kind]["schema"]
    named = "model" in resolved(schema).get("properties", {}) or "allOf" in resolved(schema)
    queries = (
        ["", "?alt=sse"] if any(one["name"] == "alt" for one in operation["parameters"]) else [""]
    )
    statuses: Counter[int] = Counter()
    drawings = drawn(valid(schema, DOCUMENT))
    async with in_front_of_whoever_has(operation) as (front, models):
        for model in models:
            for number, body in enumerate(drawings):
                holds(schema, body)
                if named:
                    body = {"model": model, **body, "model": model}  # noqa: PLW2901, F601 - in front, and one there is
                    # What this key has not made is a 404, and would be all that is seen.
                    body.pop("previous_response_id", None)
                target = path.replace("{id}", model) + queries[number % len(queries)]
                if kind == "application/json":
                    answered = await asked(front, "POST", target, body, authorization=BEARER)
                else:
                    sent = httpx.Request("POST", "http://g/", files=as_form(schema, body))
                    answered = await asked(
                        front, "POST", target, sent.read(),
                        authorization=BEARER, content_type=sent.headers["content-type"],
                    )  # fmt: skip
                assert answered.status < 500, (body, answered.body)
                is_as_described(operation, answered)
                statuses[answered.status] += 1
    # Were all of them refused, nothing would have been shown. A batch wants a file that there is.
    assert statuses[200] >= len(models) * EXAMPLES / 4 or path == "/v1/batches", statuses


def as_form(schema: dict[str, Any], body: dict[str, Any]) -> list[Any]:
    """Return the parts of a form, the files last; httpx writes them as a client would."""
    fields = resolved(schema)["properties"]
    uploads = [
        name
        for name in body
        if "$ref" in fields.get(name, {}) and fields[name]["$ref"].endswith("/Upload")
    ]
    return [
        *((name, (None, str(body[name]))) for name in body if name not in uploads),
        *((name, (f"{name}.bin", str(body[name]).encode())) for name in uploads),
    ]


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


async def test_who_has_no_key_is_told_so_where_the_document_says_that_one_is_needed():
    async with the_demo() as front:
        for path, methods in DOCUMENT["paths"].items():
            for method, operation in methods.items():
                # So many in a second are too many.
                front.running.gateway.failures = Failures()
                target = path.replace("{id}", "index.md" if path.startswith("/docs") else "a")
                target = target.replace(NATIVE, "/demo-chat/v1/chat/completions")
                body: Any = {} if method == "post" else None
                answered = await asked(front, method, target, body)
                assert answered.status == (200 if operation.get("security") == [] else 401), path
                is_as_described(operation, answered)


async def test_a_key_is_taken_in_every_way_that_is_described():
    basic = base64.b64encode(f"{KEY}:".encode()).decode()
    async with the_demo() as front:
        for told in DOCUMENT["components"]["securitySchemes"].values():
            headers, query = {}, ""
            if told["type"] == "http":
                headers["authorization"] = (
                    BEARER if told["scheme"] == "bearer" else f"Basic {basic}"
                )
            elif told["in"] == "query":
                query = f"?{told['name']}={KEY}"
            else:
                headers[told["name"]] = KEY
            assert (await asked(front, "GET", f"/v1/key{query}", **headers)).status == 200, told


async def test_what_providers_refuse_and_a_wrong_model_are_told_as_described():
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


async def test_a_stored_response_is_told_as_described():
    store = Store("a")
    async with (
        store.server,
        gateway(config_text(upstream(store.server.url, "openai-responses"))) as front,
    ):

        async def hold(method: str, name: str, rest: str = "", query: str = "") -> int:
            answered = await asked(
                front, method, f"/v1/responses/{name}{rest}{query}", authorization=BEARER
            )
            is_as_described(DOCUMENT["paths"][STORED + rest][method.lower()], answered)
            return answered.status

        name = (await front.post("/v1/responses", {"model": "up/m", "input": "Hi"})).json["id"]
        operations = [
            (path.removeprefix(STORED), method)
            for path, methods in DOCUMENT["paths"].items()
            for method in methods
            if path.startswith(STORED)
        ]
        assert len(operations) == 4
        # Whoever deletes it does so last.
        for rest, method in sorted(operations, key=lambda one: one[1] == "delete"):
            assert await hold(method.upper(), "resp_none", rest) == 404
            if method == "get":
                assert await hold("GET", name, rest, "?stream=true") == 200
            assert await hold(method.upper(), name, rest) == 200


async def test_what_a_key_has_made_is_told_as_described():
    async with warehouse() as house, gateway(config_text(upstream(house.url))) as front:
        sent = httpx.Request(
            "POST", "http://g/", files={"purpose": (None, "batch"), "file": ("a", b"{}")}
        )
        kind = sent.headers["content-type"]
        file = await asked(
            front, "POST", "/v1/files", sent.read(), authorization=BEARER, content_type=kind
        )
        order = {
            "input_file_id": file.json["id"],
            "endpoint": "/v1/responses",
            "completion_window": "24h",
        }
        batch = await front.post("/v1/batches", order)
        video = await front.post("/v1/videos", {"model": "up/sora-2", "prompt": "a cat"})
        for path, made in zip(
            ("/v1/files", "/v1/batches", "/v1/videos"), (file, batch, video), strict=True
        ):
            is_as_described(DOCUMENT["paths"][path]["post"], made)
            answered = await front.get(f"{path}?limit=5")
            assert answered.json["data"] == [made.json]
            is_as_described(DOCUMENT["paths"][path]["get"], answered)
        names = dict(zip(KEPT, (one.json["id"] for one in (file, batch, video)), strict=True))
        operations = [
            (path, method, operation)
            for path, methods in DOCUMENT["paths"].items()
            for method, operation in methods.items()
            if path.startswith(KEPT)
        ]
        assert len(operations) == 9
        # Whoever deletes it does so last.
        for path, method, operation in sorted(operations, key=lambda one: one[1] == "delete"):
            name = next(names[one] for one in KEPT if path.startswith(one))
            for wanted, status in (("none", 404), (name, 200)):
                body = {"prompt": "more"} if path.endswith("remix") else None
                target = path.replace("{id}", wanted)
                answered = await asked(front, method, target, body, authorization=BEARER)
                assert answered.status == status, (method, target, answered.body)
                is_as_described(operation, answered)


async def test_a_providers_own_path_is_as_described():
    operation = DOCUMENT["paths"][NATIVE]["post"]
    said = [{"role": "user", "content": "Hi"}]
    contents = {"contents": [{"parts": [{"text": "Hi"}]}]}
    calls: dict[str, dict[str, Any]] = {
        "/demo-chat/v1/chat/completions": {"model": "demo-chat", "messages": said},
        "/demo-responses/v1/responses": {"model": "demo-gpt", "input": "Hi"},
        "/demo-anthropic/v1/messages": {"model": "demo-claude", "messages": said, "max_tokens": 9},
        "/demo-gemini/v1beta/models/demo-gemini:generateContent": contents,
    }
    async with the_demo() as front:
        for path, body in calls.items():
            for sent, status in (
                (body, 200),
                ({**body, "stream": True}, 200),
                ({"model": 1}, 400),
                ({}, 400),
            ):
                answered = await front.post(path, sent)
                assert answered.status == status or "gemini" in path, (path, answered.body)
                is_as_described(operation, answered)
            for method in ("GET", "PUT", "PATCH", "DELETE"):
                answered = await front.get("/demo-chat/v1/fine_tuning/jobs", method)
                assert answered.status == 403
                is_as_described(DOCUMENT["paths"][NATIVE][method.lower()], answered)
