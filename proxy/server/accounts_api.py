"""``/api/v1/accounts``: how the upstream accounts are, and what an operator does about it."""

from __future__ import annotations

import difflib
from urllib.parse import urlsplit

from proxy.config.model import Account
from proxy.config.secrets import Secret
from proxy.routing.cooldown import Evidence
from proxy.routing.seat import AccountState, Seat, Standing, Why, account_state
from proxy.server.admin_call import AdminCall, AdminError, Document, listing, moment
from proxy.server.gateway import Gateway
from proxy.upstream.probe import Probed, probe

_LISTED = 8
"""What is told of an account's troubles in the list of all: each model may have one, and names of models are endless."""
_PATIENCE = 30.0
"""Seconds for the answer to a test. ``timeouts.response`` is for models that write a book."""

_ENDING = (Standing.COOLING, Standing.LIMITED)
"""Of what somebody knows the end. When a slot becomes free nobody does, and a canary may go at once."""


def listed(gateway: Gateway, call: AdminCall) -> Document:
    """GET accounts."""
    call.only()
    now = gateway.now()
    offset = gateway.clock() - now
    accounts = {account.name: account for account in gateway.config.accounts}
    return listing(
        [
            render(state, accounts[state.name], offset, _LISTED)
            for state in gateway.pool.accounts(now)
        ]
    )


def shown(gateway: Gateway, call: AdminCall) -> Document:
    """GET accounts/NAME, with everything that is known to be wrong with it."""
    call.only()
    return _shown(gateway, _seat(gateway, call.name))


def disable(gateway: Gateway, call: AdminCall) -> Document:
    """POST accounts/NAME/disable: nobody new is sent there, and what runs there may end."""
    call.only()
    seat = _seat(gateway, call.name)
    seat.enabled = False
    gateway.log.info("account disabled by an operator", account=seat.name)
    return _shown(gateway, seat)


def enable(gateway: Gateway, call: AdminCall) -> Document:
    """POST accounts/NAME/enable."""
    call.only()
    seat = _seat(gateway, call.name)
    seat.enabled = True
    gateway.means.queue.wake()
    gateway.log.info("account enabled by an operator", account=seat.name)
    return _shown(gateway, seat)


def clear(gateway: Gateway, call: AdminCall) -> Document:
    """POST accounts/NAME/clear: forget what benches it."""
    call.only()
    seat = _seat(gateway, call.name)
    _clear(gateway, seat)
    return _shown(gateway, seat)


async def test(gateway: Gateway, call: AdminCall) -> Document:
    """POST accounts/NAME/test: ask it something that costs nothing; with ``clear=true`` a good answer clears it."""
    clears = call.flag("clear")
    seat = _seat(gateway, call.name)
    times = gateway.config.timeouts
    probed = await probe(
        seat.account,
        seat.provider,
        gateway.means.connections,
        connect=times.connect,
        answer=min(times.response, _PATIENCE),
        agent=gateway.means.ways.agent,
    )
    cleared = clears and probed.error is None
    if cleared:
        _clear(gateway, seat)
    return render_probe(seat.account, probed, cleared=cleared)


def _seat(gateway: Gateway, name: str) -> Seat:
    seat = gateway.pool.seat(name)
    if seat is None:
        names = [account.name for account in gateway.config.accounts]
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {near[0]}?" if near else "`splice accounts` lists them"
        raise AdminError(
            404, f"found no account {name[:64]!r}, expected one of [[accounts]]; {hint}"
        )
    return seat


def _clear(gateway: Gateway, seat: Seat) -> None:
    seat.clear()
    gateway.means.queue.wake()
    gateway.log.info("account cleared by an operator", account=seat.name)


def _shown(gateway: Gateway, seat: Seat) -> Document:
    now = gateway.now()
    return render(account_state(seat, now), seat.account, gateway.clock() - now)


# Documents. ``offset`` is what turns a time of the pool's clock into one since 1970.


def render(
    state: AccountState, account: Account, offset: float, most: int | None = None
) -> Document:
    """Return an account as JSON, with at most so many of its troubles; ``benched`` tells how many there are."""
    until = state.until if state.standing in _ENDING else None
    return {
        "name": state.name,
        "provider": state.provider,
        "state": state.standing,
        "cause": state.cause,
        "until": None if until is None else moment(offset + until),
        "in_flight": state.in_flight,
        "priority": account.priority,
        "weight": account.weight,
        "models": account.models,
        "limits": {
            "rpm": account.rpm,
            "requests_left": state.requests_left,
            "tpm": account.tpm,
            "tokens_left": state.tokens_left,
            "concurrency": account.concurrency,
        },
        "provider_says_left": {
            "requests": state.told.requests.left if state.told and state.told.requests else None,
            "tokens": state.told.tokens.left if state.told and state.told.tokens else None,
        },
        "benched": len(state.why),
        "why": [render_why(why, account.api_key, offset) for why in state.why[:most]],
        "empty": [
            {"model": model, "until": moment(offset + until)} for model, until in state.empty[:most]
        ],
    }


def render_why(why: Why, secret: Secret | None, offset: float) -> Document:
    """Return one trouble as JSON; ``model`` is null if it is the whole account's."""
    return {
        "model": why.model,
        "state": why.state,
        "cause": why.cause,
        "since": moment(offset + why.since),
        "until": moment(offset + why.until),
        "failures": why.failures,
        "evidence": _render_evidence(why.evidence, secret),
    }


def _render_evidence(evidence: Evidence, secret: Secret | None) -> Document:
    return {
        "kind": evidence.kind,
        "status": evidence.status,
        "header": evidence.told or None,
        "hint_s": evidence.hint,
        "said": _without(secret, evidence.said) or None,
    }


def render_probe(account: Account, probed: Probed, *, cleared: bool) -> Document:
    """Return what came of a test as JSON."""
    error = probed.error
    return {
        "account": account.name,
        "ok": error is None,
        # The query is left out: some proxies take a key there.
        "url": urlsplit(probed.url)._replace(query="").geturl(),
        "status": probed.status,
        "seconds": round(probed.seconds, 3),
        "error": None
        if error is None
        else {"kind": error.kind, "said": _without(account.api_key, error.evidence)},
        "cleared": cleared,
    }


def _without(secret: Secret | None, text: str) -> str:
    return text if secret is None else secret.hide(text)
