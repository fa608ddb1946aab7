"""Every model that was ever recorded answering has a price, or stands here with the reason why it has none."""

from __future__ import annotations

import re

import pytest

from proxy.billing.pricelist import BUNDLED, PriceList
from tests.corpus.recordings import Recording, absent, load

pytestmark = pytest.mark.skipif(absent() is not None, reason=absent() or "")

OURS = {
    "azure": "azure-openai",
    "gemini_openai_compat": "gemini-openai",
    "vertex": "gemini",
    "vertex_anthropic": "gemini",
}
"""Our names of recorded providers, where they have another."""

NOBODY_LISTS = ["alibaba", "crusoe", "pydantic_gateway", "snowflake", "vercel_gateway", "xiaomi"]
"""Providers that are in no price list."""
OWN_MACHINE = ["llamacpp", "local", "ollama"]
"""What runs on one's own machine costs what its owner says: ``cost = { input = 0, output = 0 }``."""

UNPRICED = {
    "cerebras": {"llama-3.1-8b", "llama3.3-70b"},  # withdrawn, and a wrong spelling that was still answered
    "gemini": {"unknown"},
    "groq": {"compound-beta", "groq/compound", "groq/compound-mini"},  # the sum of the models that it calls
    "huggingface": {
        # The router chooses who serves and what it costs, unless the name says so behind a colon.
        "Qwen/Qwen2.5-VL-72B-Instruct", "Qwen/Qwen3-4B", "Qwen/Qwen3-Coder-480B-A35B-Instruct",
        "deepseek-ai/DeepSeek-R1", "deepseek-ai/DeepSeek-R1-0528", "deepseek-ai/DeepSeek-V4-Pro-0813",
        "meta-llama/Llama-3.1-8B-Instruct", "meta-llama/Llama-3.3-70B-Instruct",
        "meta-llama/Llama-4-Scout-17B-16E-Instruct", "meta-llama/llama-3.1-8b-instruct",
        "moonshotai/Kimi-K2-Instruct-0905:groq",  # withdrawn
    },
    "openrouter": {"openrouter/auto", "gpt-4", "minimax/minimax-m2:free", "x-ai/grok-4.1-fast"},
    "together": {
        "deepseek-ai/DeepSeek-V4-Pro", "meta-llama/Llama-3.2-3B-Instruct-Turbo", "openai/gpt-oss-20b",
    },
    "xai": {"grok-beta"},  # withdrawn
    "zai": {"glm-4.7-flash", "z-model"},
}  # fmt: skip
"""By provider, the models that its list does not have."""


def model_of(recording: Recording) -> str:
    """Return the upstream id that was called: in the body, in Gemini's path, or else as the answer tells it."""
    asked = (recording.request or {}).get("model")
    if isinstance(asked, str) and asked:
        return asked
    found = re.search(r"/models/([^/:?]+)", recording.url)
    if found:
        return found[1]
    told = re.search(rb'"model(?:Version)?": ?"([^"]+)"', recording.body)
    return told[1].decode() if told else ""


def test_every_model_that_answered_is_priced_or_listed_as_unpriced():
    prices = PriceList(BUNDLED.read_bytes())
    unpriced: dict[str, set[str]] = {}
    answered = priced = 0
    for recording in load():
        if recording.wire is None or recording.status != 200:
            continue
        answered += 1
        provider = OURS.get(recording.provider, recording.provider)
        model = model_of(recording)
        if prices.find(provider, model) is not None:
            priced += 1
        elif provider not in (*NOBODY_LISTS, *OWN_MACHINE):
            unpriced.setdefault(provider, set()).add(model)
    assert unpriced == UNPRICED
    assert priced >= answered * 4 // 5
