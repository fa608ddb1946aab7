from __future__ import annotations

import pytest

from proxy.dialects import capabilities
from proxy.dialects.capabilities import (
    BUDGETS,
    GEMINI_BUDGETS,
    claude,
    effort_of_budget,
    gemini,
    openai,
    route_to_responses,
    snap,
    wanted_effort,
)
from proxy.dialects.conversation import EFFORTS, Reasoning


@pytest.mark.parametrize(
    ("model", "sampling", "forced_tool", "prefill", "off", "default_output"),
    [
        ("claude-opus-5-5-20261001", False, False, False, "low", 128_000),
        ("claude-sonnet-5-5", False, False, False, "between_tools", 128_000),
        ("claude-haiku-5-5", False, True, False, "disabled", 128_000),
        ("anthropic/claude-opus-4-8", False, True, False, "omit", 128_000),
        ("claude-sonnet-4-6", True, True, False, "omit", 128_000),
        ("claude-sonnet-4-5", True, True, True, "omit", 64_000),
        ("claude-sonnet-4-20250514", True, True, True, "omit", 4096),
        ("claude-3-haiku-20240307", True, True, True, "omit", 4096),
        ("claude-released-tomorrow", False, False, False, "low", 128_000),
    ],
)
def test_claude_rows(model, sampling, forced_tool, prefill, off, default_output):
    row = claude(model)
    assert (row.sampling, row.forced_tool, row.prefill, row.off) == (
        sampling,
        forced_tool,
        prefill,
        off,
    )
    assert row.default_output == default_output <= row.max_output


def test_a_model_that_decides_itself_how_long_it_thinks_is_adaptive():
    assert claude("claude-opus-5-5").adaptive
    assert not claude("claude-haiku-4-5").adaptive
    assert claude("claude-opus-5-5").efforts == ("low", "medium", "high", "xhigh", "max")
    assert claude("claude-opus-4-5").efforts == ("low", "medium", "high")


@pytest.mark.parametrize(
    ("model", "thinking", "generation"),
    [
        ("gemini-3-flash", "level", 3),
        ("google/gemini-3-pro-preview", "level", 3),
        ("models/gemini-2.5-pro", "budget", 2),
        ("gemini-2.0-flash", "none", 2),
        ("gemma-3-27b-it", "none", 2),
        ("gemini-released-tomorrow", "level", 3),
    ],
)
def test_gemini_rows(model, thinking, generation):
    assert (gemini(model).thinking, gemini(model).generation) == (thinking, generation)


def test_gemini_details():
    assert gemini("gemini-3-pro-preview").levels == ("low", "high")
    assert gemini("gemini-2.5-pro").min_budget == 128
    assert gemini("gemini-2.5-flash-lite").lowest_budget == 512
    assert not gemini("gemma-3-27b-it").system
    assert not gemini("gemini-3.6-flash").sampling


@pytest.mark.parametrize(
    ("model", "effort", "function_tools", "routed"),
    [
        ("gpt-5.6-terra", None, True, True),
        ("gpt-5.6-terra", "none", True, False),
        ("gpt-5.6-terra", None, False, False),
        ("gpt-5.4", None, True, False),
        ("gpt-5.4", "low", True, True),
        ("gpt-5.2", "high", True, False),
        ("gpt-5-pro", None, False, True),
        ("gpt-6-codex", "none", False, True),
        ("gpt-4.1", None, True, False),
        ("chatgpt-4o-latest", None, True, False),
    ],
)
def test_the_route_that_openai_wants(model, effort, function_tools, routed):
    assert route_to_responses(model, effort, function_tools=function_tools) is routed


def test_openai_efforts():
    assert openai("gpt-4.1").efforts == ()
    assert openai("openai/gpt-5.1-2025-11-13").efforts == ("none", "low", "medium", "high")
    assert openai("o4-mini").default == "medium"


@pytest.mark.parametrize(
    ("effort", "accepted", "snapped"),
    [
        ("minimal", ("low", "high"), "low"),
        ("medium", ("low", "high"), "high"),
        ("max", ("low", "high"), "high"),
        ("none", ("high", "low"), "low"),
        ("high", EFFORTS, "high"),
    ],
)
def test_an_effort_snaps_to_the_next_accepted_else_to_the_highest(effort, accepted, snapped):
    assert snap(effort, accepted) == snapped


@pytest.mark.parametrize(
    ("budget", "effort"),
    [
        (1, "minimal"),
        (1024, "minimal"),
        (1025, "low"),
        (10_000, "medium"),
        (16_384, "high"),
        (16_385, "xhigh"),
    ],
)
def test_a_budget_stands_for_an_effort(budget, effort):
    assert effort_of_budget(budget) == effort


def test_efforts_and_their_budgets_agree():
    assert all(
        effort_of_budget(BUDGETS[effort]) == effort
        for effort in ("minimal", "low", "medium", "high", "xhigh")
    )
    assert list(GEMINI_BUDGETS) == list(EFFORTS)
    assert sorted(GEMINI_BUDGETS.values()) == list(GEMINI_BUDGETS.values())


@pytest.mark.parametrize(
    ("reasoning", "effort"),
    [
        (Reasoning(), None),
        (Reasoning("high", budget=1), "high"),
        (Reasoning(budget=2048), "low"),
        (Reasoning("high", off=True), "none"),
    ],
)
def test_the_effort_that_a_request_asks_for(reasoning, effort):
    assert wanted_effort(reasoning) == effort


def test_every_row_of_the_table_can_be_read_and_is_reached():
    for row in capabilities._TABLE["claude"]:
        assert claude(f"claude-{row['prefix']}").thinking == tuple(row["thinking"])
    assert all(row["default"] in EFFORTS for row in capabilities._TABLE["openai"])
    assert set(capabilities._TABLE) == {"claude", "gemini", "openai"}


def test_how_much_a_model_says_at_most_is_known_of_claude_alone():
    assert capabilities.most_output("claude-3-5-haiku-latest") == 8192
    assert capabilities.most_output("anthropic/claude-opus-4-5") == 64_000
    assert capabilities.most_output("gpt-6-sol") is None
