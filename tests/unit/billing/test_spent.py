"""What was spent is added up by key, by team and by account, and of the windows that run now."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime

import pytest

from proxy.billing import spent
from proxy.billing.database import connect, prepare
from proxy.billing.ledger import _INSERT, _SUM_UP
from proxy.billing.spent import Spent
from tests.unit.billing.rows import row


def moment(day: str) -> float:
    return datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()


NOW = moment("2026-11-20 12:00")
"""A Friday."""
DAYS = ("2026-11-20", "2026-11-16", "2026-11-15", "2026-11-01", "2026-10-31")


def rows():
    for number, day in enumerate(DAYS):
        yield row(
            number,
            started=int(moment(day) * 1e6),
            price_micro=10**number,
            cost_micro=2 * 10**number,
            key_drawn_micro=3 * 10**number,
            team="red" if number % 2 else None,
            team_drawn_micro=4 * 10**number if number % 2 else None,
        )


KEY = Spent(day=1, week=11, month=1_111, total=11_111, drawn=33_333, month_drawn=3_333)
TEAM = Spent(day=0, week=10, month=1_010, total=1_010, drawn=4_040, month_drawn=4_040)


@pytest.fixture
def ledger(tmp_path):
    path = tmp_path / "ledger.db"
    prepare(path)
    with closing(connect(path)) as opened:
        opened.row_factory = sqlite3.Row
        yield opened


def book(ledger, *booked):
    ledger.executemany(_INSERT, booked)
    ledger.execute(_SUM_UP, (0,))


def by_wallet(ledger):
    return spent.by_wallet(rows_of(ledger, spent.wallets(NOW)))


def rows_of(ledger, query):
    return [dict(one) for one in ledger.execute(query.sql, query.parameters)]


def test_a_request_counts_for_its_key_and_for_its_team(ledger):
    book(ledger, *rows())
    assert by_wallet(ledger) == {"key:tester": KEY, "team:red": TEAM}


def test_requests_that_were_removed_count(ledger):
    book(ledger, *rows())
    ledger.execute("DELETE FROM requests")
    assert by_wallet(ledger)["key:tester"] == KEY


def test_accounts_count_what_they_cost_us(ledger):
    book(ledger, *rows(), row(9, account=None))
    assert spent.by_account(rows_of(ledger, spent.accounts(NOW))) == {
        "up": Spent(day=2, week=22, month=2_222, total=22_222)
    }


def test_what_the_ledger_does_not_have_is_added_the_same_way():
    found = {"key:tester": Spent(total=5, drawn=5)}
    spent.add(found, rows(), NOW)
    assert found["key:tester"] == Spent(1, 11, 1_111, 11_116, 33_338, 3_333)
    assert found["team:red"] == TEAM


def test_a_budget_s_window_is_asked_for_by_its_period():
    assert [KEY.within(period) for period in ("day", "week", "month", "total")] == [1, 11, 1_111, 11_111]  # fmt: skip
