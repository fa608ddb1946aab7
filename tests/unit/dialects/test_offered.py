"""A provider's list of models is read in each shape that there is."""

from __future__ import annotations

import pytest

from proxy.dialects.offered import MOST, Offered, read_offered

ENTRIES = {
    "openai": ({"id": "gpt-6-sol", "object": "model", "owned_by": "openai"}, Offered("gpt-6-sol")),
    "vllm": (
        {"id": "Qwen/Qwen3-8B", "object": "model", "root": "Qwen/Qwen3-8B", "max_model_len": 40960},
        Offered("Qwen/Qwen3-8B", 40960),
    ),
    "ollama": ({"id": "llama3.2:3b", "object": "model"}, Offered("llama3.2:3b")),
    "llama.cpp": (
        {"id": "m.gguf", "meta": {"n_ctx_train": 131072, "n_params": 8}},
        Offered("m.gguf", 131072),
    ),
    "llama.cpp as it runs": (
        {"id": "m.gguf", "meta": {"n_ctx": 8192, "n_ctx_train": 131072}},
        Offered("m.gguf", 8192),
    ),
    "groq": (
        {"id": "g", "context_window": 131072, "max_completion_tokens": 32768},
        Offered("g", 131072, 32768),
    ),
    "openrouter": (
        {"id": "a/b", "context_length": 9, "top_provider": {"max_completion_tokens": 8}},
        Offered("a/b", 9, 8),
    ),
    "openrouter, without a limit": (
        {"id": "a/b", "context_length": 9, "top_provider": {"max_completion_tokens": None}},
        Offered("a/b", 9),
    ),
    "mistral": ({"id": "m", "max_context_length": 32768}, Offered("m", 32768)),
    "anthropic": (
        {"type": "model", "id": "claude-opus-5-5", "max_input_tokens": 1000000, "max_tokens": 128000},
        Offered("claude-opus-5-5", 1000000, 128000),
    ),
    "somebody whose max_tokens is both": ({"id": "m", "max_tokens": 5}, Offered("m")),
    "nonsense for limits": (
        {"id": "m", "context_length": "many", "max_model_len": True, "context_window": -1,
         "max_completion_tokens": 1 << 60, "meta": [], "top_provider": 3},
        Offered("m"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ENTRIES)
def test_a_model_is_read_as_its_provider_tells_it(name):
    entry, offered = ENTRIES[name]
    assert read_offered({"object": "list", "data": [entry]}) == (offered,)
    # Together has the bare array.
    assert read_offered([entry]) == (offered,)


def test_geminis_list():
    models = [{"name": "models/gemini-4-argon", "inputTokenLimit": 7, "outputTokenLimit": 5}]
    assert read_offered({"models": models}) == (Offered("gemini-4-argon", 7, 5),)


@pytest.mark.parametrize("document", [{}, {"data": {}}, {"data": None}, "[]", 7, None])
def test_what_is_no_list_is_none(document):
    assert read_offered(document) is None


def test_names_that_nobody_could_ask_for_are_left_out():
    names = ["", "a b", "a\r\nx-evil: 1", "ü", "x" * 257, 7, None, ["a"], "good"]
    assert read_offered({"data": [*({"id": name} for name in names), "good", {}]}) == (
        Offered("good"),
    )


def test_a_name_counts_once_and_a_list_has_an_end():
    entries = [{"id": "m", "context_length": 1}, {"id": "m", "context_length": 2}]
    assert read_offered(entries) == (Offered("m", 1),)
    assert len(read_offered([{"id": f"m{n}"} for n in range(MOST + 1)]) or ()) == MOST
