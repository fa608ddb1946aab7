"""What the ledger is asked: the queries of the usage API, the commands and the audit, as text.

They run on whatever connection the asker has; rows are read by the names of their columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

SUMS: Mapping[str, str] = {
    "requests": "count(*)",
    "failed": "sum(error_type IS NOT NULL)",
    **{
        name: f"sum({name})"
        for name in (
            "estimated",
            "input_tokens",
            "cache_read_tokens",
            "cache_write_tokens",
            "cache_write_1h_tokens",
            "output_tokens",
            "reasoning_tokens",
            "searches",
            "cost_micro",
            "price_micro",
        )
    },
    # An earlier version's requests have none.
    **{name: f"coalesce(sum({name}), 0)" for name in ("key_drawn_micro", "team_drawn_micro")},
}
"""What is added up for a day, and how it is had from requests."""
TOKENS = (
    "input_tokens + cache_read_tokens + cache_write_tokens + cache_write_1h_tokens + output_tokens"
)

By = Literal["day", "model", "key", "team", "account"]
_BY: Mapping[By, str] = {
    "day": "day",
    "model": "model",
    "key": "key_name",
    "team": "team",
    "account": "account",
}


class Query(NamedTuple):
    sql: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which days or requests; None: any. Days are ``YYYY-MM-DD`` in UTC, both inclusive."""

    since: str | None = None
    until: str | None = None
    key: str | None = None
    team: str | None = None
    model: str | None = None
    account: str | None = None
    status: int | None = None
    error: str | None = None


# A key's own.


def one_request(key_hash: str, wanted: str) -> Query:
    """The request of a key by its id, else the newest by its answer's."""
    return Query(
        "SELECT * FROM requests WHERE request_id = :id AND key_hash = :key "
        "UNION ALL SELECT * FROM (SELECT * FROM requests WHERE answer_id = :id AND key_hash = :key "
        "ORDER BY number DESC LIMIT 1) LIMIT 1",
        {"id": wanted, "key": key_hash},
    )


def history(key_hash: str, limit: int, before: str | None) -> Query:
    """The requests of a key, the last to end first, that ended before the one with this id."""
    older = (
        ""
        if before is None
        else "AND number < coalesce((SELECT number FROM requests WHERE request_id = :before), number + 1) "
    )
    return Query(
        f"SELECT * FROM requests WHERE key_hash = :key {older}ORDER BY number DESC LIMIT :limit",  # noqa: S608 - our own words
        {"key": key_hash, "limit": limit, "before": before},
    )


def days_of(key_hash: str, start: str, end: str) -> Query:
    """The sums of a key by day and by the name that was asked for; both days inclusive."""
    return Query(
        f"SELECT day, model_asked, sum(requests) AS requests, sum({TOKENS}) AS tokens, "  # noqa: S608 - our own words
        "sum(price_micro) AS price_micro FROM usage_daily "
        "WHERE key_hash = :key AND day BETWEEN :start AND :end GROUP BY 1, 2 ORDER BY 1, 2",
        {"key": key_hash, "start": start, "end": end},
    )


# An operator's.


def usage(wanted: Wanted, by: Sequence[By]) -> Query:
    """The sums of days, by what is asked for."""
    names = [f"{_BY[one]} AS {one}" for one in by]
    numbers = [f"coalesce(sum({name}), 0) AS {name}" for name in SUMS]
    clauses = {
        "day >= :since": wanted.since,
        "day <= :until": wanted.until,
        "key_name = :key": wanted.key,
        "team = :team": wanted.team,
        "model = :model": wanted.model,
        "account = :account": wanted.account,
    }
    places = ", ".join(str(number) for number in range(1, len(by) + 1))
    grouped = f" GROUP BY {places} ORDER BY {places}" if by else ""
    return Query(
        f"SELECT {', '.join(names + numbers)} FROM usage_daily_v1{_where(clauses)}{grouped}",  # noqa: S608 - our own words
        _values(wanted),
    )


def requests(wanted: Wanted, last: int) -> Query:
    """The last requests to end, the latest first."""
    clauses = {
        "key_name = :key": wanted.key,
        "model = :model": wanted.model,
        "account = :account": wanted.account,
        "status = :status": wanted.status,
        "error_type = :error": wanted.error,
    }
    return Query(
        f"SELECT * FROM requests_v1{_where(clauses)} ORDER BY number DESC LIMIT :last",  # noqa: S608 - our own words
        {**_values(wanted), "last": last},
    )


def _where(clauses: Mapping[str, object]) -> str:
    asked = [clause for clause, value in clauses.items() if value is not None]
    return f" WHERE {' AND '.join(asked)}" if asked else ""


def _values(wanted: Wanted) -> dict[str, Any]:
    return {name: getattr(wanted, name) for name in Wanted.__dataclass_fields__}


# The audit.


def sums_of_requests(until: str | None = None) -> Query:
    """The sums of each day before ``until`` as its requests have them; days that are being removed apart."""
    return Query(
        f"SELECT date(started / 1000000, 'unixepoch') AS day, {_named(SUMS.items())} FROM requests "  # noqa: S608 - our own words
        "WHERE :until IS NULL OR started < strftime('%s', :until) * 1000000 "
        "GROUP BY 1 HAVING day >= (SELECT folded_until FROM standing) ORDER BY 1",
        {"until": until},
    )


def sums_of_days(until: str | None = None) -> Query:
    """The same as the daily sums have them."""
    return Query(
        f"SELECT day, {_named((name, f'sum({name})') for name in SUMS)} FROM usage_daily "  # noqa: S608 - our own words
        "WHERE day >= (SELECT folded_until FROM standing) "
        "AND (:until IS NULL OR day < :until) GROUP BY 1 ORDER BY 1",
        {"until": until},
    )


def differences(
    requests: Iterable[Mapping[str, Any]], days: Iterable[Mapping[str, Any]]
) -> list[str]:
    """Return what differs between the two sums of each day, a line for each."""
    ours = {row["day"]: row for row in requests}
    theirs = {row["day"]: row for row in days}
    found = []
    for day in sorted(ours.keys() | theirs.keys()):
        for name in SUMS:
            left = int(ours[day][name]) if day in ours else 0
            right = int(theirs[day][name]) if day in theirs else 0
            if left != right:
                found.append(f"{day}: {name} is {left} in requests and {right} in the daily sums")
    return found


def difference(
    name: str, requests: Iterable[Mapping[str, Any]], days: Iterable[Mapping[str, Any]]
) -> int:
    """Return by how much the sums of ``name`` differ, each day's taken by itself."""
    left: dict[str, int] = {row["day"]: int(row[name]) for row in requests}
    for row in days:
        left[row["day"]] = left.get(row["day"], 0) - int(row[name])
    return sum(map(abs, left.values()))


def _named(columns: Iterable[tuple[str, str]]) -> str:
    return ", ".join(f"{sql} AS {name}" for name, sql in columns)
