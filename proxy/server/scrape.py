"""``GET /metrics``: what is counted, and how things are at this moment.

Text is made of it in slices, on the loop: a thread that does nothing but Python has the loop wait up to five milliseconds for
the interpreter after every look at its sockets, and for as long as the kernel likes where both want one core.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from itertools import chain, islice
from pathlib import Path
from time import perf_counter

import orjson
from aiohttp import web
from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector
from prometheus_client.core import Metric as Family
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from proxy.billing import audited, database
from proxy.config.model import Admin, Config
from proxy.metrics import MAX_KEYS, METRICS, OTHER, Labels, Phase
from proxy.relay.call import Call
from proxy.routing.cooldown import Cause
from proxy.routing.seat import AccountState, Standing
from proxy.server.gateway import Gateway
from proxy.upstream.connections import Count, Origin

_SLICE = 0.001
"""Seconds for which a scrape holds the loop up."""
_FORWARDED = ("forwarded", "via", "x-forwarded-", "x-real-ip")
"""How the headers begin by which a reverse proxy gives itself away: through one, everybody comes from this machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """How things are at one moment. Times of the accounts are the loop's; ``since_1970`` is to be added to them."""

    config: Config
    since_1970: float
    accounts: tuple[AccountState, ...]
    benched: Mapping[str, Mapping[Cause, int]]
    in_flight: Mapping[tuple[str, Phase], int]
    streams: int
    queued: int
    connections: Mapping[Origin, Count]
    holds: tuple[int, ...]
    """What is held for each call that runs, in micro-USD."""
    budgets: Mapping[tuple[str, str], int]
    """By key and period, what is left; empty unless keys are told apart."""
    ready: bool
    books: BooksState
    prices: date


@dataclass(frozen=True, slots=True, kw_only=True)
class BooksState:
    """How the books are at one moment; ``directory`` is where they are."""

    directory: Path
    pending: int
    pending_since: float | None
    journal_errors: int


class Scrape:
    """Answers ``GET /metrics``, one at a time."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._turn = asyncio.Lock()
        self._process = CollectorRegistry()
        ProcessCollector(registry=self._process)
        GCCollector(registry=self._process)

    async def answer(self, request: web.BaseRequest) -> web.Response:
        """Answer one request that is meant for ``/metrics``."""
        if request.method not in ("GET", "HEAD"):
            return _refused(405, "/metrics takes GET.", {"Allow": "GET, HEAD"})
        if not may_read(_reached(request), request.headers, self._gateway.config.admin):
            return _refused(
                401,
                "The metrics are open to this machine only; from elsewhere, or through a proxy, send [admin] read_token as "
                "`Authorization: Bearer TOKEN`.",
                {"WWW-Authenticate": "Bearer"},
            )
        encode, kind = _encoder(request.headers.get("accept", ""))
        async with self._turn:
            body = await render(await page(self._gateway, self._process), encode)
        return web.Response(body=body, headers={"Content-Type": kind})


def may_read(reached: object, headers: Mapping[str, str], admin: Admin) -> bool:
    """Tell whether the metrics are open to a request with these ``headers`` that came to ``reached``.

    They are to whoever came over a unix socket or loopback, unless through a proxy, and to whoever has a token. ``reached`` is
    the socket's own address.
    """
    if _is_local(reached) and not any(name.lower().startswith(_FORWARDED) for name in headers):
        return True
    scheme, _, token = headers.get("authorization", "").partition(" ")
    given = token.strip().encode("utf-8", "surrogateescape")
    if scheme.lower() != "bearer" or not given:
        return False
    return any(
        secret is not None and hmac.compare_digest(given, secret.reveal().encode())
        for secret in (admin.read_token, admin.token)
    )


def _reached(request: web.BaseRequest) -> object:
    return None if request.transport is None else request.transport.get_extra_info("sockname")


def _is_local(reached: object) -> bool:
    """Tell whether an address is a unix socket's, or one that only this machine can send to."""
    if not isinstance(reached, tuple):
        return reached is not None
    address = ipaddress.ip_address(reached[0].partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


def _encoder(accept: str) -> tuple[Callable[[Collector], bytes], str]:
    """Return what writes the format that is asked for, and its content type."""
    try:
        return choose_encoder(accept)
    except (TypeError, ValueError):
        # A version that is no number.
        return choose_encoder("")


def _refused(status: int, message: str, headers: Mapping[str, str]) -> web.Response:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
    return web.Response(
        status=status,
        body=orjson.dumps({"error": error}),
        headers={"Content-Type": "application/json", **headers},
    )


# What is looked at.


def look(gateway: Gateway) -> State:
    """Return how things are now. Runs on the loop, so it only reads."""
    now = gateway.now()
    pool = gateway.pool
    accounts = pool.accounts(now)
    benched = {}
    for account in accounts:
        seat = pool.seat(account.name)
        if seat is not None and seat.benched:
            benched[account.name] = dict(seat.benched)
    return State(
        config=gateway.config,
        since_1970=gateway.clock() - now,
        accounts=accounts,
        benched=benched,
        in_flight=Counter([_place(call) for call in gateway.calls]),
        streams=sum(call.record.stream for call in gateway.calls),
        queued=len(gateway.means.queue),
        connections=gateway.means.connections.counts(),
        holds=tuple([one.amount for one in gateway.means.wallets.holds]),
        budgets=_budgets(gateway) if gateway.config.metrics.keys else {},
        ready=not gateway.draining and bool(len(pool)),
        books=BooksState(
            directory=gateway.books.directory,
            pending=gateway.books.behind,
            pending_since=gateway.books.behind_since,
            journal_errors=gateway.books.journal_failures,
        ),
        prices=gateway.means.tariff.listed.date,
    )


def _budgets(gateway: Gateway) -> dict[tuple[str, str], int]:
    wall = gateway.clock()
    found: dict[tuple[str, str], int] = {}
    for wallet in islice(gateway.means.wallets.of_keys(), MAX_KEYS):
        left = wallet.budget_left(wall)
        if left is not None:
            found[wallet.name.removeprefix("key:"), wallet.terms.period] = left
    return found


def _place(call: Call) -> tuple[str, Phase]:
    """Return the provider that a call is at, and its phase; one that is queued is at none."""
    phase = call.phase
    return "" if phase is Phase.QUEUED else call.record.provider or "", phase


# What is made of it.


async def page(gateway: Gateway, process: Collector) -> Iterator[Family]:
    """Return everything that one scrape tells; metrics with many series in pieces that follow each other."""
    state = look(gateway)
    # Both ask the system, which may take its time.
    books, own = await asyncio.to_thread(
        lambda: (list(_books(state)), list(process.collect())),
    )
    return chain(
        gateway.means.metrics.families(),
        gateway.books.metrics.families(),
        chain.from_iterable(
            METRICS[name].families(samples) for name, samples in chain(_samples(state), books)
        ),
        own,
    )


async def render(families: Iterable[Family], encode: Callable[[Collector], bytes]) -> bytes:
    """Return what ``encode`` makes of ``families``, the pieces of one joined. The loop goes on every ``_SLICE``."""
    # What ends a page of OpenMetrics.
    end = encode(_Page())
    written: list[bytes] = []
    name = ""
    until = perf_counter() + _SLICE
    for family in families:
        text = encode(_Page(family)).removesuffix(end)
        while family.name == name and text.startswith(b"# "):
            text = text.partition(b"\n")[2]
        name = family.name
        written.append(text)
        if perf_counter() >= until:
            await asyncio.sleep(0)
            until = perf_counter() + _SLICE
    return b"".join([*written, end])


class _Page(Collector):
    """What the client library's encoders take."""

    def __init__(self, *families: Family) -> None:
        self._families = families

    def collect(self) -> Iterable[Family]:
        return self._families


def _samples(state: State) -> Iterator[tuple[str, Iterable[tuple[Labels, float]]]]:
    """Yield the name of each metric that is looked at, with its samples."""
    accounts = state.accounts
    providers = Counter(account.provider for account in accounts)
    available = Counter(
        account.provider for account in accounts if account.standing is Standing.AVAILABLE
    )
    yield "ready", [((), state.ready)]
    yield "requests_queued", [((), state.queued)]
    yield "streams_in_flight", [((), state.streams)]
    yield "requests_in_flight", _in_flight(state.in_flight, providers)
    yield "credit_holds", [((), len(state.holds))]
    yield "credit_holds_usd", [((), sum(state.holds) / 1e6)]
    yield (
        "key_budget_remaining_usd",
        [(labels, left / 1e6) for labels, left in state.budgets.items()],
    )
    yield "upstream_connections", _connections(state.connections, state.config).items()
    yield "accounts", [((name,), count) for name, count in providers.items()]
    yield "accounts_available", [((name,), available[name]) for name in providers]
    yield (
        "account_state",
        [((one.name, state), one.standing is state) for one in accounts for state in Standing],
    )
    yield "account_requests_in_flight", [((one.name,), one.in_flight) for one in accounts]
    yield (
        "account_cooldown_until_timestamp_seconds",
        [((one.name,), _benched_until(one, state.since_1970)) for one in accounts],
    )
    yield (
        "cooldowns_total",
        [
            ((name, cause), count)
            for name, causes in state.benched.items()
            for cause, count in causes.items()
        ],
    )
    told = [(one.name, one.told) for one in accounts if one.told is not None]
    yield (
        "account_remaining_requests",
        [((name,), said.requests.left) for name, said in told if said.requests is not None],
    )
    yield (
        "account_remaining_tokens",
        [((name,), said.tokens.left) for name, said in told if said.tokens is not None],
    )


def _books(state: State) -> Iterator[tuple[str, Iterable[tuple[Labels, float]]]]:
    """Yield the same of the books. Asks the file system, which may take its time."""
    books = state.books
    since = books.pending_since
    yield "journal_errors_total", [((), books.journal_errors)]
    yield "ledger_pending_records", [((), books.pending)]
    yield "ledger_oldest_pending_timestamp_seconds", [] if since is None else [((), since)]
    audit = audited.last(books.directory)
    difference, at = (audit.difference_micro / 1_000_000, audit.at) if audit else (0.0, 0.0)
    yield "ledger_audit_difference_usd", [((), difference)] if audit else []
    yield "ledger_last_audit_timestamp_seconds", [((), at)]
    midnight = datetime.combine(state.prices, time(), UTC)
    yield "prices_timestamp_seconds", [((), midnight.timestamp())]
    yield "database_size_bytes", [((), _size(books.directory))]
    yield "state_free_bytes", _free(books.directory)


def _size(directory: Path) -> int:
    found = 0
    for name in (database.NAME, f"{database.NAME}-wal"):
        with suppress(OSError):
            found += (directory / name).stat().st_size
    return found


def _free(directory: Path) -> list[tuple[Labels, float]]:
    try:
        return [((), shutil.disk_usage(directory).free)]
    except OSError:
        # Somebody has removed it: no figure is better than a wrong one.
        return []


def _in_flight(
    running: Mapping[tuple[str, Phase], int], providers: Iterable[str]
) -> list[tuple[Labels, float]]:
    """Return the calls by provider and phase, with those of whom there are none."""
    places: list[tuple[str, Phase]] = [("", Phase.QUEUED)]
    places += [(name, phase) for name in providers for phase in Phase if phase is not Phase.QUEUED]
    return [(place, running.get(place, 0)) for place in dict.fromkeys([*places, *running])]


def _connections(counts: Mapping[Origin, Count], config: Config) -> dict[Labels, float]:
    """Return the connections by provider and state; those to an origin that several providers share are the first one's."""
    providers: dict[Origin, str] = {}
    found: dict[Labels, float] = {}
    for account in config.accounts:
        provider = config.providers[account.provider]
        found |= {(account.provider, "active"): 0, (account.provider, "idle"): 0}
        for dialect in provider.dialects:
            url = provider.url(dialect, "/", account.base_url)
            providers.setdefault(Origin.of(url, account.proxy), account.provider)
    for origin, count in counts.items():
        name = providers.get(origin, OTHER)
        for state, number in (("active", count.open - count.idle), ("idle", count.idle)):
            found[name, state] = found.get((name, state), 0) + number
    return found


def _benched_until(account: AccountState, since_1970: float) -> float:
    until = max((why.until for why in account.why), default=None)
    return 0.0 if until is None else since_1970 + until
