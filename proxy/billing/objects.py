"""What keys have made with providers: which file, batch or stored response is whose, and on which account it is.

Rules that hold here:

1. An object is found by the key that made it and by nobody else. Another key's, one that was deleted and one that never was are the
   same ``None``.
2. ``bind`` puts a record into the journal before the client is told of the object, so one that a client knows of survives the
   process; a power loss may take what was made within the last 25 ms, as of requests.
3. What an object is called and whose it is, is kept. Nothing of what is in it is: not even a file's name.
4. An id is the provider's. Should one key be told the same twice, the later object has it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

import orjson

from proxy.billing.reading import Query

MADE = b"O"
"""A record of the journal: an object was made."""
GONE = b"F"
"""… was deleted."""
LONGEST_ID = 256
"""Characters; the longest ids seen have some eighty."""
MAX_KNOWN = 10_000
"""Objects in memory, those asked for last: the database has them all."""

_DAY = 86_400_000_000


class Kind(StrEnum):
    """What an object is. Stored as text: a kind may be added, and none may change its word."""

    file = "file"
    batch = "batch"
    video = "video"
    response = "response"
    item = "item"
    """A part of a stored response, which a later request may refer to."""
    conversation = "conversation"
    upload = "upload"
    vector_store = "vector_store"
    cache = "cache"
    container = "container"
    other = "other"


KEPT: Mapping[Kind, int] = {Kind.response: 35 * _DAY, Kind.item: 35 * _DAY}
"""How long, in microseconds, what its provider lets go of by itself is remembered: OpenAI keeps a response for 30 days.

Anything else is remembered until it is deleted.
"""


class Object(NamedTuple):
    """``created`` is in microseconds since 1970; ``key_hash`` is the identity of the key."""

    key_hash: str
    id: str
    kind: str
    provider: str
    account: str
    created: int


class Change(NamedTuple):
    """``made``, else deleted."""

    made: bool
    one: Object

    def record(self) -> bytes:
        """Return the change as a record of the journal."""
        return (MADE if self.made else GONE) + orjson.dumps(tuple(self.one))

    def statement(self) -> Query:
        """Return what brings the change into the database; twice does no harm."""
        if self.made:
            return Query(_INSERT, self.one._asdict())
        return Query(_DELETE, {"key_hash": self.one.key_hash, "id": self.one.id})


_INSERT = (
    "INSERT INTO objects (key_hash, id, kind, provider, account, created) "
    "VALUES (:key_hash, :id, :kind, :provider, :account, :created) ON CONFLICT DO UPDATE SET "
    "kind = excluded.kind, provider = excluded.provider, account = excluded.account, created = excluded.created"
)
_DELETE = "DELETE FROM objects WHERE key_hash = :key_hash AND id = :id"
_COLUMNS = ", ".join(Object._fields)


def is_change(record: bytes) -> bool:
    """Tell whether a record of the journal is about an object."""
    return record[:1] in (MADE, GONE)


def read_change(record: bytes) -> Change:
    """Return the change that ``record`` holds. Raises ValueError."""
    found = orjson.loads(record[1:])
    match found:
        case [str(), str(), str(), str(), str(), int()]:
            return Change(record[:1] == MADE, Object(*found))
        case _:
            raise ValueError("found a record of an object that is none")


def too_old(wall: float) -> list[Query]:
    """Return what removes, at ``wall`` seconds since 1970, the objects that their providers have let go of."""
    return [
        Query(
            "DELETE FROM objects WHERE kind = :kind AND created < :before",
            {"kind": kind.value, "before": int(wall * 1e6) - kept},
        )
        for kind, kept in KEPT.items()
    ]


class Objects:
    """The objects of every key. What the database does not have yet is in memory too.

    ``append`` puts a record into the journal and tells whether it is kept; ``read`` returns the rows of a query of the database.
    """

    def __init__(
        self,
        append: Callable[[bytes], bool],
        read: Callable[[Query], Awaitable[Sequence[Mapping[str, Any]]]],
    ) -> None:
        self._append = append
        self._read = read
        self._waiting: list[Change] = []
        self._unkept: list[Change] = []
        """What neither the journal nor the database has."""
        self._latest: dict[tuple[str, str], Change] = {}
        """The last word of ``_waiting`` on each object."""
        self._known: dict[tuple[str, str], Object] = {}

    def bind(self, one: Object) -> bool:
        """Note that a key has made ``one``, which outlives the process once this returns.

        False: it is in memory alone until the disk has room again, or its id is none that could be kept, and it is nobody's.
        """
        if not 0 < len(one.id) <= LONGEST_ID or not one.id.isprintable() or not one.id.isascii():
            return False
        return self._change(Change(made=True, one=one))

    def forget(self, one: Object) -> None:
        """Note that ``one`` was deleted."""
        self._change(Change(made=False, one=one))

    async def owner(self, key_hash: str, wanted: str) -> Object | None:
        """Return the object of a key by its id; its ``account`` is where it is. Raises ReadTooLong, sqlite3.Error."""
        named = (key_hash, wanted)
        found = self._at_hand(named)
        if found is not None or not 0 < len(wanted) <= LONGEST_ID or not wanted.isascii():
            return found
        if named in self._latest:
            return None
        rows = await self._read(
            Query(
                f"SELECT {_COLUMNS} FROM objects WHERE key_hash = :key AND id = :id",  # noqa: S608 - our own names
                {"key": key_hash, "id": wanted},
            )
        )
        if named in self._latest or not rows:
            # Something has happened to it in the meantime.
            return self._at_hand(named)
        found = Object(**rows[0])
        self._remember(found)
        return found

    async def of_others(self, key_hash: str, names: Collection[str]) -> set[str]:
        """Return which of ``names`` are objects of other keys, and not of this one. Raises ReadTooLong, sqlite3.Error."""
        wanted = {
            name
            for name in names
            if 0 < len(name) <= LONGEST_ID and self._at_hand((key_hash, name)) is None
        }
        if not wanted:
            return set()
        rows = await self._read(
            Query(
                "SELECT key_hash, id FROM objects WHERE id IN (SELECT value FROM json_each(:names))",
                {"names": orjson.dumps(sorted(wanted)).decode()},
            )
        )
        owners = {(row["key_hash"], row["id"]) for row in rows}
        for named, change in self._latest.items():
            (owners.add if change.made else owners.discard)(named)
        own = {name for owner, name in owners if owner == key_hash}
        return {name for _, name in owners if name in wanted} - own

    async def listed(
        self,
        key_hash: str,
        kind: str,
        provider: str | None = None,
        *,
        limit: int = 100,
        after: str | None = None,
        oldest_first: bool = False,
    ) -> list[Object]:
        """Return up to ``limit`` objects of a key, the newest first, that come after the one of the id ``after``.

        An ``after`` that is none of this key's yields nothing. Raises ReadTooLong, sqlite3.Error.
        """
        place: Object | None = None
        if after is not None:
            place = await self.owner(key_hash, after)
            if place is None:
                return []
        waiting = dict(self._latest)
        # Those that wait here may be in the database too, or be about to go from it.
        rows = await self._read(
            _page(key_hash, kind, provider, place, limit + len(waiting), oldest_first)
        )
        found = {row["id"]: Object(**row) for row in rows}
        # What was booked while that was read is in neither.
        for (owner, name), change in {**waiting, **self._latest}.items():
            if owner != key_hash:
                continue
            found.pop(name, None)
            one = change.one
            if change.made and one.kind == kind and provider in (None, one.provider):
                found[name] = one
        order = sorted(found.values(), key=_moment, reverse=not oldest_first)
        if place is not None:
            passed = _moment(place)
            order = [
                one
                for one in order
                if (_moment(one) > passed if oldest_first else _moment(one) < passed)
            ]
        return order[:limit]

    def note(self, change: Change) -> None:
        """Know of a change, which the journal has: another process has put it there, or this one is about to."""
        named = (change.one.key_hash, change.one.id)
        self._waiting.append(change)
        self._latest[named] = change
        if change.made:
            self._remember(change.one)
        else:
            self._known.pop(named, None)

    # What brings them into the database.

    @property
    def waiting(self) -> tuple[Change, ...]:
        """What the database does not have, in the order in which it happened."""
        return tuple(self._waiting)

    def booked(self, count: int) -> None:
        """Note that the database has the first ``count`` of what was waiting."""
        done = self._waiting[:count]
        del self._waiting[:count]
        kept = {id(one) for one in done}
        self._unkept = [one for one in self._unkept if id(one) not in kept]
        for change in done:
            named = (change.one.key_hash, change.one.id)
            if self._latest.get(named) is change:
                del self._latest[named]

    def retry(self) -> bool:
        """Put down again what the journal did not take; tell whether it has everything."""
        written = 0
        for change in self._unkept:
            if not self._append(change.record()):
                break
            written += 1
        del self._unkept[:written]
        return not self._unkept

    def doubt(self) -> None:
        """Count as unkept what only the journal has: it could not be synced."""
        self._unkept = [*self._waiting]

    # Steps.

    def _change(self, change: Change) -> bool:
        self.note(change)
        if self._append(change.record()):
            return True
        self._unkept.append(change)
        return False

    def _at_hand(self, named: tuple[str, str]) -> Object | None:
        change = self._latest.get(named)
        if change is not None:
            return change.one if change.made else None
        known = self._known.pop(named, None)
        if known is not None:
            # The last one asked for is the last to be let go of.
            self._known[named] = known
        return known

    def _remember(self, one: Object) -> None:
        self._known.pop((one.key_hash, one.id), None)
        self._known[one.key_hash, one.id] = one
        if len(self._known) > MAX_KNOWN:
            del self._known[next(iter(self._known))]


def statements(changes: Iterable[Change]) -> list[Query]:
    """Return what brings ``changes`` into the database."""
    return [change.statement() for change in changes]


def _page(
    key_hash: str,
    kind: str,
    provider: str | None,
    place: Object | None,
    limit: int,
    oldest_first: bool,  # noqa: FBT001 - a helper of one caller
) -> Query:
    beyond, order = (">", "ASC") if oldest_first else ("<", "DESC")
    clauses = ["key_hash = :key", "kind = :kind"]
    if provider is not None:
        clauses.append("provider = :provider")
    if place is not None:
        clauses.append(f"(created, id) {beyond} (:created, :id)")
    return Query(
        f"SELECT {_COLUMNS} FROM objects WHERE {' AND '.join(clauses)} "  # noqa: S608 - our own words
        f"ORDER BY created {order}, id {order} LIMIT :limit",
        {
            "key": key_hash,
            "kind": kind,
            "provider": provider,
            "created": place.created if place is not None else None,
            "id": place.id if place is not None else None,
            "limit": limit,
        },
    )


def _moment(one: Object) -> tuple[int, str]:
    return one.created, one.id
