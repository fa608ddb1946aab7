"""The keys, teams and credits of the database, and how they are changed.

Rules that hold here:

1. One change at a time. It is decided from memory, committed in one transaction together with a note of who made it, and then
   seen by the roster, the keyring and the wallets in one step: nothing awaits in between.
2. Whoever asks for a change and leaves does not stop it in the middle.
3. The text of a key is made here and returned once. What is kept is its SHA-256, its prefix and its last four characters.

A daemon has one of these for as long as it runs; a command has one for a moment, while it holds the state directory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from proxy.billing import stored
from proxy.billing.credit import Terms
from proxy.billing.keys import Keyring
from proxy.billing.ledger import Ledger
from proxy.billing.options import Reason, Refused
from proxy.billing.reading import Query
from proxy.billing.roster import Change, Roster, credited
from proxy.billing.stored import KEY, Action, StoredKey, Team, Token
from proxy.config import key_hash, new_key
from proxy.money import usd
from proxy.tasks import spawn

T = TypeVar("T")
M = TypeVar("M", StoredKey, Team)
Row = Mapping[str, Any]

_LOADING = 60.0
"""Seconds to read all of it in: a start has no calls that wait, and writes nothing meanwhile."""


class Wallets(Protocol):
    """Who holds money for calls that run. Names are ``key:…`` and ``team:…``, amounts micro-USD."""

    def set_terms(self, name: str, terms: Terms) -> None: ...
    def pay_in(self, name: str, micro: int) -> None: ...
    def drop(self, name: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Booked:
    """A credit that is in the books; ``again``: its ref was booked before, and nothing was added now."""

    credit: Row
    again: bool


class Directory:
    """Made by ``open``. ``roster`` is what there is, ``paid_in`` the sum of the credits of each wallet that has any."""

    def __init__(
        self,
        ledger: Ledger,
        keyring: Keyring,
        wall: Callable[[], float],
        wallets: Wallets | None,
    ) -> None:
        self.roster = Roster()
        self.paid_in: dict[str, int] = {}
        self._ledger = ledger
        self._keyring = keyring
        self._wall = wall
        self._wallets = wallets
        self._changing = asyncio.Lock()

    @classmethod
    async def open(
        cls,
        ledger: Ledger,
        keyring: Keyring,
        *,
        wall: Callable[[], float],
        wallets: Wallets | None = None,
    ) -> Directory:
        """Return what the database has, with its keys in the keyring. Raises sqlite3.Error, Refused.

        ``wall`` returns the time since 1970. ``wallets`` are told the terms and the credits that there are, those of keys of the
        configuration too, and from then on what changes.
        """
        made = cls(ledger, keyring, wall, wallets)
        _, (teams, keys, hashes, paid) = await ledger.read(*stored.ALL, within=_LOADING)
        tokens: dict[str, list[Token]] = {}
        for row in hashes:
            tokens.setdefault(row["key_name"], []).append(stored.read_token(row))
        for row in teams:
            made._see(stored.read_team(row))
        for row in keys:
            made._see(stored.read_key(row, tuple(tokens.get(row["name"], ()))))
        for row in paid:
            made._pay_in(row["wallet_id"], row["paid_in"])
        return made

    def now(self) -> int:
        """Return the time in microseconds since 1970."""
        return int(self._wall() * 1e6)

    def unchanging(self) -> AbstractAsyncContextManager[None]:
        """Return what keeps changes out while it is entered."""
        return self._changing

    # Keys.

    async def create_key(
        self,
        name: object,
        given: Mapping[str, object],
        through: str,
        *,
        digest: str | None = None,
        credit: int = 0,
    ) -> tuple[StoredKey, str | None]:
        """Make a key; return it with its text, which cannot be asked for again. Raises Refused, sqlite3.Error.

        ``digest``: the key exists, and this is its SHA-256; its text is not known.
        """
        text = new_key(self.roster.prefix) if digest is None else None
        opens = key_hash(text) if text is not None else digest or ""
        made = await self._change(
            lambda now: self.roster.create_key(
                now, name, given, through, opens=opens, text=text, credit=credit
            )
        )
        return made, text

    async def update_key(
        self, name: str, given: Mapping[str, object], through: str, action: Action = "update"
    ) -> StoredKey:
        """Give a key other options, null for their defaults. Raises Refused, sqlite3.Error."""
        return await self._change(
            lambda now: self.roster.update_key(now, name, given, through, action)
        )

    async def revoke_key(self, name: str, through: str) -> StoredKey:
        """Let nothing open a key any more, for good. Raises Refused, sqlite3.Error."""
        return await self._change(lambda now: self.roster.revoke_key(now, name, through))

    async def rotate_key(self, name: str, grace: float, through: str) -> tuple[StoredKey, str]:
        """Make another text for a key; what opens it now does so for ``grace`` more seconds. Raises Refused, sqlite3.Error."""
        text = new_key(self.roster.prefix)
        micros = int(grace * 1e6)
        made = await self._change(
            lambda now: self.roster.rotate_key(now, name, text, micros, through)
        )
        return made, text

    # Teams.

    async def create_team(
        self, name: object, given: Mapping[str, object], through: str, *, credit: int = 0
    ) -> Team:
        """Make a team. Raises Refused, sqlite3.Error."""
        return await self._change(
            lambda now: self.roster.create_team(now, name, given, through, credit=credit)
        )

    async def update_team(self, name: str, given: Mapping[str, object], through: str) -> Team:
        """Give a team other options, null for their defaults. Raises Refused, sqlite3.Error."""
        return await self._change(lambda now: self.roster.update_team(now, name, given, through))

    # Credits.

    async def add_credit(
        self, name: str, amount: int, through: str, *, note: str | None, ref: str | None
    ) -> Booked:
        """Add ``amount`` to a wallet, or take it back (below 0); a ref is booked once. Raises Refused, sqlite3.Error."""

        async def book() -> Booked:
            wallet = self.roster.wallet(name)
            if ref is not None and (found := await self.read(stored.credit_by_ref(wallet, ref))):
                return _booked_before(found[0], amount, ref)
            if wallet.startswith(KEY):
                self.roster.usable(wallet.removeprefix(KEY))
            await self._ledger.write(
                credited(wallet, amount, self.now(), through, note=note, ref=ref)
            )
            self._pay_in(wallet, amount)
            return Booked((await self.read(stored.credits_of(wallet, 1, None)))[0], again=False)

        return await self._alone(book)

    async def read(self, query: Query) -> Sequence[Row]:
        """Return the rows of ``query``. Raises ReadTooLong, sqlite3.Error."""
        _, (rows,) = await self._ledger.read(query)
        return rows

    # Changing.

    async def _change(self, decide: Callable[[int], Change[M]]) -> M:
        async def commit() -> M:
            change = decide(self.now())
            await self._ledger.write(change.statements)
            self._see(change.made)
            if change.paid_in:
                self._pay_in(change.made.wallet, change.paid_in)
            return change.made

        return await self._alone(commit)

    async def _alone(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Return what ``work`` does while nothing else changes; it goes on to its end also if nobody waits for it any more."""
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        async def run() -> None:
            async with self._changing:
                result = await work()
            if not done.done():
                done.set_result(result)

        def failed(error: BaseException) -> None:
            if not done.done():
                done.set_exception(error)

        spawn(run(), "directory", failed)
        return await done

    def _see(self, made: StoredKey | Team) -> None:
        self.roster.see(made)
        if isinstance(made, StoredKey):
            self._let_in(made)
        if self._wallets is None:
            return
        if isinstance(made, StoredKey) and made.revoked is not None:
            self._wallets.drop(made.wallet)
        else:
            self._wallets.set_terms(made.wallet, made.terms)

    def _let_in(self, key: StoredKey) -> None:
        """Let the keyring know what opens ``key``, and what does not."""
        opened = dict(key.opened_by())
        for token in key.tokens:
            if token.hash in opened:
                self._keyring.put(token.hash, opened[token.hash])
            else:
                self._keyring.drop(token.hash)

    def _pay_in(self, wallet: str, amount: int) -> None:
        self.paid_in[wallet] = self.paid_in.get(wallet, 0) + amount
        if self._wallets is not None:
            self._wallets.pay_in(wallet, amount)


def _booked_before(credit: Row, amount: int, ref: str) -> Booked:
    """Return the credit that has this ref already, or raise the refusal of a ref that stands for another amount."""
    if credit["amount_micro"] != amount:
        raise Refused(
            Reason.TAKEN,
            f"found the ref {ref} booked with {usd(credit['amount_micro'])} USD, expected the same amount; "
            "use another ref for another credit",
            "ref",
        )
    return Booked(credit, again=True)
