"""Every way to present a key, on every route, with every kind of key: who is let in, and what the others are told."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Callable
from itertools import count
from typing import Any

import pytest

from proxy.billing.keys import digest
from proxy.server.auth import MAX_CREDENTIAL
from tests.chaos.amount import FIGURES
from tests.chaos.everywhere import ROUTES, everywhere
from tests.integration.gateway import KEY, OTHER_KEY
from tests.integration.wire import Answered, Wire, encoded

Fields = list[tuple[str, bytes]]
"""Header lines, or under ``?`` a piece of the query."""


def basic(user: bytes, password: bytes = b"") -> bytes:
    return b"Basic " + base64.b64encode(user + b":" + password)


FORMS: dict[str, Callable[[bytes], Fields]] = {
    "Bearer": lambda key: [("authorization", b"Bearer " + key)],
    "bearer in small letters": lambda key: [("Authorization", b"bearer " + key)],
    "Bearer and blanks": lambda key: [("authorization", b"Bearer    " + key + b"  ")],
    "the bare key": lambda key: [("authorization", key)],
    "Basic": lambda key: [("authorization", basic(key))],
    "Basic as the password": lambda key: [("authorization", basic(b"", key))],
    "x-api-key": lambda key: [("X-Api-Key", key)],
    "x-goog-api-key": lambda key: [("x-goog-api-key", key)],
    "the query": lambda key: [("?", key)],
    "twice the same": lambda key: [("x-api-key", key), ("x-api-key", key)],
    "in two places": lambda key: [("x-api-key", key), ("authorization", b"Bearer " + key)],
    "beside somebody else's": lambda key: [("x-api-key", key), ("authorization", b"Bearer sk-ant-x")],
    "beside an empty one": lambda key: [("x-api-key", b""), ("authorization", b"Bearer " + key)],
}  # fmt: skip

EXPIRED, DISABLED, ELSEWHERE = (f"sk-splice-{one}" for one in ("expired", "disabled", "elsewhere"))
KEYS: dict[str, tuple[str, int]] = {
    "good": (KEY, 200),
    "another's": (OTHER_KEY, 200),
    "expired": (EXPIRED, 403),
    "disabled": (DISABLED, 403),
    "of another address": (ELSEWHERE, 403),
    "wrong": ("sk-splice-wrong", 401),
    "in capitals": (KEY.upper(), 401),
    "without its last letter": (KEY[:-1], 401),
    "with one more letter": (KEY + "x", 401),
    "the prefix alone": ("sk-splice-", 401),
    "its digest": (digest(KEY), 401),
    "not ASCII": ("sk-splice-\xe9\xff", 401),
    "another script": ("sk-splice-ключ", 401),
    "quotes": ("' OR '1'='1", 401),
    "as long as may be": ("k" * MAX_CREDENTIAL, 401),
    "longer": ("k" * (MAX_CREDENTIAL + 1), 401),
    "of 2 KiB": ("k" * 2048, 401),
    "behind itself": (f"{KEY},{KEY}", 401),
}
TABLES = "".join(
    f'[[keys]]\nname = "{key.rpartition("-")[2]}"\nkey = "{key}"\n{option}\n'
    for key, option in (
        (EXPIRED, 'expires = "2020-01-01"'),
        (DISABLED, "enabled = false"),
        (ELSEWHERE, 'allow_ip = ["10.9.9.9/32"]'),
    )
)
READS = ("/v1/models", "/v1/models/c/m", "/v1beta/models", "/v1/usage", "/v1/usage/requests", "/v1/key")  # fmt: skip
_CODES = {401: "authentication_error", 403: "permission_error"}
_STATUSES = {401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED"}


def asking(method: str, path: str, body: bytes, fields: Fields, number: int) -> bytes:
    """Return a request of an address of its own, so that failures of others do not count."""
    address = f"198.51.{number // 250 % 250}.{number % 250}"
    lines = [("host", b"gateway"), ("x-forwarded-for", address.encode())]
    lines += [("content-length", b"%d" % len(body))] if method == "POST" else []
    for name, value in fields:
        if name == "?":
            escaped = "".join(f"%{one:02x}" for one in value)
            path += ("&" if "?" in path else "?") + f"key={escaped}"
        else:
            lines.append((name, value))
    head = b"".join(name.encode() + b": " + value + b"\r\n" for name, value in lines)
    return b"%b %b HTTP/1.1\r\n%b\r\n%b" % (method.encode(), path.encode(), head, body)


def told_in_its_dialect(route: str, answered: Answered) -> None:
    error: dict[str, Any] = answered.error
    assert error["message"]
    if "/v1beta/" in route:
        assert error["status"] == _STATUSES[answered.status], answered
    elif "/messages" in route:
        assert error["type"] == _CODES[answered.status], answered
    else:
        assert error.keys() >= {"message", "type", "param", "code"}, answered


@pytest.mark.timeout(120)
async def test_who_is_let_in_does_not_depend_on_the_form_or_the_route():
    seen: Counter[int] = Counter()
    numbers = count()
    targets = [
        ("POST", one.path(f"{one.native}%2Fm"), encoded(one.body(f"{one.native}/m", "Hi")))
        for one in ROUTES
    ] + [("GET", path, b"") for path in READS]
    async with everywhere(TABLES, server='trusted_proxies = ["127.0.0.1/32"]') as (front, up):

        async def ask(wire: Wire, target: tuple[str, str, bytes], fields: Fields) -> Answered:
            wire.send(asking(*target, fields, next(numbers)))
            answered = await wire.answer()
            seen[answered.status] += 1
            return answered

        for target in targets:
            wire = await front.wire()
            assert (await ask(wire, target, [])).status == 401, target
            for kind, (key, status) in KEYS.items():
                for form, made in FORMS.items():
                    if form == "the bare key" and " " in key:
                        continue  # that is a scheme, and something else
                    before = len(up.requests)
                    answered = await ask(wire, target, made(key.encode("utf-8")))
                    where = (target[1], kind, form, answered)
                    assert answered.status == status, where
                    assert answered.headers.get("connection") != "close", where
                    if status != 200:
                        told_in_its_dialect(target[1], answered)
                        assert len(up.requests) == before, where
                        assert key.encode() not in answered.body or kind == "the prefix alone", (
                            where
                        )
            # Two keys of ours, wherever they stand, leave open who is meant.
            for one in ("Bearer", "x-api-key", "x-goog-api-key", "the query", "Basic"):
                for other in ("Bearer", "x-api-key", "x-goog-api-key", "the query"):
                    for second in (OTHER_KEY, EXPIRED, DISABLED):
                        fields = FORMS[one](KEY.encode()) + FORMS[other](second.encode())
                        answered = await ask(wire, target, fields)
                        assert answered.status == 401, (target[1], one, other, second, answered)
                        assert KEY.encode() not in answered.body
            # One header twice with different values is no credential, even if one of them is a key.
            for name in ("authorization", "x-api-key", "x-goog-api-key"):
                twice = [(name, KEY.encode()), (name, b"sk-other")]
                assert (await ask(wire, target, twice)).status == 401
        text = str(front.lines)
        assert not [key for key, _ in KEYS.values() if len(key) > 12 and key in text]
    told = ", ".join(f"{number} of {status}" for status, number in sorted(seen.items()))
    FIGURES.append(
        f"credentials: {len(FORMS)} forms x {len(KEYS)} keys x {len(targets)} routes and pairs, {sum(seen.values())} requests: {told}; wrongly let in 0"
    )


async def test_what_one_key_made_is_nobody_elses():
    async with everywhere(server='trusted_proxies = ["127.0.0.1/32"]') as (front, _):
        made = (await front.chat("c/m")).headers["x-request-id"]
        await front.last()
        for number, (form, fields) in enumerate(FORMS.items()):
            wire = await front.wire()
            for key, status in ((KEY, 200), (OTHER_KEY, 404)):
                wire.send(asking("GET", f"/v1/usage/{made}", b"", fields(key.encode()), number))
                assert (await wire.answer()).status == status, form
