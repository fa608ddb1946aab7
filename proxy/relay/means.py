"""What all calls of a configuration share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from proxy.billing.objects import Object
from proxy.billing.tariff import Tariff
from proxy.billing.wallets import Wallets
from proxy.config.model import Retry, Streaming
from proxy.counts import Metrics
from proxy.dialects.pace import Paces
from proxy.errors import GatewayError
from proxy.relay.outbox import Outbox
from proxy.relay.queue import Queue
from proxy.relay.record import Record
from proxy.relay.way import Ways
from proxy.routing.pool import Pool
from proxy.upstream.connections import Connections


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """Replaced by a reload, and not changed.

    ``loop`` is here because asking for the running one is a system call (Python 3.11 looks whether it was forked).
    """

    loop: asyncio.AbstractEventLoop
    clock: Callable[[], float]
    """The time of day."""
    pool: Pool
    queue: Queue
    tariff: Tariff
    paces: Paces
    wallets: Wallets
    connections: Connections
    outbox: Outbox
    streaming: Streaming
    retry: Retry
    ways: Ways
    expose: frozenset[str]
    frame_error: Mapping[str, Callable[[GatewayError, str], bytes]]
    settle: Callable[[Record], None]
    bind: Callable[[Object], object]
    """Notes what a key has made with a provider, before the key is told of it."""
    metrics: Metrics
