"""Which upstream account takes the next call."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from proxy.config.model import Account, Config, Target
from proxy.providers import Provider
from proxy.routing.catalog import serves


@dataclass(slots=True)
class Seat:
    """An account at work: how many calls it carries."""

    account: Account
    provider: Provider
    in_flight: int = 0
    heads: dict[bool, bytes] = field(default_factory=dict)
    """The account's header lines as bytes, for streamed calls and others."""

    @property
    def is_full(self) -> bool:
        """It carries as many calls as it may."""
        limit = self.account.concurrency
        return limit is not None and self.in_flight >= limit


class Pool:
    """All accounts by their provider."""

    def __init__(self, config: Config) -> None:
        self._seats: dict[str, list[Seat]] = {}
        for account in config.accounts:
            seat = Seat(account, config.providers[account.provider])
            self._seats.setdefault(account.provider, []).append(seat)

    def pick(self, target: Target, tried: Collection[str]) -> Seat | None:
        """Return the account to try next for ``target``: the lowest priority first, then the least laden for its weight.

        Accounts in ``tried`` and full ones are passed over; None if nobody is left.
        """
        seats = self._seats.get(target.provider, ())
        able = [
            seat
            for seat in seats
            if seat.account.name not in tried
            and not seat.is_full
            and serves(seat.account.models, target.model)
        ]
        if len(able) < 2:
            return able[0] if able else None
        return min(
            able, key=lambda seat: (seat.account.priority, seat.in_flight / seat.account.weight)
        )

    def __len__(self) -> int:
        return sum(map(len, self._seats.values()))


def in_turn(targets: Sequence[Target], draw: float) -> list[Target]:
    """Return ``targets`` in the order in which to try them: by their order, and shared by weight where that is equal.

    ``draw`` is a random number in [0, 1); the same one gives the same order.
    """
    if len(targets) == 1:
        return list(targets)
    ordered: list[Target] = []
    rest = sorted(targets, key=lambda target: target.order)
    while rest:
        peers = [target for target in rest if target.order == rest[0].order]
        chosen = _weighted(peers, draw)
        ordered.append(chosen)
        rest.remove(chosen)
    return ordered


def _weighted(targets: Sequence[Target], draw: float) -> Target:
    mark = draw * sum(target.weight for target in targets)
    for target in targets:
        mark -= target.weight
        if mark < 0:
            return target
    return targets[-1]
