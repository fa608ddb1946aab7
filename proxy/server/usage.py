"""What a key has used: one request, all of them, sums by day and model; and what is left of its limits.

What the ledger does not have yet is counted too: a request is there by the time its last frame is.
"""

from __future__ import annotations

import calendar
import sqlite3
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, unquote

import orjson

from proxy.billing import reading
from proxy.billing.books import RETRY_AFTER
from proxy.billing.credit import Wallet
from proxy.billing.entry import KEY_HASH, Row, Value, named
from proxy.billing.ledger import ReadTooLong
from proxy.billing.reading import Query
from proxy.errors import GatewayError, Kind, invalid
from proxy.routing.limits import Left, standing
from proxy.server.exchange import Exchange
from proxy.server.gateway import Gateway

_MOST = 1000
_USUAL = 100
_TOKENS = (
    "input_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "cache_write_1h_tokens",
    "output_tokens",
)


async def request(gateway: Gateway, exchange: Exchange) -> None:
    """GET /v1/usage/{id}: one request, by its own id or by its answer's."""
    key = gateway.identify(exchange)
    wanted = _text(unquote(exchange.path.removeprefix("/v1/usage/")))
    found = await _find(gateway, key.hash, wanted)
    if found is None:
        raise GatewayError(
            Kind.UNKNOWN_OBJECT, "There is no request with this id among those of this key."
        )
    exchange.json(200, _told(found))


async def history(gateway: Gateway, exchange: Exchange) -> None:
    """GET /v1/usage/requests: the last to end first, refused and failed ones too."""
    key = gateway.identify(exchange)
    asked = dict(parse_qsl(_text(exchange.query)))
    limit = _limit(asked.get("limit"))
    before = asked.get("before")
    waiting = gateway.books.waiting()
    serial, (last, booked) = await _read(
        gateway,
        reading.one_request(key.hash, before or ""),
        reading.history(key.hash, limit + 1, before),
    )
    latest = _of_key(waiting.since(serial), key.hash)
    if before is not None:
        ids = [row["request_id"] for row in latest]
        if before not in [*ids, *(row["request_id"] for row in last)]:
            raise invalid("before", "found an id that is none of this key's requests'.")
        latest = latest[: ids.index(before)] if before in ids else []
    rows = [*reversed(latest), *booked]
    page = rows[:limit]
    exchange.json(
        200,
        {
            "data": [_told(row) for row in page],
            "has_more": len(rows) > limit,
            "last_id": page[-1]["request_id"] if page else None,
        },
    )


async def period(gateway: Gateway, exchange: Exchange) -> None:
    """GET /v1/usage: the sums of the days from ``start`` to ``end``, both inclusive; by default of the current month, in UTC."""
    key = gateway.identify(exchange)
    asked = dict(parse_qsl(_text(exchange.query)))
    today = datetime.fromtimestamp(gateway.clock(), UTC).date()
    start = _day(asked, "start") or today.replace(day=1)
    end = _day(asked, "end") or max(start, _last_of_month(today))
    if end < start:
        raise invalid("end", f"found {end}, expected {start} or a later day.")
    waiting = gateway.books.waiting()
    query = reading.days_of(key.hash, start.isoformat(), end.isoformat())
    serial, (booked,) = await _read(gateway, query)
    sums = [*booked, *map(_summed, _of_key(waiting.since(serial), key.hash))]
    sums = [row for row in sums if start.isoformat() <= row["day"] <= end.isoformat()]
    exchange.json(
        200,
        {
            "period_start": start.isoformat(),
            "period_end": end.isoformat(),
            "total_tokens": sum(row["tokens"] for row in sums),
            "total_cost_usd": usd(sum(row["price_micro"] for row in sums)),
            "credit_remaining_usd": _credit(gateway.means.wallets.of(key), gateway.clock()),
            # A request that came to nothing has no model here: it used none.
            "breakdown_by_model": _by(
                "model", "model_asked", [row for row in sums if row["model_asked"]]
            ),
            "breakdown_by_day": _by("day", "day", sums),
        },
    )


async def key(gateway: Gateway, exchange: Exchange) -> None:
    """GET /v1/key: the limits of the key, what is left of each, and when it is whole again."""
    key = gateway.identify(exchange)
    now, wall = gateway.now(), gateway.clock()
    limiters = gateway.key_limits.of(key, None, now)
    left = standing(limiters, now)
    wallets = gateway.means.wallets.of(key)
    running, most = gateway.key_limits.running(key), limiters[0].concurrency
    by_model = []
    for model in gateway.config.models:
        route = gateway.catalog.resolve(model.name)
        if (model.rpm or model.tpm) and route is not None and route.is_open_to(key.models):
            own = standing(gateway.key_limits.of(key, model.name, now)[1:], now)
            by_model.append(
                {
                    "model": model.name,
                    "requests": _left(own.requests, wall),
                    "tokens": _left(own.tokens, wall),
                }
            )
    exchange.json(
        200,
        {
            "name": key.name,
            "team": key.team,
            "models": key.models,
            "expires_at": key.expires and _moment(key.expires.timestamp()),
            "credit_remaining_usd": _credit(wallets, wall),
            "budgets": [_budget(one, wall) for one in wallets if one.terms.budget is not None],
            "limits": {
                "requests": _left(left.requests, wall),
                "tokens": _left(left.tokens, wall),
                "concurrency": None
                if most is None
                else {"limit": most, "remaining": max(most - running, 0)},
                "by_model": by_model,
            },
        },
    )


def usd(micro: int) -> orjson.Fragment:
    """Return an amount as the JSON number that is exactly it; a float would be near it."""
    whole, rest = divmod(abs(micro), 1_000_000)
    return orjson.Fragment(b"%b%d.%06d" % (b"-" if micro < 0 else b"", whole, rest))


# What is asked.


def _text(given: str) -> str:
    """Return ``given`` with what is no text replaced: bytes of a target that are no UTF-8 arrive as surrogates."""
    return given.encode("utf-8", "replace").decode()


def _limit(given: str | None) -> int:
    if given is None:
        return _USUAL
    if not given.isdecimal() or not 1 <= int(given[:9]) <= _MOST:
        raise invalid("limit", f"found {given[:32]!r}, expected a number from 1 to {_MOST}.")
    return int(given)


def _day(asked: Mapping[str, str], name: str) -> date | None:
    given = asked.get(name)
    if given is None:
        return None
    try:
        return date.fromisoformat(given)
    except ValueError:
        raise invalid(
            name, f"found {given[:32]!r}, expected a day such as 2026-11-30; days are UTC's."
        ) from None


def _last_of_month(day: date) -> date:
    return day.replace(day=calendar.monthrange(day.year, day.month)[1])


# What is found.


async def _find(gateway: Gateway, key_hash: str, wanted: str) -> Mapping[str, Any] | None:
    row = gateway.books.find(key_hash, wanted)
    if row is not None:
        return named(row)
    _, (found,) = await _read(gateway, reading.one_request(key_hash, wanted))
    return found[0] if found else None


async def _read(gateway: Gateway, *queries: Query) -> tuple[int, list[list[Mapping[str, Any]]]]:
    try:
        return await gateway.books.ledger.read(*queries)
    except ReadTooLong as error:
        raise GatewayError(
            Kind.LEDGER, "This took too long to add up: ask for less.", retry_after=RETRY_AFTER
        ) from error
    except sqlite3.Error as error:
        gateway.log.failure("the ledger cannot be read", error)
        raise GatewayError(
            Kind.LEDGER, "The ledger cannot be read; try again later.", retry_after=RETRY_AFTER
        ) from error


def _of_key(rows: Sequence[Row], key_hash: str) -> list[Mapping[str, Any]]:
    return [named(row) for row in rows if row[KEY_HASH] == key_hash]


# What is told.


def _told(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a request as its key may see it: the name that was asked for, and what the key pays."""
    return {
        "request_id": row["request_id"],
        "model": row["model_asked"],
        "input_tokens": row["input_tokens"],
        "output_tokens": row["output_tokens"],
        "cache_read_input_tokens": row["cache_read_tokens"],
        "cache_creation": {
            "ephemeral_5m_input_tokens": row["cache_write_tokens"],
            "ephemeral_1h_input_tokens": row["cache_write_1h_tokens"],
        },
        "reasoning_tokens": row["reasoning_tokens"],
        "cost_micro": row["price_micro"],
        "estimated": bool(row["estimated"]),
        "status": row["status"],
        "error": row["error_type"],
        "started_at": _moment(row["started"] / 1e6),
        "ttft_ms": _millis(row["first_content_us"]),
        "duration_ms": _millis(row["duration_us"]),
    }


def _summed(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a request that is not booked yet as the sums of a day will have it."""
    tokens = sum(row[name] for name in _TOKENS)
    came = row["error_type"] is None or tokens > 0
    return {
        "day": _moment(row["started"] / 1e6)[:10],
        "model_asked": (row["model_asked"] or "") if came else "",
        "requests": 1,
        "tokens": tokens,
        "price_micro": row["price_micro"],
    }


def _by(name: str, column: str, sums: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    found: dict[str, list[int]] = {}
    for row in sums:
        one = found.setdefault(row[column], [0, 0, 0])
        for at, what in enumerate(("requests", "tokens", "price_micro")):
            one[at] += row[what]
    return [
        {name: value, "requests": requests, "tokens": tokens, "cost_usd": usd(price)}
        for value, (requests, tokens, price) in sorted(found.items())
    ]


def _left(left: Left | None, wall: float) -> dict[str, Value] | None:
    if left is None:
        return None
    return {
        "limit": left.limit,
        "remaining": left.remaining,
        "resets_at": _moment(wall + left.reset),
    }


def _credit(wallets: Sequence[Wallet], wall: float) -> orjson.Fragment | None:
    """Return what may still be spent of credit and allowance and is not held: the less of the key's and its team's."""
    found = [one.credit_left(wall) for one in wallets]
    left = min([one for one in found if one is not None], default=None)
    return None if left is None else usd(left)


def _budget(wallet: Wallet, wall: float) -> dict[str, Any]:
    left, ends_in = wallet.budget_left(wall), wallet.renews_in(wall)
    return {
        "of": wallet.name.partition(":")[0],
        "period": wallet.terms.period,
        "limit_usd": usd(wallet.terms.budget or 0),
        "spent_usd": usd(wallet.spent(wall)),
        "remaining_usd": usd(left or 0),
        "resets_at": None if ends_in is None else _moment(wall + ends_in),
    }


def _millis(micros: int | None) -> float | None:
    return None if micros is None else micros / 1000


def _moment(seconds: float) -> str:
    moment = datetime.fromtimestamp(0, UTC) + timedelta(seconds=seconds)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"
