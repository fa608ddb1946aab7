"""The description of the routes, held against the routes and against the standard."""

from __future__ import annotations

import re
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from proxy.errors import ROWS, GatewayError
from proxy.server import gemini_path, media, native, openapi, routes, stored

DOCUMENT = orjson.loads(openapi.document("1.2.3", "https://llm.example.com"))
OPERATIONS = [
    (f"{method.upper()} {path}", operation)
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
]


ADVICE = (
    "Add each to OPERATIONS in proxy/server/openapi.py, its shapes to proxy/server/openapi.json, and say in docs/api how to "
    "call it."
)
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
PROVIDERS = {"openai": "openai", "google": "gemini"}
PROBES = [
    *(path for path in routes.TABLE),
    *(f"/{version}/models/a" for version in ("v1", "v1beta")),
    *(f"/{version}/models/a:{what}" for version in ("v1", "v1beta") for what in gemini_path.METHODS),
    *(f"/v1/responses/a{rest}" for rest in ("", "/cancel", "/input_items")),
    *(path.replace("{id}", "a") for path in media.PATHS),
    "/v1/usage/a",
    "/docs/a.md",
    # What might be served one day.
    *(f"/v1/{name}" for name in ("conversations", "vector_stores", "realtime", "uploads")),
    *(f"/{name}{path}" for name in PROVIDERS for path in routes.TABLE if path.startswith("/v1")),
]  # fmt: skip


def endpoint(path: str, method: str) -> Any:
    """Return who answers, or None; as much of an exchange is made as is looked at."""
    request = SimpleNamespace(method=method, headers={})
    record, delivery = SimpleNamespace(route=path), SimpleNamespace(bodiless=False)
    asked: Any = SimpleNamespace(path=path, request=request, record=record, delivery=delivery)
    try:
        return routes.find(asked, PROVIDERS)
    except GatewayError as error:
        assert error.status in (404, 405)  # noqa: PT017 - there is nothing, or not by this method
        return None


def template(path: str, method: str) -> str:
    """Return the route of a path; of a provider's own only its provider knows whether there is one."""
    is_native = endpoint(path, method) is native.serve
    return native.TEMPLATE if is_native else routes.template(path)


def test_every_route_is_described_and_nothing_else():
    served = {
        f"{method} {template(path, method)}"
        for path in PROBES
        for method in METHODS
        if endpoint(path, method) is not None
    }
    described = set(openapi.OPERATIONS)
    missing, invented = served - described, described - served
    assert not missing, f"not described: {sorted(missing)}. {ADVICE}"
    assert not invented, f"no such route, or PROBES has no path of it: {sorted(invented)}"
    assert {name for name, _ in OPERATIONS} == described


def test_every_table_of_routes_is_probed():
    """Each is found by one of ``PROBES``; a table that is not named here is not looked for either."""
    found = {routes.template(path) for path in PROBES}
    assert set(routes.TABLE) <= found
    assert {f"{beginning}{{id}}" for beginning in routes._NAMED} <= found
    assert {f"/v1/models/{{id}}:{what}" for what in routes._GEMINI} <= found
    assert {f"/v1/responses/{{id}}{rest}" for rest in stored._METHODS} <= found
    assert set(media.PATHS) <= found


def test_the_description_is_valid_openapi():
    assert list(OpenAPIV31SpecValidator(DOCUMENT).iter_errors()) == []
    assert DOCUMENT["openapi"].startswith("3.1.")
    assert DOCUMENT["info"]["version"] == "1.2.3"
    assert DOCUMENT["servers"] == [{"url": "https://llm.example.com"}]


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def test_every_shape_is_there_and_is_used():
    used = set(references(DOCUMENT))
    there = {
        f"#/components/{kind}/{name}"
        for kind in ("schemas", "responses", "headers")
        for name in DOCUMENT["components"][kind]
    }
    assert used == there


def test_every_operation_is_called_differently():
    names = [operation["operationId"] for _, operation in OPERATIONS]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z]\w+", name) for name in names)


@pytest.mark.parametrize(("name", "operation"), OPERATIONS, ids=[name for name, _ in OPERATIONS])
def test_what_needs_a_key_says_so(name, operation):
    needs = " /v1" in name or "{provider}" in name
    assert operation.get("security") == (None if needs else [])
    assert ("401" in operation["responses"]) is needs


def test_every_status_that_a_call_may_end_in_is_described():
    told = {row.status for row in ROWS.values()}
    # A wrong method and a WebSocket are of no operation, and who has left is told nothing.
    assert set(openapi.STATUSES) - {529} == told - {405, 426, 499}
    call = openapi.OPERATIONS["POST /v1/messages"]
    assert set(call.statuses) == set(openapi.STATUSES)
