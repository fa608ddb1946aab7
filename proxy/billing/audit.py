"""Whether the books agree with themselves: each day's sums with its requests, the journal with both; credits and keys with theirs."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from proxy.billing import database, reading
from proxy.billing.entry import REQUEST_ID, SETTLED, STARTED, decode
from proxy.billing.journal import Journal, Position, scan
from proxy.billing.state import Unusable
from proxy.money import usd

_AT_ONCE = 500
"""Ids in a query: older versions of SQLite take 999 parameters."""


@dataclass(slots=True)
class Audit:
    """What was added up, and a line for everything that does not agree."""

    requests: int = 0
    removed: int = 0
    """Requests of which only the daily sums are left."""
    journal: int = 0
    """Records of the journal that were looked for, and are there."""
    quarantined: int = 0
    cost_micro: int = 0
    price_micro: int = 0
    credits_micro: int = 0
    """What was paid in, less what was taken back."""
    keys: int = 0
    """Of the database, revoked ones too."""
    difference_micro: int = 0
    """By how much sums of money differ, each taken by itself."""
    faults: list[str] = field(default_factory=list)

    def told(self) -> dict[str, Any]:
        """Return what is found as JSON tells it."""
        return {
            "ok": not self.faults,
            "faults": self.faults,
            "requests": self.requests,
            "removed": self.removed,
            "journal": self.journal,
            "quarantined": self.quarantined,
            "price_usd": usd(self.price_micro),
            "cost_usd": usd(self.cost_micro),
            "credits_usd": usd(self.credits_micro),
            "difference_usd": usd(self.difference_micro),
            "keys": self.keys,
        }


def audit(path: Path) -> Audit:
    """Audit the ledger at ``path``, as of one moment, beside a daemon that may run. Raises Unusable."""
    try:
        with closing(database.connect(path, read_only=True)) as opened:
            opened.row_factory = sqlite3.Row
            opened.execute("BEGIN")
            return _audit(opened, Journal(path.parent / "journal"))
    except sqlite3.Error as error:
        raise database.unusable(path, error) from error


def _audit(opened: sqlite3.Connection, journal: Journal) -> Audit:
    found = Audit()
    (standing,) = opened.execute("SELECT * FROM standing")
    requests, days = (
        opened.execute(one.sql, one.parameters).fetchall()
        for one in (reading.sums_of_requests(), reading.sums_of_days())
    )
    ours, theirs = [dict(row) for row in requests], [dict(row) for row in days]
    found.faults += reading.differences(ours, theirs)
    for money in ("cost_micro", "price_micro"):
        found.difference_micro += reading.difference(money, ours, theirs)
    (sums,) = opened.execute(
        "SELECT coalesce(sum(requests), 0), coalesce(sum(cost_micro), 0), coalesce(sum(price_micro), 0) FROM usage_daily"
    )
    (kept,) = opened.execute("SELECT count(*) FROM requests").fetchone()
    (found.quarantined,) = opened.execute("SELECT count(*) FROM quarantine").fetchone()
    found.requests, found.removed = kept, sums[0] - kept
    found.cost_micro, found.price_micro = sums[1], sums[2]
    _audit_directory(opened, found)
    end = Position(standing["segment"], standing["byte"])
    wanted: list[str] = []
    for number in journal.segments():
        for line in scan(_read(journal, number)) if number <= end.segment else ():
            if number == end.segment and line.after > end.offset:
                break
            request_id = _settled(line.record, standing["folded_until"])
            if request_id is None:
                continue
            wanted.append(request_id)
            if len(wanted) == _AT_ONCE:
                _look_for(opened, wanted, number, found)
                wanted.clear()
    _look_for(opened, wanted, end.segment, found)
    return found


_CREDITS = """
    SELECT wallet_id, sum(booked), sum(noted) FROM (
        SELECT wallet_id, amount_micro AS booked, 0 AS noted FROM credits
        UNION ALL
        SELECT subject, 0, amount_micro FROM changes WHERE amount_micro IS NOT NULL
    ) GROUP BY 1 HAVING sum(booked) <> sum(noted) ORDER BY 1"""
_DIRECTORY = {
    "{0}: {1} micro-USD in credits and {2} in the record of changes": _CREDITS,
    # A plus before a column: not by the index that is to be proved.
    "{0}: the ref {1} is booked {2} times": """
        SELECT +wallet_id, +ref, count(*) FROM credits WHERE ref IS NOT NULL
        GROUP BY +wallet_id, +ref HAVING count(*) > 1""",
    "{0}: is credited, and there is no such team": """
        SELECT DISTINCT wallet_id FROM credits
        WHERE wallet_id LIKE 'team:%' AND substr(wallet_id, 6) NOT IN (SELECT name FROM teams)""",
    "key:{0}: its team {1} does not exist": """
        SELECT name, json_extract(options, '$.team') AS team FROM keys
        -- Nothing is in an empty list, and null is not in it either.
        WHERE team IS NOT NULL AND team NOT IN (SELECT name FROM teams)""",
    "key:{0}: {1} hashes open it, expected 1, or 0 once it is revoked": """
        SELECT name, (SELECT count(*) FROM key_hashes WHERE key_name = name AND until IS NULL) AS open
        FROM keys WHERE open <> (revoked IS NULL)""",
    "{0}: opens {1}, which does not exist": """
        SELECT hash, key_name FROM key_hashes WHERE key_name NOT IN (SELECT name FROM keys)""",
    "key:{0}: has the identity of {1}": """
        SELECT name, key_name FROM keys JOIN key_hashes ON hash = id WHERE key_name <> name""",
}
"""What must find nothing, with what is said of each row that it finds. That names and hashes are unique is their tables' key."""


def _audit_directory(opened: sqlite3.Connection, found: Audit) -> None:
    """Hold credits against the record of changes, and keys against each other."""
    for told, query in _DIRECTORY.items():
        found.faults += [told.format(*row) for row in opened.execute(query)]
    for _, booked, noted in opened.execute(_CREDITS):
        found.difference_micro += abs(booked - noted)
    ((found.credits_micro, found.keys),) = opened.execute(
        "SELECT (SELECT coalesce(sum(amount_micro), 0) FROM credits), (SELECT count(*) FROM keys)"
    )


def _read(journal: Journal, number: int) -> bytes:
    try:
        return journal.read(number)
    except FileNotFoundError:
        # Removed a moment ago: it was too old for anybody.
        return b""
    except OSError as error:
        raise Unusable(
            f"cannot read {journal.path(number)} ({error.strerror}), expected to be its owner or root"
        ) from error


def _settled(record: bytes | None, folded_until: str) -> str | None:
    """Return the id of the request that ``record`` settles, if it must be in the ledger."""
    if record is None or record[:1] != SETTLED:
        return None
    try:
        _, row = decode(record)
        day = datetime.fromtimestamp(int(row[STARTED] or 0) / 1e6, UTC).strftime("%Y-%m-%d")
    except (ValueError, OverflowError):
        return None
    return str(row[REQUEST_ID]) if day >= folded_until else None


def _look_for(opened: sqlite3.Connection, wanted: list[str], number: int, found: Audit) -> None:
    """Note which of the requests that the journal settles are not there, unless they are in quarantine."""
    places = ", ".join("?" * len(wanted))
    rows = opened.execute(
        f"SELECT request_id FROM requests WHERE request_id IN ({places})",  # noqa: S608 - question marks
        wanted,
    )
    there = {row[0] for row in rows}
    for request_id in wanted:
        if request_id in there:
            found.journal += 1
        elif not opened.execute(
            "SELECT count(*) FROM quarantine WHERE instr(reason, ?)", (request_id,)
        ).fetchone()[0]:
            found.faults.append(
                f"{request_id}: is in segment {number} of the journal and not in the ledger"
            )
