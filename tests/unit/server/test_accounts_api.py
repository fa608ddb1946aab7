"""An account as JSON: what is told of its state, and what is not."""

from __future__ import annotations

import orjson
import pytest

from proxy.config import Account, Secret
from proxy.errors import GatewayError, Kind
from proxy.routing.cooldown import Cause, Evidence, State
from proxy.routing.ratelimits import Reading, Remaining
from proxy.routing.seat import AccountState, Standing, Why
from proxy.server.accounts_api import render, render_probe, render_why
from proxy.upstream.probe import Probed

OFFSET = 1_767_225_600.0
"""The pool's clock began with 2026."""
SECRET = Secret("hf_0123456789abcdef")
ACCOUNT = Account(name="a", provider="p", api_key=SECRET, rpm=60, concurrency=2)


def why(model: str | None = "m", said: str = "429 slow down") -> Why:
    found = Evidence(Kind.RATE_LIMIT, 429, "retry-after: 7", 7.0, said)
    return Why(model, State.OPEN, Cause.BURST, 1.0, 8.0, 2, found)


def state(standing: Standing = Standing.AVAILABLE, **fields) -> AccountState:
    known = {
        "name": "a", "provider": "p", "standing": standing, "cause": None, "until": None, "why": (),
        "in_flight": 0, "requests_left": None, "tokens_left": None, "told": None,
    }  # fmt: skip
    return AccountState(**{**known, **fields})


def test_a_trouble_is_told_with_its_evidence_and_in_wall_time():
    assert render_why(why(), SECRET, OFFSET) == {
        "model": "m",
        "state": "open",
        "cause": "burst",
        "since": "2026-01-01T00:00:01.000Z",
        "until": "2026-01-01T00:00:08.000Z",
        "failures": 2,
        "evidence": {
            "kind": "rate_limit",
            "status": 429,
            "header": "retry-after: 7",
            "hint_s": 7.0,
            "said": "429 slow down",
        },
    }


def test_an_account_is_told_with_its_limits_and_what_the_provider_says():
    told = Reading(Remaining(5, 1.0), None)
    found = render(
        state(in_flight=1, requests_left=59, told=told, empty=(("n", 3.0),)), ACCOUNT, OFFSET
    )
    assert orjson.loads(orjson.dumps(found)) == {
        "name": "a",
        "provider": "p",
        "state": "available",
        "cause": None,
        "until": None,
        "in_flight": 1,
        "priority": 0,
        "weight": 1,
        "models": ["*"],
        "limits": {
            "rpm": 60,
            "requests_left": 59,
            "tpm": None,
            "tokens_left": None,
            "concurrency": 2,
        },
        "provider_says_left": {"requests": 5, "tokens": None},
        "benched": 0,
        "why": [],
        "empty": [{"model": "n", "until": "2026-01-01T00:00:03.000Z"}],
    }


@pytest.mark.parametrize(
    ("standing", "until", "told"),
    [
        (Standing.COOLING, 8.0, "2026-01-01T00:00:08.000Z"),
        (Standing.LIMITED, 8.0, "2026-01-01T00:00:08.000Z"),
        (Standing.FULL, 8.0, None),
        (Standing.HALF_OPEN, 8.0, None),
        (Standing.DISABLED, None, None),
    ],
)
def test_an_end_is_told_only_where_somebody_knows_it(standing, until, told):
    assert render(state(standing, until=until), ACCOUNT, OFFSET)["until"] == told


def test_a_list_tells_some_troubles_and_how_many_there_are():
    found = render(state(why=tuple(why(f"m{n}") for n in range(20))), ACCOUNT, OFFSET, most=8)
    assert (len(found["why"]), found["benched"]) == (8, 20)
    assert len(render(state(why=tuple([why()] * 20)), ACCOUNT, OFFSET)["why"]) == 20


@pytest.mark.parametrize(
    "said", ["bad key hf_0123456789abcdef!", "bad key hf_01234567", "hf_0123456789abcdef"]
)
def test_a_credential_in_the_upstreams_words_is_not_shown(said):
    found = render_why(why(said=said), SECRET, OFFSET)["evidence"]["said"]
    assert "hf_0" not in found
    assert "***" in found


def test_a_test_is_told_without_credential_and_query():
    error = GatewayError(Kind.UPSTREAM_AUTH, evidence="401 unknown: hf_0123456789abcdef")
    found = render_probe(
        ACCOUNT, Probed("https://h/v1/models?key=hf_0", 401, 0.12345, error), cleared=False
    )
    assert found == {
        "account": "a",
        "ok": False,
        "url": "https://h/v1/models",
        "status": 401,
        "seconds": 0.123,
        "error": {"kind": "upstream_auth", "said": "401 unknown: ***"},
        "cleared": False,
    }
