"""The wallets of all keys and teams by their names, and the holds that are open.

Rules that hold here:

1. A wallet is known by the name that its requests have in the ledger: ``key:…`` or ``team:…``.
2. What was paid in is a sum that others keep: the configuration (``credit_usd``, once in all) and the database (``pay_in``).
   What was drawn from it is in the ledger. The credit is the one less the other, at every start again.
3. While two processes settle calls, because one takes over from the other, each leaves half of what was there to the other, and
   the newer one hears of what the older one has settled.
4. A wallet whose terms are new has to be counted anew from the ledger, since it is not charged while nothing binds it: ``uncounted``
   says that there is one, ``count`` does it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import NamedTuple

from proxy.billing.credit import Hold, Short, Terms, Wallet, hold
from proxy.billing.entry import KEY_DRAWN, KEY_NAME, PRICE, STARTED, TEAM, TEAM_DRAWN, Row
from proxy.billing.spent import Spent, whole
from proxy.config.model import Key
from proxy.money import micro

_FREE = Terms()
_NOTHING = Spent()
_TEAM = "team:"


class Drawn(NamedTuple):
    """What a call took out of the credit of its key and of its team, in micro-USD."""

    key: int = 0
    team: int = 0


class Wallets:
    """Made of the keys of a configuration. ``holds`` are those that are open."""

    def __init__(self, keys: Iterable[Key] = ()) -> None:
        self.holds: set[Hold] = set()
        self.uncounted = False
        """The terms of some wallet are new, and what it has spent is to be counted."""
        self._keys: dict[str, Wallet] = {}
        """By the key's name alone, so that a call need not write the wallet's."""
        self._teams: dict[str, Wallet] = {}
        self._paid: dict[str, int] = {}
        self._configured: dict[str, int] = {}
        """What of that the configuration says."""
        self.adopt(keys)

    # On the way of a call.

    def of(self, key: Key) -> tuple[Wallet, ...]:
        """Return the wallets whose terms bind ``key``: its own, and its team's if it has one."""
        own = self._keys.get(key.name)
        team = None if key.team is None else self._teams.get(key.team)
        if own is None and team is None:
            return ()
        return tuple([one for one in (own, team) if one is not None and one.terms.bound])

    def hold(self, wallets: Iterable[Wallet], amount: int, wall: float) -> Hold | Short:
        """Hold ``amount`` in all of ``wallets`` or in none; return what does not cover it."""
        found = hold(wallets, amount, wall)
        if isinstance(found, Hold):
            self.holds.add(found)
        return found

    def settle(self, one: Hold, price: int, began: float) -> Drawn:
        """Close a hold of a call that began at ``began`` and cost ``price``; return where that came from."""
        self.holds.discard(one)
        return drawn(one, one.settle(price, began))

    # What others say.

    def adopt(self, keys: Iterable[Key]) -> None:
        """Go by the keys of another configuration. One that is gone is bound by nothing, and nothing was paid in for it."""
        configured = {f"key:{key.name}": key for key in keys}
        for name in self._configured.keys() - configured.keys():
            self.pay_in(name, -self._configured.pop(name))
            self.set_terms(name, _FREE)
        for name, key in configured.items():
            credit = 0 if key.credit_usd is None else micro(key.credit_usd)
            self.pay_in(name, credit - self._configured.get(name, 0))
            self._configured[name] = credit
            self.set_terms(name, terms_of(key))

    def set_terms(self, name: str, terms: Terms) -> None:
        """Have the wallet ``name`` go by ``terms``. One that is new is made if they bind it."""
        wallets, short = self._place(name)
        wallet = wallets.get(short)
        if wallet is None:
            if not terms.bound:
                return
            wallet = wallets[short] = Wallet(name, terms)
            wallet.credit = self._paid.get(name, 0)
        elif wallet.terms == terms:
            return
        else:
            wallet.adopt(terms)
        self.uncounted = True

    def pay_in(self, name: str, amount: int) -> None:
        """Add micro-USD to the credit of the wallet ``name``, or take some back (below 0); it need not exist yet."""
        if amount:
            self._paid[name] = self._paid.get(name, 0) + amount
        wallet = self.get(name)
        if wallet is not None:
            wallet.pay_in(amount)

    def drop(self, name: str) -> None:
        """Forget the wallet ``name`` and what was paid in; holds that are open end as they would have."""
        wallets, short = self._place(name)
        wallets.pop(short, None)
        self._paid.pop(name, None)
        self._configured.pop(name, None)

    def count(self, spent: Mapping[str, Spent], wall: float) -> None:
        """Have every wallet go by what the ledger says was spent; whose name is not in ``spent`` has spent nothing.

        What a key has spent in a month before it was prepaid counts against its allowance.
        """
        for wallet in self:
            found = spent.get(wallet.name, _NOTHING)
            credit = self._paid.get(wallet.name, 0) - found.drawn
            covered = found.month - found.month_drawn
            wallet.restore(credit, covered, found.within(wallet.terms.period), wall)
        self.uncounted = False

    # Beside another process.

    def held(self) -> dict[str, int]:
        """Return what is held of each wallet, by its name."""
        return {one.name: one.held for one in self if one.held}

    def share(self, held: Mapping[str, int], wall: float) -> None:
        """Leave half of what is left of every wallet to another process, which holds ``held``."""
        for one in self:
            one.share(held.get(one.name, 0), wall)

    def hear(self, row: Row) -> None:
        """Charge the request that another process has settled."""
        began, price = whole(row[STARTED]) / 1e6, whole(row[PRICE])
        own = self._keys.get(str(row[KEY_NAME]))
        if own is not None:
            own.charge_elsewhere(price, whole(row[KEY_DRAWN]), began)
        team = None if row[TEAM] is None else self._teams.get(str(row[TEAM]))
        if team is not None:
            team.charge_elsewhere(price, whole(row[TEAM_DRAWN]), began)

    def alone(self) -> None:
        """Have everything again: the other process has ended, and what it cost is counted."""
        for one in self:
            one.alone()

    # Looking.

    def get(self, name: str) -> Wallet | None:
        """Return the wallet ``name``; None if nothing ever bound it."""
        wallets, short = self._place(name)
        return wallets.get(short)

    def of_keys(self) -> Iterable[Wallet]:
        """Return the wallets of keys, without those of teams."""
        return self._keys.values()

    def __iter__(self) -> Iterator[Wallet]:
        return chain(self._keys.values(), self._teams.values())

    def _place(self, name: str) -> tuple[dict[str, Wallet], str]:
        kind, _, short = name.partition(":")
        return (self._teams if kind == "team" else self._keys), short


def terms_of(key: Key) -> Terms:
    """Return the terms of a key of the configuration."""
    return Terms(
        prepaid=key.prepaid,
        allowance=0 if key.allowance_usd is None else micro(key.allowance_usd),
        budget=None if key.budget_usd is None else micro(key.budget_usd),
        period=key.budget_period or "total",
    )


def drawn(one: Hold, amounts: Iterable[int]) -> Drawn:
    """Return ``amounts``, one for each wallet of a hold, by whose they are."""
    key = team = 0
    for wallet, amount in zip(one.wallets, amounts, strict=False):
        if wallet.name.startswith(_TEAM):
            team = amount
        else:
            key = amount
    return Drawn(key, team)
