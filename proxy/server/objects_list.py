"""The list of what a key has made: which there are, our own table says; what each is like, the account that has it."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import parse_qsl, quote

import orjson

from proxy.billing.objects import Kind, Object
from proxy.config.model import Key
from proxy.dialects.references import outputs
from proxy.errors import GatewayError, invalid
from proxy.errors import Kind as Failure
from proxy.server import batches
from proxy.server.exchange import Exchange
from proxy.server.gateway import Gateway
from proxy.upstream.ask import ask

USUAL = 20
MOST = 100
"""Objects on a page: each of them is a request to its account."""
_AT_ONCE = 8
_PATHS = {Kind.file: "/v1/files/", Kind.batch: "/v1/batches/", Kind.video: "/v1/videos/"}


async def serve(
    gateway: Gateway, exchange: Exchange, key: Key, kind: Kind, provider: str | None = None
) -> None:
    """Answer with a page of the objects of ``key``, the newest first: ``limit``, ``after``, ``order``, ``purpose``."""
    wanted = dict(parse_qsl(exchange.query))
    limit = _limit(wanted.get("limit"))
    order = wanted.get("order", "desc")
    if order not in ("asc", "desc"):
        raise invalid("order", "`order` must be asc or desc.")
    found = await gateway.books.objects.listed(
        key.hash,
        kind,
        provider,
        limit=limit + 1,
        after=wanted.get("after"),
        oldest_first=order == "asc",
    )
    page = found[:limit]
    turns = asyncio.Semaphore(_AT_ONCE)
    shown = await asyncio.gather(*(_fetch(gateway, turns, kind, one) for one in page))
    if kind is Kind.batch:
        for one, document in zip(page, shown, strict=True):
            if document is not None:
                await _note(gateway, key, one, document)
    data = [one for one in shown if one is not None and _is_wanted(one, wanted)]
    exchange.json(
        200,
        {
            "object": "list",
            "data": data,
            "first_id": page[0].id if page else None,
            "last_id": page[-1].id if page else None,
            "has_more": len(found) > limit,
        },
    )


async def _note(gateway: Gateway, key: Key, batch: Object, document: dict[str, Any]) -> None:
    """Keep what a batch tells of itself, as where it is asked for alone."""
    if not await batches.is_paid(gateway, batch):
        batches.book(gateway, key, batch, document)
    now = int(gateway.clock() * 1e6)
    for name in outputs(document):
        gateway.books.objects.bind(batch._replace(id=name, kind=Kind.file.value, created=now))


def _limit(given: str | None) -> int:
    if given is None:
        return USUAL
    if not given.isascii() or not given.isdigit() or int(given[:9]) < 1:
        raise invalid("limit", "`limit` must be a whole number from 1.")
    return min(int(given[:9]), MOST)


def _is_wanted(one: dict[str, Any], wanted: dict[str, str]) -> bool:
    return "purpose" not in wanted or one.get("purpose") == wanted["purpose"]


async def _fetch(
    gateway: Gateway, turns: asyncio.Semaphore, kind: Kind, one: Object
) -> dict[str, Any] | None:
    """Return what the account says of an object; None if it is not there any more, or the account is gone."""
    seat = gateway.pool.seat(one.account)
    if seat is None:
        return None
    async with turns:
        try:
            body = await ask(
                seat.account,
                seat.provider,
                gateway.means.connections,
                _PATHS[kind] + quote(one.id, safe=""),
                connect=gateway.config.timeouts.connect,
                answer=gateway.config.timeouts.response,
                agent=gateway.means.ways.agent,
            )
            document = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise GatewayError(Failure.MALFORMED, evidence="an object that is no JSON") from error
        except GatewayError as error:
            if error.kind is Failure.NOT_FOUND:
                gateway.books.objects.forget(one)
                return None
            # A list without it would look whole.
            raise
    if not isinstance(document, dict):
        raise GatewayError(Failure.MALFORMED, evidence="an object that is no JSON object")
    return document
