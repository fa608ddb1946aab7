"""Which keys and teams the database has, and what a change of them comes to: decided here, done by the directory.

Every method that decides returns a ``Change`` and changes nothing; ``now`` is in microseconds since 1970. Refusals are raised.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from proxy.billing import options, stored
from proxy.billing.credit import Terms
from proxy.billing.options import Options, Reason, Refused
from proxy.billing.reading import Query
from proxy.billing.stored import KEY, TEAM, Action, StoredKey, Team, Token
from proxy.config import Key, key_hash
from proxy.config.errors import nearest

T = TypeVar("T", StoredKey, Team)


@dataclass(frozen=True, slots=True)
class Change(Generic[T]):
    """What is written, in one transaction, and what is there then. ``paid_in`` goes to the wallet of ``made``."""

    statements: tuple[Query, ...]
    made: T
    paid_in: int = 0


class Roster:
    """The keys and teams of the database; of the configuration's keys it knows the names and digests."""

    def __init__(self) -> None:
        self.prefix = ""
        """Of new keys."""
        self._keys: dict[str, StoredKey] = {}
        self._teams: dict[str, Team] = {}
        self._names: list[str] = []
        """Of the keys, sorted: a page begins where the last one ended."""
        self._hashes: dict[str, str] = {}
        """Whose key each digest opens, or did."""
        self._configured: Mapping[str, str] = {}

    def see(self, made: StoredKey | Team) -> None:
        """Have ``made`` in the place of what has its name."""
        if isinstance(made, Team):
            self._teams[made.name] = made
            return
        name = made.key.name
        if name not in self._keys:
            insort(self._names, name)
        self._keys[name] = made
        self._hashes.update((token.hash, name) for token in made.tokens)

    def terms(self, wallet: str) -> Terms | None:
        """Return the terms of a wallet; None: of a key of the configuration, which has them."""
        name = wallet.partition(":")[2]
        holder = self._teams.get(name) if wallet.startswith(TEAM) else self._keys.get(name)
        return None if holder is None else holder.terms

    @property
    def counts_tokens(self) -> bool:
        """A key has a limit by tokens."""
        return any(one.key.tpm is not None for one in self._keys.values())

    # The keys of the configuration.

    def adopt(self, configured: Mapping[str, str], prefix: str) -> None:
        """Know the names of the configuration's keys, with their digests or "", and the prefix of keys that are made."""
        self._configured = configured
        self.prefix = prefix

    def conflicts(self, keys: Iterable[Key]) -> list[str]:
        """Return what keys of a configuration have in common with those of the database, a line for each."""
        found = []
        for key in keys:
            if key.name in self._keys:
                found.append(
                    f'keys: found "{key.name}", expected a name that no key of the database has or had; '
                    "call it something else in the file"
                )
            elif key.hash in self._hashes:
                found.append(
                    f'keys: found "{key.name}" to be the key {self._hashes[key.hash]} of the database, '
                    "expected another one; take it out of the file"
                )
        return found

    # Looking up.

    def key(self, name: str) -> StoredKey:
        """Return a key of the database. Raises Refused."""
        found = self._keys.get(name)
        if found is not None:
            return found
        if name in self._configured:
            raise Refused(
                Reason.ABSENT,
                f"found {name} in the configuration, expected a key of the database; change it in the file",
            )
        raise _absent("key", name, self._keys)

    def team(self, name: str) -> Team:
        """Return a team. Raises Refused."""
        found = self._teams.get(name)
        if found is None:
            raise _absent("team", name, self._teams)
        return found

    def keys(self, after: str, limit: int, team: str | None = None) -> list[StoredKey]:
        """Return at most ``limit`` keys behind the name ``after``, by name; ``team``: only its own."""
        found: list[StoredKey] = []
        for name in self._names[bisect_right(self._names, after) :]:
            one = self._keys[name]
            if team is None or one.key.team == team:
                found.append(one)
                if len(found) == limit:
                    break
        return found

    def teams(self, after: str, limit: int) -> list[Team]:
        """Return at most ``limit`` teams behind the name ``after``, by name."""
        names = sorted(name for name in self._teams if name > after)
        return [self._teams[name] for name in names[:limit]]

    def wallet(self, name: str) -> str:
        """Return the wallet that ``KEY``, ``key:KEY`` or ``team:TEAM`` stands for. Raises Refused."""
        if name.startswith(TEAM):
            return self.team(name.removeprefix(TEAM)).wallet
        key = name.removeprefix(KEY)
        if key not in self._configured and key not in self._keys:
            raise _absent("key", key, [*self._keys, *self._configured])
        return KEY + key

    # Keys.

    def create_key(
        self,
        now: int,
        name: object,
        given: Mapping[str, object],
        through: str,
        *,
        opens: str,
        text: str | None,
        credit: int = 0,
    ) -> Change[StoredKey]:
        """Make a key that ``text`` opens, whose digest is ``opens``; without a text it came from elsewhere."""
        named = str(options.taken("name", options.NAME, name))
        if named in self._keys or named in self._configured:
            where = "the database" if named in self._keys else "the configuration"
            raise _taken(
                "name", f"a key {named} in {where}", "a new name; also a revoked key keeps its own"
            )
        if opens in self._hashes or opens in self._configured.values():
            raise _taken("hash", "this key already", "one that is new here")
        after = self._in_a_team(options.changed(options.KEY, {}, given))
        made = StoredKey(
            key=options.key_of(named, opens, after),
            options=after,
            created=now,
            revoked=None,
            tokens=(self._token(opens, text, now),),
        )
        return Change(
            (
                stored.insert_key(made),
                stored.insert_token(named, made.token),
                stored.insert_change(now, through, "create", made.wallet, after),
                *credited(made.wallet, credit, now, through),
            ),
            made,
            credit,
        )

    def update_key(
        self,
        now: int,
        name: str,
        given: Mapping[str, object],
        through: str,
        action: Action = "update",
    ) -> Change[StoredKey]:
        """Give a key the options ``given``, null for their defaults."""
        before = self.live(name)
        after = options.changed(options.KEY, before.options, given)
        if "team" in given:
            self._in_a_team(after)
        made = replace(before, key=options.key_of(name, before.key.hash, after), options=after)
        note = stored.insert_change(
            now, through, action, made.wallet, _told(before.options, after, given)
        )
        return Change((stored.update_key(made), note), made)

    def revoke_key(self, now: int, name: str, through: str) -> Change[StoredKey]:
        """Let nothing open a key any more, for good."""
        before = self.live(name)
        ended = tuple(
            replace(token, until=now) if token.until is None or token.until > now else token
            for token in before.tokens
        )
        made = replace(before, revoked=now, tokens=ended)
        return Change(
            (
                stored.update_key(made),
                *map(stored.end_token, ended),
                stored.insert_change(now, through, "revoke", made.wallet, {}),
            ),
            made,
        )

    def rotate_key(
        self, now: int, name: str, text: str, grace: int, through: str
    ) -> Change[StoredKey]:
        """Let ``text`` open a key, and what does so now for ``grace`` more microseconds."""
        before = self.live(name)
        ended = replace(before.token, until=min(now + grace, stored.LAST))
        fresh = self._token(key_hash(text), text, now)
        made = replace(before, tokens=(*before.tokens[:-1], ended, fresh))
        detail = {"to": fresh.shown, "grace_s": grace // 1_000_000}
        return Change(
            (
                stored.end_token(ended),
                stored.insert_token(name, fresh),
                stored.insert_change(now, through, "rotate", made.wallet, detail),
            ),
            made,
        )

    def usable(self, name: str) -> None:
        """Raise Refused if ``name`` is a key of the database that is revoked."""
        if name in self._keys:
            self.live(name)

    def live(self, name: str) -> StoredKey:
        """Return a key that is not revoked. Raises Refused."""
        found = self.key(name)
        if found.revoked is not None:
            since = f"{stored.moment(found.revoked):%Y-%m-%d %H:%M} UTC"
            raise Refused(
                Reason.TAKEN,
                f"found {name} revoked since {since}, expected a key in use; that cannot be undone: create another",
            )
        return found

    def _token(self, opens: str, text: str | None, now: int) -> Token:
        return Token(
            hash=opens,
            prefix=None if text is None else self.prefix,
            last_four=None if text is None else text[-4:],
            created=now,
        )

    def _in_a_team(self, after: Options) -> Options:
        """Return ``after`` if its team is one. A key in a team that nobody made would be bound by nothing."""
        name = after.get("team")
        if name is not None and name not in self._teams:
            refusal = _absent("team", name, self._teams)
            message = f"team: {refusal.message}; `splice teams create {name}` makes it"
            raise Refused(Reason.INVALID, message, "team")
        return after

    # Teams.

    def create_team(
        self,
        now: int,
        name: object,
        given: Mapping[str, object],
        through: str,
        *,
        credit: int = 0,
    ) -> Change[Team]:
        """Make a team."""
        named = str(options.taken("name", options.NAME, name))
        if named in self._teams:
            raise _taken("name", f"a team {named} already", "a new name")
        after = options.changed(options.TEAM, {}, given)
        made = Team(name=named, options=after, created=now)
        return Change(
            (
                stored.insert_team(made),
                stored.insert_change(now, through, "create", made.wallet, after),
                *credited(made.wallet, credit, now, through),
            ),
            made,
            credit,
        )

    def update_team(
        self, now: int, name: str, given: Mapping[str, object], through: str
    ) -> Change[Team]:
        """Give a team the options ``given``, null for their defaults."""
        before = self.team(name)
        after = options.changed(options.TEAM, before.options, given)
        made = replace(before, options=after)
        note = stored.insert_change(
            now, through, "update", made.wallet, _told(before.options, after, given)
        )
        return Change((stored.update_team(made), note), made)


def credited(
    wallet: str,
    amount: int,
    now: int,
    through: str,
    *,
    note: str | None = None,
    ref: str | None = None,
) -> tuple[Query, ...]:
    """Return what books a credit; nothing for an amount of 0."""
    if not amount:
        return ()
    detail = {name: value for name, value in (("note", note), ("ref", ref)) if value is not None}
    return (
        stored.insert_credit(wallet, amount, now, note, ref),
        stored.insert_change(now, through, "credit", wallet, detail, amount),
    )


def _told(before: Options, after: Options, given: Iterable[str]) -> dict[str, Sequence[object]]:
    """Return what was and what is of each option that was given."""
    return {name: (before.get(name), after.get(name)) for name in given}


def _absent(what: str, name: str, known: Iterable[str]) -> Refused:
    hint = nearest(name, known)
    advice = hint if hint.startswith("did you mean") else f"`splice {what}s list` shows them"
    return Refused(
        Reason.ABSENT, f"found no {what} {name[:64]!r}, expected one that is there; {advice}"
    )


def _taken(param: str, found: str, expected: str) -> Refused:
    return Refused(Reason.TAKEN, f"{param}: found {found}, expected {expected}", param)
