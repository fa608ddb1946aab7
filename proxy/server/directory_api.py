"""``/api/v1/keys``, ``teams`` and ``credits``: what the database has of them, and how they are changed.

Nothing here needs a running gateway: a command does the same over the database when there is none.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any

from proxy.billing import options, stored
from proxy.billing.directory import Booked, Directory
from proxy.billing.options import Refused, taken
from proxy.billing.stored import StoredKey, Team, Token
from proxy.config import values
from proxy.config.values import Kind, word
from proxy.money import micro, usd
from proxy.server.admin_call import AdminCall, AdminError, Document, listing, moment

Handler = Callable[[Directory, AdminCall], Document | Awaitable[Document]]

_USUAL = 100
_MOST = 1000
_GRACE = "24h"
_NOTE = word("a note of at most 256 characters", r"[^\x00-\x1f\x7f]{1,256}")
_REF = word("1 to 128 characters of printable ASCII", r"[!-~]{1,128}")
REVOKED, DISABLED, EXPIRED, ACTIVE = "revoked", "disabled", "expired", "active"


# Keys.


def keys(directory: Directory, call: AdminCall) -> Document:
    """GET keys: by name; ``after`` is the name that the page before ended with."""
    call.only("limit", "after", "team")
    limit = _limit(call)
    found = directory.roster.keys(call.query.get("after", ""), limit + 1, call.query.get("team"))
    return _page([render_key(directory, one) for one in found], limit, "name")


def key(directory: Directory, call: AdminCall) -> Document:
    """GET keys/NAME."""
    call.only()
    return render_key(directory, directory.roster.key(call.name))


async def create_key(directory: Directory, call: AdminCall) -> Document:
    """POST keys: the answer is the one place where ``key`` is told."""
    call.only()
    given = dict(call.body)
    name, credit = given.pop("name", None), _credit(given)
    digest = given.pop("hash", None)
    made, text = await directory.create_key(
        name,
        given,
        call.through,
        digest=None if digest is None else options.digest_of(digest),
        credit=credit,
    )
    return {**render_key(directory, made), "key": text}


async def update_key(directory: Directory, call: AdminCall) -> Document:
    """PATCH keys/NAME: the options of the body, null for their defaults."""
    call.only()
    return render_key(directory, await directory.update_key(call.name, call.body, call.through))


async def disable_key(directory: Directory, call: AdminCall) -> Document:
    """POST keys/NAME/disable: new calls are refused; with ``now=true`` those that run are ended, where there are any."""
    call.flag("now")
    made = await directory.update_key(call.name, {"enabled": False}, call.through, "disable")
    return render_key(directory, made)


async def enable_key(directory: Directory, call: AdminCall) -> Document:
    """POST keys/NAME/enable."""
    call.only()
    made = await directory.update_key(call.name, {"enabled": None}, call.through, "enable")
    return render_key(directory, made)


async def revoke_key(directory: Directory, call: AdminCall) -> Document:
    """POST keys/NAME/revoke: nothing opens it any more, for good."""
    call.only()
    return render_key(directory, await directory.revoke_key(call.name, call.through))


async def rotate_key(directory: Directory, call: AdminCall) -> Document:
    """POST keys/NAME/rotate: the answer tells the new ``key``; the old one works for ``grace`` more."""
    call.only()
    options.known(call.body, ("grace",))
    grace = taken("grace", values.WAIT, call.body.get("grace", _GRACE))
    made, text = await directory.rotate_key(call.name, grace, call.through)
    return {**render_key(directory, made), "key": text}


def render_key(directory: Directory, one: StoredKey) -> Document:
    """Return a key as JSON: every option, those with their defaults too."""
    now = directory.now()
    made = one.key
    shown = {
        name: None if (value := getattr(made, name)) is None else kind.show(value)
        for name, kind in options.KEY.items()
    }
    old = [token for token in one.tokens[:-1] if token.until is not None and token.until > now]
    return {
        "name": made.name,
        "id": made.hash,
        "state": _state(one, now),
        "shown": one.token.shown,
        **shown,
        "paid_in_usd": usd(directory.paid_in.get(one.wallet, 0)),
        "created_at": _moment(one.created),
        "revoked_at": _moment(one.revoked),
        "rotated_out": [_rotated(token) for token in old] if one.revoked is None else [],
    }


def _rotated(token: Token) -> Document:
    return {"shown": token.shown, "until": _moment(token.until)}


def _state(one: StoredKey, now: int) -> str:
    if one.revoked is not None:
        return REVOKED
    if not one.key.enabled:
        return DISABLED
    expires: datetime | None = one.key.expires
    return EXPIRED if expires is not None and expires <= stored.moment(now) else ACTIVE


# Teams.


def teams(directory: Directory, call: AdminCall) -> Document:
    """GET teams: by name; ``after`` is the name that the page before ended with."""
    call.only("limit", "after")
    limit = _limit(call)
    found = directory.roster.teams(call.query.get("after", ""), limit + 1)
    return _page([render_team(directory, one) for one in found], limit, "name")


def team(directory: Directory, call: AdminCall) -> Document:
    """GET teams/NAME."""
    call.only()
    return render_team(directory, directory.roster.team(call.name))


async def create_team(directory: Directory, call: AdminCall) -> Document:
    """POST teams."""
    call.only()
    given = dict(call.body)
    name, credit = given.pop("name", None), _credit(given)
    made = await directory.create_team(name, given, call.through, credit=credit)
    return render_team(directory, made)


async def update_team(directory: Directory, call: AdminCall) -> Document:
    """PATCH teams/NAME: the options of the body, null for their defaults."""
    call.only()
    return render_team(directory, await directory.update_team(call.name, call.body, call.through))


def render_team(directory: Directory, one: Team) -> Document:
    """Return a team as JSON."""
    return {
        "name": one.name,
        **{name: one.options.get(name) for name in options.TEAM},
        "prepaid": one.terms.prepaid,
        "paid_in_usd": usd(directory.paid_in.get(one.wallet, 0)),
        "created_at": _moment(one.created),
    }


# Credits.


async def credits_(directory: Directory, call: AdminCall) -> Document:
    """GET credits?wallet=…: the last first; ``before`` is the number that the page before ended with."""
    call.only("wallet", "limit", "before")
    limit = _limit(call)
    before = call.query.get("before")
    if before is not None and (not before.isdecimal() or len(before) > 18):
        raise AdminError(400, f"Found {before[:32]!r}, expected a number.", param="before")
    wallet = directory.roster.wallet(call.query.get("wallet", ""))
    found = await directory.read(
        stored.credits_of(wallet, limit + 1, None if before is None else int(before))
    )
    return _page([render_credit(row) for row in found], limit, "number")


async def credit(directory: Directory, call: AdminCall) -> Document:
    """GET credits/WALLET: what was paid in, what was charged, and what is left."""
    call.only()
    wallet = directory.roster.wallet(call.name)
    terms = directory.roster.terms(wallet)
    months = await directory.read(stored.months_of(wallet))
    now = stored.moment(directory.now()).strftime("%Y-%m")
    this = next((row for row in months if row["month"] == now), {"charged": 0, "drawn": 0})
    paid_in = directory.paid_in.get(wallet, 0)
    left = allowance = None
    if terms is not None and terms.prepaid:
        left = usd(paid_in - sum(row["drawn"] for row in months))
        allowance = usd(max(terms.allowance - (this["charged"] - this["drawn"]), 0))
    return {
        "wallet": wallet,
        "prepaid": None if terms is None else terms.prepaid,
        "paid_in_usd": usd(paid_in),
        "charged_usd": usd(sum(row["charged"] for row in months)),
        "charged_this_month_usd": usd(this["charged"]),
        "credit_left_usd": left,
        "allowance_left_usd": allowance,
    }


async def add_credit(directory: Directory, call: AdminCall) -> Document:
    """POST credits: the header Idempotency-Key is the ref; one that was booked before adds nothing, and is told again."""
    call.only()
    options.known(call.body, ("wallet", "amount_usd", "note"))
    amount = micro(taken("amount_usd", options.CREDIT, call.body.get("amount_usd")))
    note = call.body.get("note")
    ref = call.idempotency_key
    wallet = taken("wallet", _WALLET, call.body.get("wallet"))
    booked = await directory.add_credit(
        wallet,
        amount,
        call.through,
        note=None if note is None else taken("note", _NOTE, note),
        ref=None if ref is None else taken("Idempotency-Key", _REF, ref),
    )
    return render_booked(directory, booked)


_WALLET: Kind[str] = word("the name of a key, or team: and that of a team", r"[!-~]{1,80}")


def render_booked(directory: Directory, booked: Booked) -> Document:
    """Return a credit that was added, with what its wallet was paid in all."""
    wallet = booked.credit["wallet_id"]
    return {
        **render_credit(booked.credit),
        "booked": not booked.again,
        "paid_in_usd": usd(directory.paid_in.get(wallet, 0)),
    }


def render_credit(row: Mapping[str, Any]) -> Document:
    """Return one credit as JSON."""
    return {
        "number": row["number"],
        "wallet": row["wallet_id"],
        "amount_usd": usd(row["amount_micro"]),
        "at": _moment(row["at"]),
        "note": row["note"],
        "ref": row["ref"],
    }


# What all of them have in common.


def _credit(given: dict[str, Any]) -> int:
    """Take the first credit out of what is given for something new."""
    amount = given.pop("credit_usd", None)
    return 0 if amount is None else micro(taken("credit_usd", options.CREDIT, amount))


def _limit(call: AdminCall) -> int:
    given = call.query.get("limit", str(_USUAL))
    if not given.isdecimal() or not 1 <= int(given[:9]) <= _MOST:
        raise AdminError(
            400, f"Found {given[:32]!r}, expected a number from 1 to {_MOST}.", param="limit"
        )
    return int(given)


def _page(rows: list[Document], limit: int, cursor: str) -> Document:
    """Return a list with what the next page is asked for by."""
    page = rows[:limit]
    more = len(rows) > limit
    return {**listing(page, has_more=more), "next": page[-1][cursor] if more else None}


def _moment(micros: int | None) -> str | None:
    return None if micros is None else moment(micros / 1e6)


_STATUS = {
    options.Reason.INVALID: 400,
    options.Reason.ABSENT: 404,
    options.Reason.TAKEN: 409,
}


def refusal(error: Refused) -> AdminError:
    """Return what the sender of a request is told of a change that was not made."""
    return AdminError(_STATUS[error.reason], error.message, param=error.param)


ROUTES: Mapping[str, Mapping[str, Handler]] = {
    "keys": {"GET": keys, "POST": create_key},
    "keys/*": {"GET": key, "PATCH": update_key},
    "keys/*/disable": {"POST": disable_key},
    "keys/*/enable": {"POST": enable_key},
    "keys/*/revoke": {"POST": revoke_key},
    "keys/*/rotate": {"POST": rotate_key},
    "teams": {"GET": teams, "POST": create_team},
    "teams/*": {"GET": team, "PATCH": update_team},
    "credits": {"GET": credits_, "POST": add_credit},
    "credits/*": {"GET": credit},
}
"""Below ``/api/v1/``; ``*`` is a name."""
