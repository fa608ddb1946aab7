"""Keys, teams and credits of the database as values, and the statements that read and write them.

A moment is whole microseconds since 1970, an amount whole micro-USD.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import orjson

from proxy.billing.credit import Terms
from proxy.billing.options import TEAM as TEAM_OPTIONS
from proxy.billing.options import Options, Reason, Refused, changed, key_of, terms_of
from proxy.billing.reading import TOKENS, Query
from proxy.config import Key

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LAST = 253_402_300_799_000_000
"""The last moment that can be told: the end of the year 9999."""
TEAM = "team:"
KEY = "key:"

Action = Literal["create", "update", "disable", "enable", "revoke", "rotate", "credit"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """What opens a key, or did. ``until`` is None for the one that does; ``prefix`` and ``last_four`` for one that came as a hash."""

    hash: str
    prefix: str | None
    last_four: str | None
    created: int
    until: int | None = None

    @property
    def shown(self) -> str | None:
        """As it may be told: ``sk-splice-…x7Qz``."""
        return None if self.last_four is None else f"{self.prefix}…{self.last_four}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredKey:
    """A key of the database. ``key.hash`` is its identity, which rotation does not change."""

    key: Key
    options: Options
    created: int
    revoked: int | None
    tokens: tuple[Token, ...]
    """The one that opens it last; those before it are rotated out."""

    @property
    def terms(self) -> Terms:
        return terms_of(self.options)

    @property
    def wallet(self) -> str:
        return KEY + self.key.name

    @property
    def token(self) -> Token:
        return self.tokens[-1]

    def opened_by(self) -> Iterator[tuple[str, Key]]:
        """Yield the digests that open the key, each with the key as it opens it: one that is rotated out expires."""
        if self.revoked is not None:
            return
        for token in self.tokens:
            key = self.key
            if token.until is not None:
                until = moment(token.until)
                expires = until if key.expires is None else min(key.expires, until)
                key = replace(key, expires=expires)
            yield token.hash, key


@dataclass(frozen=True, slots=True, kw_only=True)
class Team:
    """What keys share: a wallet."""

    name: str
    options: Options
    created: int

    @property
    def terms(self) -> Terms:
        return terms_of(self.options)

    @property
    def wallet(self) -> str:
        return TEAM + self.name


def moment(micros: int) -> datetime:
    """Return a moment of the database; ``LAST`` is the last."""
    return _EPOCH + timedelta(microseconds=min(micros, LAST))


# Reading.

ALL = (
    Query("SELECT * FROM teams ORDER BY name", {}),
    Query("SELECT * FROM keys ORDER BY name", {}),
    Query("SELECT * FROM key_hashes ORDER BY until IS NULL, until, created", {}),
    Query("SELECT wallet_id, sum(amount_micro) AS paid_in FROM credits GROUP BY 1", {}),
)
"""Teams, keys, what opens the keys, and the sums of what was paid in."""


def read_team(row: Mapping[str, Any]) -> Team:
    """Return a team of the database. Raises Refused for options that this version does not know."""
    options = orjson.loads(row["options"])
    return Team(
        name=row["name"], options=changed(TEAM_OPTIONS, {}, options), created=row["created"]
    )


def read_key(row: Mapping[str, Any], tokens: tuple[Token, ...]) -> StoredKey:
    """The same for a key. Raises Refused also if nothing opens it, or did."""
    if not tokens:
        raise Refused(Reason.INVALID, f"found the key {row['name']} without a hash, expected one")
    options = orjson.loads(row["options"])
    return StoredKey(
        key=key_of(row["name"], row["id"], options),
        options=options,
        created=row["created"],
        revoked=row["revoked"],
        tokens=tokens,
    )


def read_token(row: Mapping[str, Any]) -> Token:
    return Token(**{name: row[name] for name in Token.__dataclass_fields__})


def credit_by_ref(wallet: str, ref: str) -> Query:
    """The credit of a wallet that has this ref."""
    return Query(
        "SELECT * FROM credits WHERE wallet_id = :wallet AND ref = :ref",
        {"wallet": wallet, "ref": ref},
    )


def credits_of(wallet: str, limit: int, before: int | None) -> Query:
    """The credits of a wallet before the one of this number, the last first."""
    return Query(
        "SELECT * FROM credits WHERE wallet_id = :wallet AND (:before IS NULL OR number < :before) "
        "ORDER BY number DESC LIMIT :limit",
        {"wallet": wallet, "before": before, "limit": limit},
    )


def credits_between(wallet: str, start: int, end: int) -> Query:
    """The credits of a wallet from ``start`` on and before ``end``, the first first."""
    return Query(
        "SELECT * FROM credits WHERE wallet_id = :wallet AND at >= :start AND at < :end ORDER BY number",
        {"wallet": wallet, "start": start, "end": end},
    )


def months_of(wallet: str) -> Query:
    """What a wallet was charged in each month, and what of that was drawn from its credit.

    A key is charged also where its team is charged as well.
    """
    drawn = "team_drawn_micro" if wallet.startswith(TEAM) else "key_drawn_micro"
    return Query(
        "SELECT substr(day, 1, 7) AS month, sum(price_micro) AS charged, "  # noqa: S608 - our own words
        f"sum({drawn}) AS drawn FROM usage_daily WHERE {_charged(wallet)} GROUP BY 1 ORDER BY 1",
        {"name": wallet.partition(":")[2]},
    )


def lines_of(wallet: str, month: str) -> Query:
    """What a wallet was charged in ``month`` (YYYY-MM) for, by key and by the model that was asked for."""
    return Query(
        f"SELECT key_name, model_asked, sum(requests) AS requests, sum({TOKENS}) AS tokens, "  # noqa: S608 - our own words
        f"sum(price_micro) AS price_micro FROM usage_daily WHERE {_charged(wallet)} "
        "AND substr(day, 1, 7) = :month GROUP BY 1, 2 ORDER BY 1, 2",
        {"name": wallet.partition(":")[2], "month": month},
    )


def _charged(wallet: str) -> str:
    return "team = :name" if wallet.startswith(TEAM) else "key_name = :name"


# Writing.


def insert_team(team: Team) -> Query:
    return Query(
        "INSERT INTO teams (name, options, created) VALUES (:name, :options, :created)",
        {"name": team.name, "options": _json(team.options), "created": team.created},
    )


def update_team(team: Team) -> Query:
    return Query(
        "UPDATE teams SET options = :options WHERE name = :name",
        {"name": team.name, "options": _json(team.options)},
    )


def insert_key(key: StoredKey) -> Query:
    return Query(
        "INSERT INTO keys (name, id, options, created) VALUES (:name, :id, :options, :created)",
        {
            "name": key.key.name,
            "id": key.key.hash,
            "options": _json(key.options),
            "created": key.created,
        },
    )


def update_key(key: StoredKey) -> Query:
    return Query(
        "UPDATE keys SET options = :options, revoked = :revoked WHERE name = :name",
        {"name": key.key.name, "options": _json(key.options), "revoked": key.revoked},
    )


def insert_token(key: str, token: Token) -> Query:
    return Query(
        "INSERT INTO key_hashes (hash, key_name, prefix, last_four, created, until) "
        "VALUES (:hash, :key, :prefix, :last_four, :created, :until)",
        {**{name: getattr(token, name) for name in Token.__dataclass_fields__}, "key": key},
    )


def end_token(token: Token) -> Query:
    return Query(
        "UPDATE key_hashes SET until = :until WHERE hash = :hash",
        {"hash": token.hash, "until": token.until},
    )


def insert_credit(wallet: str, amount: int, at: int, note: str | None, ref: str | None) -> Query:
    return Query(
        "INSERT INTO credits (wallet_id, amount_micro, at, note, ref) VALUES (:wallet, :amount, :at, :note, :ref)",
        {"wallet": wallet, "amount": amount, "at": at, "note": note, "ref": ref},
    )


def insert_change(
    at: int,
    through: str,
    action: Action,
    subject: str,
    detail: Mapping[str, Any],
    amount: int | None = None,
) -> Query:
    """The note that something was changed; ``subject`` is a wallet's name, which says whose."""
    return Query(
        "INSERT INTO changes (at, through, action, subject, amount_micro, detail) "
        "VALUES (:at, :through, :action, :subject, :amount, :detail)",
        {
            "at": at,
            "through": through,
            "action": action,
            "subject": subject,
            "amount": amount,
            "detail": _json(detail),
        },
    )


def _json(document: Mapping[str, Any]) -> str:
    return orjson.dumps(document).decode()
