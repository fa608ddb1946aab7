"""Hundreds of calls at once on money for a few: what is spent is what there was, and nobody is refused what is there.

``SPLICE_OVERSPEND_SEEDS`` is how often, each time with other prompts and answers.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
from typing import Any

import pytest

from tests.integration import spoken
from tests.integration.gateway import PATHS, body_of
from tests.integration.scripted import settled, whole
from tests.integration.test_credit import AUTH, PROMPT, Paying, paying
from tests.integration.wire import encoded, request

CALLS = 500
SEEDS = range(int(os.environ.get("SPLICE_OVERSPEND_SEEDS", "3")))
FOR_TEN = 10 * (PROMPT + 10 * 100)
OWN = "concurrency = 1000"
PREPAID = f"{OWN}\nprepaid = true\ncredit_usd = {FOR_TEN / 1e6}"
BUDGET = f'{OWN}\nbudget_usd = {FOR_TEN / 1e6}\nbudget_period = "total"'
ESTIMATED = 5
"""Tokens that the prompt is taken for."""


class Upstream:
    """Answers at some time with as many tokens as it was allowed, or fewer, of a prompt of so many tokens."""

    def __init__(self, rng: random.Random, prompt: int) -> None:
        self.prompt = prompt
        self.answered = 0
        self.truth = 0
        """What it has told was used, in micro-USD."""
        self._rng = rng

    async def __call__(self, reader, writer, request):
        await asyncio.sleep(self._rng.random() * 0.05)
        asked = json.loads(request.body)
        said = self._rng.randint(1, asked.get("max_tokens", 100))
        usage = {"prompt_tokens": self.prompt, "completion_tokens": said, "total_tokens": 0}
        self.answered += 1
        self.truth += 2 * self.prompt + 10 * said
        if asked.get("stream"):
            chunk = spoken.data({"id": "c", "choices": [], "usage": usage})
            end = spoken.chat_chunk({}, "stop") + chunk + b"data: [DONE]\n\n"
            writer.write(spoken.HEAD + spoken.chunk(spoken.text("openai-chat", "x") + end) + spoken.LAST)  # fmt: skip
        else:
            document = {**spoken.document("openai-chat"), "usage": usage}
            writer.write(whole(json.dumps(document).encode(), **spoken.JSON))


async def storm(key: Paying, rng: random.Random) -> list[int]:
    """Send all calls at once; return their statuses."""
    wires = []
    for _ in range(CALLS):
        wire = await key.front.wire()
        fields: dict[str, Any] = (
            {} if rng.random() < 0.1 else {"max_tokens": rng.choice((20, 50, 100, 200))}
        )
        body = encoded(body_of("chat", "smart", stream=rng.random() < 0.5, **fields))
        wires.append((wire, request("POST", PATHS["chat"], body, authorization=AUTH)))
    for wire, sent in wires:
        wire.send(sent)
    answered = await asyncio.gather(*(wire.answer() for wire, _ in wires))
    await settled(lambda: not key.front.running.gateway.calls)
    return [one.status for one in answered]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("own", "refused"), [(PREPAID, 402), (BUDGET, 429)])
async def test_calls_at_once_never_spend_more_than_there_is(own, refused, seed):
    rng = random.Random(seed)
    async with paying(own) as key:
        key.up._script = up = Upstream(rng, ESTIMATED)
        statuses = await storm(key, rng)
        inside = key.front.running.gateway
        wallet, wall = key.wallet, inside.clock()
        left = wallet.credit_left(wall) if refused == 402 else wallet.budget_left(wall)
        assert left is not None
        assert set(statuses) == {200, refused}
        assert statuses.count(200) == up.answered
        assert left == FOR_TEN - up.truth >= 0
        # Who asks for what is there gets it, who asks for more does not.
        tokens = (left - PROMPT) // 10
        assert (await key.ask(max_tokens=tokens + 1)).status == refused
        if tokens > 0:
            assert (await key.ask(max_tokens=tokens)).status == 200


@pytest.mark.parametrize("seed", SEEDS)
async def test_what_is_overspent_is_what_the_prompts_were_underestimated_by(seed):
    rng = random.Random(seed)
    error = 10
    async with paying(PREPAID) as key:
        key.up._script = up = Upstream(rng, ESTIMATED + error)
        await storm(key, rng)
        left = key.wallet.credit
        assert left == FOR_TEN - up.truth
        # Each call was let in on money that nobody else held: only those that ran together can be short together.
        assert left >= -2 * error * up.answered
        if left <= 0:
            assert (await key.ask(max_tokens=1)).status == 402
