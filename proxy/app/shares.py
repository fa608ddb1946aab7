"""What two processes share while the one takes the other's place: credits, budgets, buckets, and the places at accounts.

Each lets calls in against half of what was left when the ledger changed hands, so together they never spend more than there
was. What the old one holds for calls that run is held in the new one as well, until the old one has ended and the
ledger knows what they cost.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from proxy.billing.entry import ACCOUNT, COST, STARTED, Row
from proxy.routing.limits import Missing
from proxy.routing.seat import Seat
from proxy.server.gateway import Gateway


def told(gateway: Gateway) -> dict[str, Any]:
    """Return what the new process has to know, in the words of JSON."""
    now = gateway.now()
    return {
        "wallets": gateway.means.wallets.held(),
        "keys": [[*name, *one] for name, one in gateway.key_limits.missing(now).items()],
        "accounts": {seat.name: [*seat.limiter.missing(now)] for seat in _seats(gateway)},
        "running": running(gateway),
    }


def running(gateway: Gateway) -> dict[str, int]:
    """Return how many calls run at each account."""
    return {seat.name: seat.in_flight for seat in _seats(gateway) if seat.in_flight}


def go_on(gateway: Gateway, shared: Mapping[str, Any]) -> None:
    """Have the new process go on from where the old one was, on its half of everything."""
    now, wall = gateway.now(), gateway.clock()
    gateway.means.wallets.share(shared.get("wallets", {}), wall)
    missing = {(key, model): Missing(*rest) for key, model, *rest in shared.get("keys", ())}
    gateway.key_limits.share(missing, now)
    for seat in _seats(gateway):
        seat.share(Missing(*shared.get("accounts", {}).get(seat.name, ())), now, wall)
    note_running(gateway, shared.get("running", {}))


def note_running(gateway: Gateway, accounts: Mapping[str, int]) -> None:
    """Count the calls that run in the old process at the accounts where they do."""
    for seat in _seats(gateway):
        seat.elsewhere(accounts.get(seat.name, 0))
    gateway.means.queue.wake()


def leave(gateway: Gateway) -> None:
    """Have the old process make do with its half of what comes back by itself; ``Wallets.share`` has done the rest."""
    now, wall = gateway.now(), gateway.clock()
    gateway.key_limits.share({}, now)
    for seat in _seats(gateway):
        seat.share(Missing(), now, wall)


def book(gateway: Gateway, row: Row) -> None:
    """Count what a call of the old process cost."""
    gateway.means.wallets.hear(row)
    cost, began = row[COST], row[STARTED]
    seat = gateway.pool.seat(str(row[ACCOUNT]))
    if seat is not None and isinstance(cost, int) and isinstance(began, int):
        seat.spend(cost, gateway.now(), gateway.clock())


def alone(gateway: Gateway) -> None:
    """Have everything again: the old process has ended, and what it cost is booked."""
    now, wall = gateway.now(), gateway.clock()
    gateway.means.wallets.alone()
    for seat in _seats(gateway):
        seat.alone(now, wall)
    gateway.means.queue.wake()


def _seats(gateway: Gateway) -> Iterator[Seat]:
    for account in gateway.config.accounts:
        seat = gateway.pool.seat(account.name)
        if seat is not None:
            yield seat
