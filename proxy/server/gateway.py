"""The public listener: which request is which endpoint's, and what every one of them has in common."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from aiohttp import web

from proxy.billing.books import Books
from proxy.billing.directory import Directory
from proxy.billing.keys import Keyring, check
from proxy.config import Change
from proxy.config.model import Config, Key
from proxy.dialects.memory import Memory
from proxy.errors import GatewayError, Kind
from proxy.log import Log
from proxy.relay.call import Call
from proxy.relay.means import Means
from proxy.routing.catalog import Catalog, Route
from proxy.routing.limits import KeyLimits
from proxy.routing.offers import Offers
from proxy.routing.pool import Pool
from proxy.server.auth import identify
from proxy.server.documents import Documents
from proxy.server.exchange import Exchange, address_of, cors_fields
from proxy.server.failures import Failures
from proxy.server.guard import Written
from proxy.server.handover import Before, NotUpgraded, Upgraded
from proxy.server.tokens import Digits

Endpoint = Callable[["Gateway", Exchange], Awaitable[None]]


async def no_upgrade() -> Upgraded:
    """Raise NotUpgraded."""
    raise NotUpgraded("only `splice serve` can be upgraded in place")


@dataclass(slots=True)
class Gateway:
    """Everything that a request may need. One is made for a configuration; ``calls`` are the ones that run."""

    config: Config
    catalog: Catalog
    keyring: Keyring
    pool: Pool
    key_limits: KeyLimits
    counts_tokens: bool
    """Somebody has a limit by tokens, so calls are estimated before they run."""
    means: Means
    books: Books
    directory: Directory
    """Of the keys that are not configuration; ``keyring`` has those too."""
    memory: Memory
    offers: Offers
    log: Log
    clock: Callable[[], float]
    """The time of day."""
    now: Callable[[], float]
    """The loop's time."""
    routes: Callable[[Exchange, Mapping[str, str]], Endpoint]
    documents: Documents
    version: str
    started: float
    """When it was made, in the loop's time."""
    reload: Callable[[], Awaitable[list[Change]]] = field(init=False, repr=False)
    """Go by the configuration file as it is now; raises ConfigError. Set by whoever runs the gateway."""
    upgrade: Callable[[], Awaitable[Upgraded]] = no_upgrade
    """Have another process take this one's place; raises NotUpgraded. Set by the daemon."""
    before: Before | None = None
    """The process whose place this one took, until it has ended."""
    draining: bool = False
    """Each answer is the last one on its connection."""
    closing: bool = False
    """The time for calls is over: the next one is refused."""
    calls: set[Call] = field(default_factory=set)
    reads_on: bool = False
    """Somebody wants to know what a call used whose client has left."""
    reading_on: int = 0
    """How many such calls there are."""
    failures: Failures = field(default_factory=Failures)
    digits: Digits = field(default_factory=Digits)
    random: random.Random = field(default_factory=random.Random)

    def enter(self, call: Call) -> None:
        """Count ``call`` among those that run."""
        self.calls.add(call)

    def leave(self, call: Call) -> None:
        """Count ``call`` out."""
        self.calls.discard(call)

    async def handle(self, request: web.BaseRequest) -> Written:
        """Answer one request; the one place where a GatewayError becomes an answer."""
        exchange = Exchange(
            request,
            "req_" + self.digits.take(26),
            self.means.outbox,
            now=self.now(),
            draining=self.draining,
            cors=self.config.server.cors_origins,
        )
        try:
            await self.routes(exchange, self.catalog.called)(self, exchange)
        except GatewayError as error:
            self._refuse(exchange, error)
        except ConnectionResetError:
            raise
        except Exception as error:  # noqa: BLE001 - the request boundary: one bad request, one log line, one 500
            self.log.failure(
                "request failed", error, request_id=exchange.request_id, route=exchange.record.route
            )
            if exchange.delivery.started:
                # A second answer behind half of the first would be worse than none.
                exchange.delivery.abort()
            else:
                self._refuse(exchange, GatewayError(Kind.INTERNAL, evidence=repr(error)))
        return exchange.written()

    def identify(self, exchange: Exchange) -> Key:
        """Return the key of the request, noted in its record, or raise the 401 or 403."""
        try:
            key = identify(exchange.request.headers, exchange.query, self.keyring)
        except GatewayError:
            self._note_stranger(exchange)
            raise
        exchange.record.key = key.name
        exchange.record.team = key.team
        if key.expires is not None or key.allow_ip or not key.enabled:
            address = address_of(exchange.request, self.config.server.trusted_proxies)
            check(key, datetime.fromtimestamp(self.clock(), UTC), address)
        return key

    def _note_stranger(self, exchange: Exchange) -> None:
        """Count a request without a key of ours; raise the 429 if its address sends too many of them."""
        address = address_of(exchange.request, self.config.server.trusted_proxies)
        if not self.failures.allows(address, self.now()):
            raise GatewayError(Kind.AUTH_RATE, retry_after=1) from None

    def route(self, key: Key, name: str, param: str = "model") -> Route:
        """Return what ``name`` stands for, or raise the 404 with the nearest names that ``key`` may call, or the 403."""
        route = self.catalog.resolve(name)
        if route is None:
            near = self.catalog.nearest(name, key.models)
            hint = f" Did you mean {' or '.join(f'`{one}`' for one in near)}?" if near else ""
            raise GatewayError(
                Kind.UNKNOWN_MODEL,
                f"The model `{name[:128]}` does not exist here.{hint}",
                param=param,
            )
        if not route.is_open_to(key.models):
            raise GatewayError(
                Kind.MODEL_NOT_ALLOWED,
                f"This key may not call the model `{name[:128]}`.",
                param=param,
            )
        return route

    def _refuse(self, exchange: Exchange, error: GatewayError) -> None:
        if exchange.record.ended == 0.0:
            exchange.record.error = error
            exchange.record.status = error.status
            self.close_books(exchange)
        exchange.refuse(error)

    def close_books(self, exchange: Exchange) -> None:
        """Settle a request that no call of a model came of; its record says how it ended."""
        exchange.record.ended = self.now()
        self.means.settle(exchange.record)


def preflight(exchange: Exchange, allowed: tuple[str, ...], methods: str) -> bytes:
    """Return the header lines that answer a browser's OPTIONS."""
    origin = exchange.request.headers.get("origin", "")
    fields = cors_fields(origin, allowed) if origin else ""
    if fields:
        wanted = exchange.request.headers.get("access-control-request-headers", "*")
        safe = wanted if wanted.isascii() and wanted.isprintable() else "*"
        fields += (
            f"Access-Control-Allow-Methods: {methods}\r\nAccess-Control-Allow-Headers: {safe}\r\n"
            "Access-Control-Max-Age: 86400\r\n"
        )
    return f"{fields}Allow: {methods}\r\n".encode()
