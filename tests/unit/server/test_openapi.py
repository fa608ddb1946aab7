"""The description of the routes, held against the routes and against the standard."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from proxy.errors import ROWS
from proxy.server import openapi, routes

DOCUMENT = orjson.loads(openapi.document("1.2.3", "https://llm.example.com"))
OPERATIONS = [
    (f"{method.upper()} {path}", operation)
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
]


def served() -> set[str]:
    """Return every route with each of its methods, as ``OPERATIONS`` has them."""
    found = {f"{method} {path}" for path, methods in routes.TABLE.items() for method in methods}
    found |= {
        f"{method} {beginning}{{id}}"
        for beginning, methods in routes._NAMED.items()
        for method in methods
    }
    return found | {
        f"{method} /{version}/models/{{id}}:{what}"
        for version in ("v1", "v1beta")
        for what, methods in routes._GEMINI.items()
        for method in methods
    }


def test_every_route_is_described_and_nothing_else():
    described = set(openapi.OPERATIONS)
    missing, invented = served() - described, described - served()
    assert not missing, (
        f"not described: {sorted(missing)}. Add each to OPERATIONS in proxy/server/openapi.py, its shapes (or `Anything`, "
        "for a body that is passed on) to proxy/server/openapi.json, and say in docs/api how to call it."
    )
    assert not invented, f"no such route: {sorted(invented)}; take it out of OPERATIONS."
    assert {name for name, _ in OPERATIONS} == described


def test_every_route_goes_by_the_same_name_in_metrics():
    for route in openapi.OPERATIONS:
        path = route.partition(" ")[2]
        assert routes.template(path) == path


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
    needs = name.startswith(("POST /v1", "GET /v1", "DELETE /v1"))
    assert operation.get("security") == (None if needs else [])
    assert ("401" in operation["responses"]) is needs


def test_every_status_that_a_call_may_end_in_is_described():
    told = {row.status for row in ROWS.values()}
    # A wrong method and a WebSocket are of no operation, and who has left is told nothing.
    assert set(openapi.STATUSES) - {529} == told - {405, 426, 499}
    call = openapi.OPERATIONS["POST /v1/messages"]
    assert set(call.statuses) == set(openapi.STATUSES)
