"""Keys, teams and credits over a real database: what is written, what is seen, and what is told to whom."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import asynccontextmanager, closing

import orjson
import pytest

from proxy.billing.credit import Terms
from proxy.billing.database import connect, prepare
from proxy.billing.directory import Directory
from proxy.billing.keys import Keyring
from proxy.billing.ledger import Ledger
from proxy.billing.options import Reason, Refused
from proxy.config import Key, key_hash

NOW = 1_795_000_000.0
THROUGH = "a test"


class Wallets:
    """Who notes what is told."""

    def __init__(self):
        self.told = []

    def set_terms(self, name, terms):
        self.told.append(("terms", name, terms))

    def pay_in(self, name, micro):
        self.told.append(("paid", name, micro))

    def drop(self, name):
        self.told.append(("dropped", name))


class Opened:
    def __init__(self, path, directory, keyring, wallets):
        self.path = path
        self.directory = directory
        self.keyring = keyring
        self.wallets = wallets
        self.wall = NOW

    def run(self, sql):
        with closing(connect(self.path)) as one:
            return one.execute(sql).fetchall()


@asynccontextmanager
async def opened(path, configured=()):
    prepare(path)
    ledger = await Ledger.open(path)
    try:
        keyring, wallets = Keyring(configured), Wallets()
        made = Opened(path, None, keyring, wallets)
        made.directory = await Directory.open(
            ledger, keyring, wall=lambda: made.wall, wallets=wallets
        )
        made.directory.roster.adopt({key.name: key.hash for key in configured}, "sk-splice-")
        yield made
    finally:
        await ledger.close()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.db"


async def test_a_key_opens_at_once_and_after_a_restart_and_its_text_is_nowhere(path):
    async with opened(path) as one:
        made, text = await one.directory.create_key("ci", {"rpm": 5}, THROUGH)
        assert one.keyring.find(text) is made.key
        assert (made.key.name, made.key.rpm, made.key.hash) == ("ci", 5, key_hash(text))
        assert made.token.shown == f"sk-splice-…{text[-4:]}"
    for file in path.parent.iterdir():
        assert text.encode() not in file.read_bytes()
    async with opened(path) as one:
        assert one.keyring.find(text) == made.key
        assert one.directory.roster.key("ci") == made


async def test_an_imported_key_is_opened_by_its_text_which_was_never_here(path):
    async with opened(path) as one:
        made, text = await one.directory.create_key("ci", {}, THROUGH, digest=key_hash("sk-old"))
        assert text is None
        assert made.token.shown is None
        assert one.keyring.find("sk-old") is made.key


@pytest.mark.parametrize("name", ["ci", "conf", "gone"])
async def test_a_name_is_one_keys_alone_also_when_it_is_revoked_or_in_the_configuration(path, name):
    async with opened(path, [Key(name="conf", hash="c" * 64)]) as one:
        await one.directory.create_key("ci", {}, THROUGH)
        await one.directory.create_key("gone", {}, THROUGH)
        await one.directory.revoke_key("gone", THROUGH)
        with pytest.raises(Refused) as raised:
            await one.directory.create_key(name, {}, THROUGH)
        assert raised.value.reason is Reason.TAKEN


async def test_a_hash_is_one_keys_alone_also_when_it_is_revoked_or_rotated_out(path):
    async with opened(path, [Key(name="conf", hash="c" * 64)]) as one:
        _, first = await one.directory.create_key("ci", {}, THROUGH)
        _, second = await one.directory.rotate_key("ci", 0.0, THROUGH)
        await one.directory.revoke_key("ci", THROUGH)
        for digest in (key_hash(first), key_hash(second), "c" * 64):
            with pytest.raises(Refused, match="found this key already"):
                await one.directory.create_key("new", {}, THROUGH, digest=digest)


async def test_what_the_configuration_has_of_the_database_is_a_conflict(path):
    async with opened(path) as one:
        _, text = await one.directory.create_key("ci", {}, THROUGH)
        same_name, same_key = Key(name="ci", hash="d" * 64), Key(name="x", hash=key_hash(text))
        first, second = one.directory.roster.conflicts([same_name, same_key])
        assert first.startswith('keys: found "ci", expected a name that no key of the database has')
        assert second.startswith('keys: found "x" to be the key ci of the database')
        assert one.directory.roster.conflicts([Key(name="y", hash="d" * 64)]) == []


async def test_a_change_is_seen_also_by_a_token_that_is_remembered(path):
    async with opened(path) as one:
        _, text = await one.directory.create_key("ci", {}, THROUGH)
        assert one.keyring.find(text).enabled
        await one.directory.update_key("ci", {"enabled": False, "rpm": 3}, THROUGH)
        assert not one.keyring.find(text).enabled
        await one.directory.update_key("ci", {"enabled": None, "rpm": None}, THROUGH)
        assert (one.keyring.find(text).enabled, one.keyring.find(text).rpm) == (True, None)
        await one.directory.revoke_key("ci", THROUGH)
        assert one.keyring.find(text) is None


async def test_a_rotated_key_is_the_same_key_and_the_old_text_ends_with_the_grace(path):
    async with opened(path) as one:
        made, first = await one.directory.create_key("ci", {}, THROUGH)
        after, second = await one.directory.rotate_key("ci", 3600.0, THROUGH)
        assert after.key == made.key
        assert one.keyring.find(second).expires is None
        assert one.keyring.find(first).expires.timestamp() == NOW + 3600
        assert one.keyring.find(first).hash == one.keyring.find(second).hash
        _, third = await one.directory.rotate_key("ci", 0.0, THROUGH)
        assert one.keyring.find(second).expires.timestamp() == NOW
        assert one.keyring.find(first).expires.timestamp() == NOW + 3600
    async with opened(path) as one:
        assert one.keyring.find(first).expires.timestamp() == NOW + 3600
        assert one.directory.roster.key("ci").token.hash == key_hash(third)
        await one.directory.revoke_key("ci", THROUGH)
        assert [one.keyring.find(text) for text in (first, second, third)] == [None] * 3


async def test_a_grace_never_outlasts_the_key(path):
    async with opened(path) as one:
        _, text = await one.directory.create_key("ci", {"expires": "2026-11-19"}, THROUGH)
        expires = one.keyring.find(text).expires
        await one.directory.rotate_key("ci", 90 * 86_400.0, THROUGH)
        assert one.keyring.find(text).expires == expires


async def test_what_is_revoked_stays_revoked(path):
    async with opened(path) as one:
        await one.directory.create_key("ci", {}, THROUGH)
        await one.directory.revoke_key("ci", THROUGH)
        for change in (
            one.directory.revoke_key("ci", THROUGH),
            one.directory.rotate_key("ci", 0.0, THROUGH),
            one.directory.update_key("ci", {"enabled": None}, THROUGH, "enable"),
            one.directory.add_credit("ci", 1, THROUGH, note=None, ref=None),
        ):
            with pytest.raises(Refused, match="found ci revoked since 2026-11-18"):
                await change


async def test_a_key_joins_a_team_that_exists(path):
    async with opened(path) as one:
        await one.directory.create_team("red", {}, THROUGH)
        await one.directory.create_key("ci", {"team": "red"}, THROUGH)
        for change in (
            one.directory.create_key("new", {"team": "rad"}, THROUGH),
            one.directory.update_key("ci", {"team": "rad"}, THROUGH),
        ):
            with pytest.raises(Refused, match=r"found no team 'rad'.*did you mean red") as raised:
                await change
            assert raised.value.reason is Reason.INVALID
        assert [one.key.name for one in one.directory.roster.keys("", 9, "red")] == ["ci"]


# Wallets.


async def test_the_wallets_are_told_each_change_and_a_start_tells_what_there_is(path):
    async with opened(path) as one:
        directory = one.directory
        await directory.create_team("red", {"prepaid": True}, THROUGH, credit=7)
        await directory.create_key("ci", {"prepaid": True}, THROUGH, credit=5)
        await directory.update_key("ci", {"allowance_usd": 1}, THROUGH)
        await directory.add_credit("ci", -2, THROUGH, note=None, ref=None)
        assert one.wallets.told == [
            ("terms", "team:red", Terms(prepaid=True)),
            ("paid", "team:red", 7),
            ("terms", "key:ci", Terms(prepaid=True)),
            ("paid", "key:ci", 5),
            ("terms", "key:ci", Terms(prepaid=True, allowance=1_000_000)),
            ("paid", "key:ci", -2),
        ]
        paid_in = dict(directory.paid_in)
    async with opened(path) as one:
        assert one.wallets.told == [
            ("terms", "team:red", Terms(prepaid=True)),
            ("terms", "key:ci", Terms(prepaid=True, allowance=1_000_000)),
            ("paid", "key:ci", 3),
            ("paid", "team:red", 7),
        ]
        assert one.directory.paid_in == paid_in == {"team:red": 7, "key:ci": 3}
        one.wallets.told.clear()
        await one.directory.revoke_key("ci", THROUGH)
        assert one.wallets.told == [("dropped", "key:ci")]


# Credits.


async def test_a_ref_is_booked_once_also_when_many_race(path):
    async with opened(path) as one:
        await one.directory.create_team("red", {}, THROUGH)

        def book(ref):
            return one.directory.add_credit("team:red", 10, THROUGH, note="n", ref=ref)

        booked = await asyncio.gather(*(book("a") for _ in range(20)), book("b"))
        assert [found.again for found in booked].count(False) == 2
        assert one.directory.paid_in == {"team:red": 20}
        assert one.run("SELECT count(*), sum(amount_micro) FROM credits") == [(2, 20)]
        assert [name for name, *_ in one.wallets.told].count("paid") == 2
        again = await book("a")
        assert (again.again, again.credit["amount_micro"], again.credit["note"]) == (True, 10, "n")


async def test_a_ref_that_stands_for_another_amount_is_refused(path):
    async with opened(path) as one:
        await one.directory.create_team("red", {}, THROUGH)
        await one.directory.add_credit("team:red", 10, THROUGH, note=None, ref="a")
        with pytest.raises(Refused, match=r"booked with 0.00001 USD, expected the same") as raised:
            await one.directory.add_credit("team:red", 11, THROUGH, note=None, ref="a")
        assert raised.value.reason is Reason.TAKEN


async def test_a_ref_is_a_wallets_own(path):
    async with opened(path, [Key(name="conf", hash="c" * 64)]) as one:
        await one.directory.create_team("red", {}, THROUGH)
        for wallet in ("team:red", "conf"):
            await one.directory.add_credit(wallet, 10, THROUGH, note=None, ref="a")
        assert one.directory.paid_in == {"team:red": 10, "key:conf": 10}


@pytest.mark.parametrize("wallet", ["", "nobody", "team:blue", "key:", "team:"])
async def test_a_wallet_is_somebodys(path, wallet):
    async with opened(path) as one:
        with pytest.raises(Refused) as raised:
            await one.directory.add_credit(wallet, 10, THROUGH, note=None, ref=None)
        assert raised.value.reason is Reason.ABSENT


# Changing.


async def test_every_change_is_on_record_with_who_made_it(path):
    async with opened(path) as one:
        directory = one.directory
        await directory.create_team("red", {"prepaid": True}, "a")
        await directory.update_team("red", {"prepaid": None}, "b")
        _, text = await directory.create_key("ci", {"rpm": 5}, "c", credit=3)
        await directory.update_key("ci", {"rpm": 6}, "d")
        _, fresh = await directory.rotate_key("ci", 60.0, "e")
        await directory.revoke_key("ci", "f")
        await directory.add_credit("team:red", 4, "g", note="hi", ref="r")
        noted = one.run("SELECT at, through, action, subject, amount_micro, detail FROM changes")
    assert {at for at, *_ in noted} == {int(NOW * 1e6)}
    assert [(*row[1:5], orjson.loads(row[5])) for row in noted] == [
        ("a", "create", "team:red", None, {"prepaid": True}),
        ("b", "update", "team:red", None, {"prepaid": [True, None]}),
        ("c", "create", "key:ci", None, {"rpm": 5}),
        ("c", "credit", "key:ci", 3, {}),
        ("d", "update", "key:ci", None, {"rpm": [5, 6]}),
        ("e", "rotate", "key:ci", None, {"to": f"sk-splice-…{fresh[-4:]}", "grace_s": 60}),
        ("f", "revoke", "key:ci", None, {}),
        ("g", "credit", "team:red", 4, {"note": "hi", "ref": "r"}),
    ]
    assert not any(secret in str(noted) for secret in (text, fresh))


async def test_a_change_that_cannot_be_committed_is_not_seen(path, monkeypatch):
    monkeypatch.setattr("proxy.billing.ledger.BUSY", 0.05)
    async with opened(path) as one:
        _, text = await one.directory.create_key("ci", {}, THROUGH)
        with closing(connect(path)) as other:
            other.execute("BEGIN IMMEDIATE")
            for change in (
                one.directory.revoke_key("ci", THROUGH),
                one.directory.create_key("new", {}, THROUGH, credit=5),
                one.directory.add_credit("ci", 5, THROUGH, note=None, ref="a"),
            ):
                with pytest.raises(sqlite3.OperationalError, match="locked"):
                    await change
        assert one.keyring.find(text) is not None
        assert len(one.keyring) == 1
        assert one.directory.paid_in == {}
        await one.directory.add_credit("ci", 5, THROUGH, note=None, ref="a")
        assert one.directory.paid_in == {"key:ci": 5}


async def test_whoever_asks_and_leaves_does_not_stop_a_change_in_the_middle(path):
    async with opened(path) as one:
        asked = asyncio.ensure_future(  # noqa: TID251 - to be cancelled
            one.directory.create_key("ci", {}, THROUGH, digest=key_hash("sk-old"), credit=5)
        )
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        async with one.directory.unchanging():
            assert one.keyring.find("sk-old").name == "ci"
            assert one.directory.paid_in == {"key:ci": 5}
        assert one.run("SELECT count(*) FROM credits") == [(1,)]


async def test_what_a_later_version_wrote_is_refused_and_not_ignored(path):
    prepare(path)
    with closing(connect(path)) as one:
        one.execute("INSERT INTO teams VALUES ('red', '{\"colour\": 1}', 0)")
    with pytest.raises(Refused, match="unknown field 'colour'"):
        async with opened(path):
            raise AssertionError("it was opened")
