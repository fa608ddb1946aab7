"""Four accounts: what fails on one of them is somebody else's answer, and what benches it is what it said."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import pytest

from proxy.routing.cooldown import Cause
from proxy.routing.seat import Standing
from tests.integration import spoken
from tests.integration.gateway import (
    BEARER,
    PATHS,
    Gateway,
    account,
    body_of,
    chat_body,
    config_text,
    gateway,
    upstream,
)
from tests.integration.scripted import Cut, Pause, Reset, Scripted, Step, play, settled, whole
from tests.integration.wire import encoded, request

NAMES = "abcd"
SURFACES = ("chat", "messages")
DIALECT = "openai-chat"
BEGUN = spoken.HEAD + spoken.chunk(spoken.metadata(DIALECT).replace(b'"m"', b'"tell-tale"'))
BRIEF = 'base = "50ms"\nmax_burst = "50ms"\nmax_quota = "50ms"\nprobe_interval = "50ms"'
ENDLESS = 'base = "5m"\nprobe_interval = "5m"'
SOON = 'first_content = "300ms"\nresponse = "300ms"\nconnect = "300ms"'


def refusal(status: str, body: object = None, **headers: str) -> list[Step]:
    """Return the steps of an upstream that refuses with ``status``."""
    told = {"error": {"message": "tell-tale"}} if body is None else body
    return [whole(json.dumps(told).encode(), status, **spoken.JSON, **headers)]


class Account:
    """An upstream that answers in its name, unless a test has it play something else; it can be held."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.steps: list[Step] | None = None
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.server = Scripted(self)

    @property
    def asked(self) -> int:
        return len(self.server.requests)

    async def __call__(self, reader, writer, request):
        await self.go_on.wait()
        if self.steps is not None:
            await play(self.steps, writer)
        elif b'"stream": true' in request.body:
            writer.write(spoken.streamed(DIALECT, self.name))
        else:
            writer.write(spoken.told(DIALECT, self.name))


@dataclass(frozen=True, slots=True)
class Four:
    front: Gateway
    a: Account
    b: Account
    c: Account
    d: Account

    @property
    def all(self) -> tuple[Account, ...]:
        return (self.a, self.b, self.c, self.d)

    @property
    def asked(self) -> list[int]:
        return [one.asked for one in self.all]

    @property
    def states(self):
        return {one.name: one for one in self.front.running.gateway.pool.accounts(now())}

    def why(self, name: str):
        return self.front.running.gateway.pool.why(name, now())

    async def back(self, name: str, model: str | None = None) -> None:
        """Wait until ``name`` may be tried again."""
        seat = self.front.running.gateway.pool.seat(name)
        assert seat is not None
        await settled(lambda: seat.standing(model or "m", 0, now()) is Standing.HALF_OPEN)


def now() -> float:
    return asyncio.get_running_loop().time()


@contextlib.asynccontextmanager
async def four(
    *tables: str, alike: bool = False, first: str = "", **sections: str
) -> AsyncIterator[Four]:
    """Run a gateway in front of four accounts that are asked in their order, or alike; leave when nothing runs."""
    async with contextlib.AsyncExitStack() as stack:
        accounts = [Account(name) for name in NAMES]
        written = []
        for number, one in enumerate(accounts):
            await stack.enter_async_context(one.server)
            options = {"base_url": f'"{one.server.url}"'}
            if not alike:
                options["priority"] = str(number + 1)
            if number == 0 and first:
                name, _, value = first.partition(" = ")
                options[name] = value
            written.append(account(one.name, "up", **options))
        provider = '[providers.up]\ndialects = ["openai-chat"]\nbase_url = "http://127.0.0.1:9"\n'
        text = config_text(provider, *written, *tables, **sections)
        front = await stack.enter_async_context(gateway(text))
        found = Four(front, *accounts)
        yield found
        await settled(lambda: nothing_runs(front))


def nothing_runs(front: Gateway) -> bool:
    """Tell whether every slot is free again, of accounts, retries, keys and the queue."""
    inside = front.running.gateway
    return (
        not inside.calls
        and not any(one.in_flight for one in inside.pool.accounts(now()))
        and inside.pool.retries.running == inside.pool.retries.retrying == 0
        and not any(inside.key_limits.running(key) for key in inside.config.keys)
        and not len(inside.means.queue)
    )


# What benches.

RETRY_INFO = {
    "error": {
        "code": 429,
        "status": "RESOURCE_EXHAUSTED",
        "message": "tell-tale",
        "details": [
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "7s"},
        ],
    }
}


@pytest.mark.parametrize(
    ("body", "headers", "seconds"),
    [
        (None, {"retry_after": "7"}, 7),
        (None, {"retry_after_ms": "7000", "retry_after": "99"}, 7),
        (RETRY_INFO, {}, 7),
        (None, {"x_ratelimit_remaining_requests": "0", "x_ratelimit_reset_requests": "7s"}, 7),
        (None, {}, 5),
        (None, {"retry_after": "0"}, 5),
        (None, {"retry_after": "-1"}, 5),
        (None, {"retry_after": "soon"}, 5),
        (None, {"retry_after": "Mon, 01 Jan 2001 00:00:00 GMT"}, 5),
        (None, {"retry_after": "1000000000"}, 300),
    ],
)
async def test_a_429_benches_the_account_for_as_long_as_it_says(body, headers, seconds):
    async with four() as pool:
        pool.a.steps = refusal("429 Slow", body, **headers)
        said = [(await pool.front.chat()).text for _ in range(3)]
        [why] = pool.why("a")
        line = (await pool.front.requests(3))[0]
    assert said == ["b", "b", "b"]
    assert pool.asked == [1, 3, 0, 0]
    assert (why.cause, why.model) == (Cause.BURST, "m")
    assert why.until - why.since == pytest.approx(seconds)
    assert (line["attempts"], line["account"]) == (2, "b")


@pytest.mark.parametrize(
    ("said", "hint", "seconds"),
    [
        ("0", None, 5),
        ("-1", None, 5),
        ("-0.0", None, 5),
        ("1000000000", 1e9, 300),
        ("9" * 400, None, 5),
        ("inf", None, 5),
        ("Sunday, 06-Nov-94 08:49:37 GMT", None, 5),
        ("Wed, 21 Oct 99999 07:28:00 GMT", None, 5),
        ("1, 2", None, 5),
        ("café", None, 5),
    ],
)
async def test_whatever_a_provider_says_is_handled_and_shown(said, hint, seconds):
    async with four() as pool:
        pool.a.steps = refusal("429 Slow", retry_after=said)
        answered = await pool.front.chat()
        [why] = pool.why("a")
    assert (answered.status, answered.text) == (200, "b")
    assert why.until - why.since == pytest.approx(seconds)
    shown = said.encode().decode("latin-1")[:64]
    assert (why.evidence.told, why.evidence.hint) == (f"retry-after: {shown}", hint)


async def test_an_account_is_never_benched_beyond_the_cap():
    async with four(cooldown='base = "50ms"\nmax_burst = "100ms"\nprobe_interval = "50ms"') as pool:
        pool.a.steps = refusal("429 Slow", retry_after="86400")
        assert (await pool.front.chat()).text == "b"
        [why] = pool.why("a")
        pool.a.steps = None
        await pool.back("a")
        said = (await pool.front.chat()).text
        assert pool.why("a") == ()
    assert why.until - why.since == pytest.approx(0.1)
    assert (why.evidence.told, why.evidence.hint) == ("retry-after: 86400", 86400)
    assert said == "a"


async def test_one_canary_goes_and_its_success_closes():
    times = BRIEF.replace('probe_interval = "50ms"', 'probe_interval = "5m"')
    async with four(cooldown=times) as pool:
        pool.a.steps = refusal("429 Slow", retry_after="1")
        assert (await pool.front.chat()).text == "b"
        pool.a.steps = None
        pool.a.go_on.clear()
        await pool.back("a")
        canary = await asked(pool.front, stream=False)
        await settled(lambda: pool.a.asked == 2)
        said = [(await pool.front.chat()).text for _ in range(5)]
        assert pool.a.asked == 2
        pool.a.go_on.set()
        assert (await canary.answer()).text == "a"
        assert pool.why("a") == ()
        assert (await pool.front.chat()).text == "a"
    assert said == ["b"] * 5


async def test_a_canary_that_fails_is_answered_by_somebody_else():
    times = 'base = "20ms"\nmax_burst = "5m"\nprobe_interval = "5m"'
    async with four(cooldown=times) as pool:
        pool.a.steps = refusal("429 Slow")
        assert (await pool.front.chat()).text == "b"
        await pool.back("a")
        assert (await pool.front.chat()).text == "b"
        [why] = pool.why("a")
    assert pool.asked == [2, 2, 0, 0]
    assert why.failures == 2


@pytest.mark.parametrize("stream", [False, True])
async def test_a_canary_closes_with_the_first_content_not_with_the_end(stream):
    async with four(cooldown=BRIEF) as pool:
        pool.a.steps = refusal("503 No")
        assert (await pool.front.chat()).text == "b"
        begun = BEGUN + spoken.chunk(spoken.text(DIALECT, "a"))
        pool.a.steps = [begun] if stream else [spoken.told(DIALECT, "a")]
        await pool.back("a")
        wire = await asked(pool.front, stream=stream)
        await wire.head()
        await settled(lambda: pool.why("a") == ())
        wire.leave()


async def test_an_account_is_back_although_the_canary_before_still_hangs():
    times = 'base = "50ms"\nmax_burst = "50ms"\nprobe_interval = "300ms"'
    async with four(cooldown=times) as pool:
        pool.a.steps = refusal("503 No")
        assert (await pool.front.chat()).text == "b"
        pool.a.steps = [BEGUN, Pause(60)]
        await pool.back("a")
        canary = await asked(pool.front)
        await settled(lambda: pool.a.asked == 2)
        pool.a.steps = None
        assert (await pool.front.chat()).text == "b"
        await pool.back("a")
        said = [(await pool.front.chat()).text for _ in range(2)]
        assert pool.why("a") == ()
        canary.leave()
    assert said == ["a", "a"]


async def test_a_dead_key_benches_the_account():
    async with four() as pool:
        pool.a.steps = refusal("401 No", {"error": {"message": "Incorrect API key tell-tale"}})
        said = [(await pool.front.chat(model)).text for model in ("up/m", "up/n", "up/m")]
        [why] = pool.why("a")
    assert said == ["b", "b", "b"]
    assert pool.a.asked == 1
    assert (why.cause, why.model, why.evidence.status) == (Cause.AUTH, None, 401)


async def test_a_forbidden_model_benches_only_that():
    async with four() as pool:
        pool.a.steps = refusal("403 No")
        assert (await pool.front.chat("up/m")).text == "b"
        pool.a.steps = None
        said = [(await pool.front.chat(model)).text for model in ("up/m", "up/n", "up/m")]
        [why] = pool.why("a")
    assert said == ["b", "a", "b"]
    assert (why.cause, why.model) == (Cause.AUTH, "m")


async def test_an_account_without_money_is_benched():
    async with four() as pool:
        pool.a.steps = refusal("402 Pay")
        said = [(await pool.front.chat(model)).text for model in ("up/m", "up/n")]
        [why] = pool.why("a")
    assert (said, pool.a.asked) == (["b", "b"], 1)
    assert (why.cause, why.model) == (Cause.QUOTA, None)


OWN_FAULTS = [
    ("400 Bad", {"error": {"message": "temperature is too high"}}, 400),
    ("400 Bad", {"error": {"message": "x", "code": "context_length_exceeded"}}, 400),
    ("400 Bad", {"error": {"message": "x", "code": "content_policy_violation"}}, 400),
    ("404 No", {"error": {"message": "x", "code": "model_not_found"}}, 404),
    ("413 Big", {"error": {"message": "x"}}, 413),
    ("422 Bad", {"error": {"message": "x"}}, 400),
]


@pytest.mark.parametrize(("status", "body", "told"), OWN_FAULTS)
async def test_what_is_wrong_with_a_request_benches_nobody(status, body, told):
    async with four() as pool:
        for one in pool.all:
            one.steps = refusal(status, body)
        answered = [await pool.front.chat() for _ in range(3)]
        states = pool.states
    assert [one.status for one in answered] == [told] * 3
    assert {one.standing for one in states.values()} == {Standing.AVAILABLE}
    assert pool.a.asked == 3


async def test_a_model_that_one_account_does_not_have_may_be_another_s():
    async with four() as pool:
        pool.a.steps = refusal("404 No", {"error": {"message": "x", "code": "model_not_found"}})
        said = [(await pool.front.chat()).text for _ in range(2)]
        assert pool.why("a") == ()
    assert (said, pool.asked) == (["b", "b"], [2, 2, 0, 0])


# What another account makes up for.

FAILURES: dict[str, list[Step]] = {
    "429": refusal("429 Slow"),
    "401": refusal("401 No"),
    "402": refusal("402 No"),
    "403": refusal("403 No"),
    "500": refusal("500 No"),
    "503": refusal("503 No"),
    "529": refusal("529 No"),
    "reset": [Reset()],
    "hang": [Pause(60)],
    "cut": [BEGUN, Cut()],
    "event": [BEGUN + spoken.chunk(spoken.failure(DIALECT)) + spoken.LAST],
    "silence": [BEGUN, Pause(60)],
    "no content": [BEGUN + spoken.LAST],
    "page": [whole(b"<!doctype html><title>tell-tale</title>", content_type="text/html")],
    "inside": [whole(b'{"error":{"message":"tell-tale","code":503}}', **spoken.JSON)],
}
SLOW = ("hang", "silence")
QUICK = [how for how in FAILURES if how not in SLOW]


def break_(one: Account, how: str) -> None:
    if how == "refuse":
        one.server._server.close()
    else:
        one.steps = FAILURES[how]


@pytest.mark.parametrize(
    ("how", "broken"),
    [(how, 1) for how in (*FAILURES, "refuse")] + [(how, 2) for how in (*QUICK, "refuse")],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_failure_before_the_content_is_another_account_s_answer(how, stream, broken):
    times = SOON if how in SLOW else ""
    async with four(timeouts=times, cooldown=ENDLESS) as pool:
        for one in pool.all[:broken]:
            break_(one, how)
        answered = [await pool.front.chat(stream=stream) for _ in range(3)]
        lines = await pool.front.requests(3)
        states = pool.states
    assert [(one.status, one.text, one.whole) for one in answered] == [
        (200, pool.all[broken].name, True)
    ] * 3
    assert b"tell-tale" not in b"".join(one.body for one in answered)
    assert [one["attempts"] for one in lines] == [broken + 1, 1, 1]
    assert [one.name for one in states.values() if one.why] == list(NAMES[:broken])


@pytest.mark.parametrize("how", [*QUICK, "refuse"])
async def test_three_of_four_broken_accounts_are_found_out_once(how):
    async with four(alike=True, cooldown=ENDLESS) as pool:
        for one in pool.all[:3]:
            break_(one, how)
        answered = [await pool.front.chat(stream=True) for _ in range(10)]
        lines = await pool.front.requests(10)
    good = [one for one in answered if one.status == 200]
    assert len(good) >= 9
    assert {one.text for one in good} == {"d"}
    assert max(one["attempts"] for one in lines) <= 3
    assert sum(one["attempts"] for one in lines) <= 10 + 3
    assert all(one.asked <= 1 for one in pool.all[:3])


async def test_two_accounts_that_keep_a_client_waiting_are_enough():
    async with four(timeouts=SOON, cooldown=ENDLESS) as pool:
        pool.a.steps = pool.b.steps = [Pause(60)]
        answered = await pool.front.chat(stream=True)
        again = await pool.front.chat(stream=True)
    assert answered.status == 504
    assert again.text == "c"
    assert pool.asked == [1, 1, 1, 0]


@contextlib.contextmanager
def hanging(name: str) -> Iterator[str]:
    """Return the table of an account whose connections are never accepted."""
    with socket.socket() as full, contextlib.ExitStack() as waiting:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(2):  # a full queue answers no further SYN
            one = waiting.enter_context(socket.socket())
            one.setblocking(False)  # noqa: FBT003 - the socket's own
            one.connect_ex(full.getsockname())
        url = f"http://127.0.0.1:{full.getsockname()[1]}"
        yield account(name, "up", base_url=f'"{url}"')


async def test_a_connection_that_hangs_is_another_account_s_answer():
    with hanging("hanging") as table:
        async with four(table, timeouts=SOON, cooldown=ENDLESS) as pool:
            said = [(await pool.front.chat()).text for _ in range(2)]
            lines = await pool.front.requests(2)
            [why] = pool.why("hanging")
    assert said == ["a", "a"]
    assert [one["attempts"] for one in lines] == [2, 1]
    assert (why.cause, why.model) == (Cause.NETWORK, None)


async def test_two_connections_that_hang_cost_nothing_and_a_third_account_answers():
    with hanging("one") as one, hanging("two") as two:
        async with four(one, two, timeouts=SOON, cooldown=ENDLESS) as pool:
            answered = await pool.front.chat()
            line = await pool.front.last()
    assert (answered.status, answered.text) == (200, "a")
    assert line["attempts"] == 3


@pytest.mark.parametrize("how", ["503", "reset", "cut", "page"])
async def test_the_last_account_is_never_benched_for_being_ill(how):
    async with Scripted(FAILURES[how]) as up, gateway(config_text(upstream(up.url))) as front:
        answered = [await front.chat(stream=True) for _ in range(4)]
        pool = front.running.gateway.pool
        assert pool.why("up", now()) == ()
        await settled(lambda: nothing_runs(front))
    assert {one.status for one in answered} <= {502, 503}
    assert len(up.requests) == 4


async def test_the_last_of_four_is_never_benched_for_being_ill_and_answers_when_it_is_well():
    async with four(cooldown=ENDLESS) as pool:
        for one in pool.all:
            one.steps = refusal("503 No")
        statuses = [(await pool.front.chat()).status for _ in range(4)]
        pool.d.steps = None
        answered = await pool.front.chat()
        benched = [one.name for one in pool.states.values() if one.why]
    assert statuses == [503] * 4
    assert answered.text == "d"
    assert benched == ["a", "b", "c"]


async def test_an_account_that_fails_after_content_is_benched_and_nothing_is_said_twice():
    async with four(cooldown=ENDLESS) as pool:
        pool.a.steps = [BEGUN + spoken.chunk(spoken.text(DIALECT, "He")), Cut()]
        answered = await pool.front.chat(stream=True)
        again = await pool.front.chat(stream=True)
    assert (answered.status, answered.text) == (200, "He")
    assert "error" in answered.data[-1]
    assert again.text == "b"
    assert pool.asked == [1, 1, 0, 0]


async def test_a_client_is_told_when_the_first_of_them_is_back():
    async with four() as pool:
        waits = ("40", "20", "90", "80")
        for one, wait in zip(pool.all, waits, strict=True):
            one.steps = refusal("429 Slow", retry_after=wait)
        met = await pool.front.chat()
        told = await pool.front.chat()
        again = await pool.front.chat()
    # Three are tried, and the fourth is still there; then nobody is.
    assert [one.headers["retry-after"] for one in (met, told, again)] == ["1", "20", "20"]
    assert [one.status for one in (met, told, again)] == [429] * 3
    assert pool.asked == [1, 1, 1, 1]


# Whoever has failed once waits as well.

PATIENT = 'queue_timeout = "60s"'


def only(pool: Four, *names: str) -> None:
    """Take all accounts out but these."""
    for name in NAMES:
        seat = pool.front.running.gateway.pool.seat(name)
        assert seat is not None
        seat.enabled = name in names


async def bench(pool: Four, one: Account, **hint: str) -> None:
    """Have ``one`` benched, and well again but for that."""
    only(pool, one.name)
    one.steps = refusal("429 Slow", **hint)
    assert (await pool.front.chat()).status == 429
    one.steps = None


@pytest.mark.parametrize("stream", [False, True])
async def test_a_call_that_failed_once_waits_for_an_account_that_it_has_not_tried(stream):
    async with four(retry=PATIENT) as pool:
        await bench(pool, pool.b, retry_after_ms="300")
        only(pool, "a", "b")
        pool.a.steps = refusal("429 Slow", retry_after="60")
        answered = await pool.front.chat(stream=stream)
        line = await pool.front.last(2)
    assert (answered.status, answered.text) == (200, "b")
    assert (line["attempts"], line["account"]) == (2, "b")
    assert line["queue_s"] > 0
    assert pool.asked == [1, 2, 0, 0]


async def test_a_call_that_failed_once_does_not_wait_for_whom_it_has_tried():
    async with four(retry=PATIENT) as pool:
        only(pool, "a")
        pool.a.steps = refusal("429 Slow", retry_after="2")
        answered = await pool.front.chat()
    assert (answered.status, answered.headers["retry-after"]) == (429, "2")
    assert pool.asked == [1, 0, 0, 0]


async def test_a_call_that_waits_in_vain_after_a_failure_tells_that_failure():
    async with four(retry='queue_timeout = "200ms"') as pool:
        only(pool, "b")
        pool.b.go_on.clear()
        seat = pool.front.running.gateway.pool.seat("b")
        assert seat is not None
        seat.limiter.concurrency = 1
        held = await asked(pool.front, stream=False)
        await settled(lambda: pool.b.asked)
        only(pool, "a", "b")
        pool.a.steps = refusal("503 No")
        answered = await pool.front.chat()
        line = await pool.front.last()
        pool.b.go_on.set()
        assert (await held.answer()).text == "b"
    assert (answered.status, answered.error["code"]) == (503, "overloaded")
    assert (line["attempts"], line["error_type"]) == (1, "overloaded")


async def test_many_that_fail_together_are_all_answered_by_somebody_else():
    async with four(cooldown=ENDLESS) as pool:
        pool.a.steps = refusal("503 No")
        pool.a.go_on.clear()
        wires = [await asked(pool.front, stream=bool(number % 2)) for number in range(20)]
        await settled(lambda: pool.a.asked == 20)
        pool.a.go_on.set()
        answered = [await wire.answer() for wire in wires]
    assert [(one.status, one.text) for one in answered] == [(200, "b")] * 20
    assert pool.asked == [20, 20, 0, 0]


async def test_a_place_that_one_call_cannot_use_is_the_next_one_s():
    times = 'base = "100ms"\nmax_burst = "100ms"\nprobe_interval = "5m"'
    async with four(retry=PATIENT, cooldown=times) as pool:
        queue = pool.front.running.gateway.means.queue
        await bench(pool, pool.b)
        await pool.back("b")
        pool.b.go_on.clear()
        canary = await asked(pool.front, stream=False)
        await settled(lambda: pool.b.asked == 2)
        only(pool, "a", "b")
        pool.a.steps = refusal("429 Slow")
        tried = await asked(pool.front, stream=False)
        await settled(lambda: len(queue) == 1)
        pool.a.steps = None
        pool.a.go_on.clear()
        await pool.back("a")
        another = await asked(pool.front, stream=False)
        await settled(lambda: pool.a.asked == 2)
        last = await asked(pool.front, stream=False)
        await settled(lambda: len(queue) == 2)
        # Both accounts have their canaries out, so nothing but a success lets anybody go.
        pool.a.go_on.set()
        said = [(await wire.answer()).text for wire in (another, last)]
        pool.b.go_on.set()
        said += [(await wire.answer()).text for wire in (canary, tried)]
    assert said == ["a", "a", "b", "b"]


# Who is asked.


async def test_equal_accounts_share_by_weight():
    async with four(alike=True, first="weight = 3") as pool:
        for _ in range(12):
            await pool.front.chat()
    assert pool.asked == [6, 2, 2, 2]


async def test_a_lower_priority_number_takes_everything_while_it_can():
    async with four() as pool:
        for _ in range(5):
            await pool.front.chat()
    assert pool.asked == [5, 0, 0, 0]


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("header", ["x-claude-code-session-id", "session_id", "x-session-id"])
async def test_a_session_stays_with_its_account(surface, header):
    async with four(alike=True) as pool:
        said: dict[str, set[str]] = {}
        for _ in range(4):
            for session in map(str, range(6)):
                body = body_of(surface)
                answered = await pool.front.post(PATHS[surface], body, **{header: session})
                said.setdefault(session, set()).add(answered.text)
    assert all(len(names) == 1 for names in said.values())
    assert len(set.union(*said.values())) > 1


async def test_a_session_leaves_an_account_that_is_benched_and_stays_where_it_went():
    async with four(alike=True, cooldown=BRIEF) as pool:

        async def said() -> str:
            return (await pool.front.post(PATHS["chat"], chat_body(), x_session_id="s")).text

        first = await said()
        home = next(one for one in pool.all if one.name == first)
        home.steps = refusal("429 Slow")
        second = await said()
        home.steps = None
        await pool.back(first)
        canary = await said()
        third = await said()
    assert second != first
    assert canary == first
    assert third == second


async def test_a_prompt_stays_with_its_account_without_a_session():
    system = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    async with four(alike=True) as pool:
        for _ in range(6):
            await pool.front.post(PATHS["chat"], {"model": "up/m", "messages": system})
    assert sorted(pool.asked) == [0, 0, 0, 6]


async def test_an_account_takes_as_many_requests_a_minute_as_it_may():
    async with four(first="rpm = 2") as pool:
        said = [(await pool.front.chat()).text for _ in range(4)]
    assert said == ["a", "a", "b", "b"]


async def test_an_account_takes_as_many_tokens_a_minute_as_it_may():
    async with four(first="tpm = 100") as pool:
        said = [(await pool.front.chat(max_tokens=80)).text for _ in range(2)]
        many = [(await pool.front.chat(max_tokens=20)).text for _ in range(2)]
    # Eighteen tokens were used of each reservation, and what was not is there for the next.
    assert said == ["a", "b"]
    assert many == ["a", "a"]


async def test_an_account_runs_as_many_calls_as_it_may():
    async with four(first="concurrency = 1") as pool:
        pool.a.go_on.clear()
        held = await asked(pool.front, stream=False)
        await settled(lambda: pool.a.asked)
        meanwhile = (await pool.front.chat()).text
        pool.a.go_on.set()
        assert (await held.answer()).text == "a"
        afterwards = (await pool.front.chat()).text
    assert (meanwhile, afterwards) == ("b", "a")


async def test_an_account_that_says_it_is_empty_rests_before_it_is_told_to():
    async with four() as pool:
        told = {"x_ratelimit_remaining_requests": "0", "x_ratelimit_reset_requests": "90s"}
        document = json.dumps(spoken.document(DIALECT, "a")).encode()
        pool.a.steps = [whole(document, **spoken.JSON, **told)]
        said = [(await pool.front.chat()).text for _ in range(3)]
        assert pool.why("a") == ()
    assert said == ["a", "b", "b"]


# Where to go when a model has nobody left.

SMART = '[[models]]\nname = "smart"\ntargets = ["up/m"]\nfallbacks = ["plain"]\n'
PLAIN = '[[models]]\nname = "plain"\ntargets = ["other/n"]\n'


async def test_a_fallback_answers_when_all_targets_are_unavailable():
    async with Scripted([spoken.told(DIALECT, "other")]) as other:
        tables = (upstream(other.url, name="other"), SMART, PLAIN)
        async with four(*tables, cooldown=ENDLESS) as pool:
            for one in pool.all:
                one.steps = refusal("429 Slow", retry_after="60")
            await pool.front.chat("smart")
            answered = [await pool.front.chat("smart") for _ in range(2)]
            line = await pool.front.last(3)
    assert [one.text for one in answered] == ["other", "other"]
    assert (line["model"], line["account"], line["upstream_model"]) == ("smart", "other", "n")
    assert line["attempts"] == 1
    assert pool.asked == [1, 1, 1, 1]


async def test_a_fallback_that_the_key_may_not_call_is_skipped():
    tables = (
        '[[keys]]\nname = "narrow"\nkey = "sk-splice-narrow-0123456789"\nmodels = ["smart"]\n',
        SMART,
        PLAIN,
    )
    token = {"authorization": "Bearer sk-splice-narrow-0123456789"}
    async with (
        Scripted([spoken.told(DIALECT, "other")]) as other,
        four(*tables, upstream(other.url, name="other")) as pool,
    ):
        for one in pool.all:
            one.steps = refusal("429 Slow", retry_after="60")
        answered = [
            await pool.front.post(PATHS["chat"], chat_body("smart"), **token) for _ in range(3)
        ]
    assert [one.status for one in answered] == [429] * 3
    assert other.requests == []


# All together.


async def asked(front: Gateway, *, stream: bool = True, **headers: str):
    wire = await front.wire()
    body = encoded(body_of("chat", stream=stream))
    wire.send(request("POST", PATHS["chat"], body, **{"authorization": BEARER, **headers}))
    return wire


async def test_nothing_is_held_after_many_failures_and_clients_that_leave():
    async with four(alike=True, cooldown=BRIEF, first="concurrency = 4") as pool:

        async def one_call(number: int) -> None:
            pool.all[number % 3].steps = FAILURES[QUICK[number % len(QUICK)]]
            wire = await asked(pool.front, stream=bool(number % 2))
            if number % 3 == 0:
                wire.leave()
                return
            answered = await wire.answer()
            assert answered.status in (200, 400, 429, 502, 503)
            wire.leave()

        for start in range(0, 240, 12):
            await asyncio.gather(*(one_call(number) for number in range(start, start + 12)))
        await settled(lambda: nothing_runs(pool.front))
