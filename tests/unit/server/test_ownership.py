"""Whose an object is, where it is, and what is told where the books cannot be read."""

from __future__ import annotations

import sqlite3
from types import SimpleNamespace
from typing import Any, cast

import pytest

from proxy.billing.ledger import ReadTooLong
from proxy.billing.objects import Kind as What
from proxy.billing.objects import Object, Objects
from proxy.config.model import Key, Target, Timeouts
from proxy.dialects.references import Reference
from proxy.errors import GatewayError, Kind
from proxy.routing.catalog import Route
from proxy.server.gateway import Gateway
from proxy.server.ownership import kept_to, owned, together

KEY = cast(Key, SimpleNamespace(hash="mine"))


def made(name: str, account: str = "a", *, key: str = "mine", kind: What = What.file) -> Object:
    return Object(key, name, kind, f"p-{account}", account, 1)


def gateway(*objects: Object, failure: Exception | None = None) -> Gateway:
    async def read(_: object) -> list[dict[str, Any]]:
        if failure is not None:
            raise failure
        return []

    kept = Objects(lambda _: True, read)
    for one in objects:
        kept.bind(one)
    return cast(Gateway, SimpleNamespace(books=SimpleNamespace(objects=kept)))


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("theirs", {}),
        ("never", {}),
        ("mine", {"kind": "batch"}),
        ("mine", {"within": "p-b"}),
    ],
)
async def test_what_is_not_a_keys_is_the_404_of_what_never_was(name, wanted):
    both = gateway(made("mine"), made("theirs", key="theirs"))
    with pytest.raises(GatewayError) as raised:
        await owned(both, KEY, name, param="file_id", **wanted)
    assert (raised.value.kind, raised.value.param) == (Kind.UNKNOWN_OBJECT, "file_id")
    assert await owned(both, KEY, "mine", "file", within="p-a") == made("mine")


@pytest.mark.parametrize("failure", [sqlite3.OperationalError("disk"), ReadTooLong()])
async def test_books_that_cannot_be_read_are_no_404(failure):
    with pytest.raises(GatewayError) as raised:
        await owned(gateway(failure=failure), KEY, "file-1")
    assert raised.value.kind is Kind.LEDGER


async def test_all_that_a_request_refers_to_is_on_one_account():
    all_of_them = gateway(made("one"), made("two"), made("far", "b"))
    near = [Reference("x", "one"), Reference("y", "two")]
    assert await together(all_of_them, KEY, []) is None
    assert await together(all_of_them, KEY, near) == made("one")
    assert await together(all_of_them, KEY, near, about=made("two")) == made("two")
    with pytest.raises(GatewayError) as raised:
        await together(all_of_them, KEY, [*near, Reference("z", "far")])
    assert (raised.value.status, raised.value.param) == (400, "z")


def test_a_route_is_kept_to_the_account_that_has_it():
    targets = (Target(provider="p-a", model="m", order=1), Target(provider="p", model="m", order=1))
    route = Route("m", targets, Timeouts(), fallbacks=("n",))
    kept = kept_to(route, made("one"))
    assert [(one.provider, one.account) for one in kept.targets] == [("p-a", "a")]
    assert kept.fallbacks == ()
    with pytest.raises(GatewayError, match="does not serve"):
        kept_to(route, made("one", "b"))
