"""What accounts have listed is kept while they are asked at the same place."""

from __future__ import annotations

from pathlib import Path

from proxy.config import loads
from proxy.dialects.offered import Offered
from proxy.routing.offers import Offers

TEXT = """
[providers.vllm-a]
dialects = ["openai-chat"]
base_url = "http://10.0.0.7:8000/v1"
auth = "none"
[[accounts]]
name = "one"
provider = "vllm-a"
models = ["llama*"]
[[accounts]]
name = "two"
provider = "vllm-a"
"""
CONFIG = loads(TEXT, Path("config.toml"), {})
URLS = {"one": "http://1", "two": "http://2"}


def offers() -> Offers:
    found = Offers()
    found.adopt(CONFIG, URLS)
    return found


def test_nobody_has_listed_anything_at_first():
    assert offers().of("vllm-a") is None
    assert offers().of("another") is None
    assert offers().find("vllm-a", "m") is None


def test_the_lists_of_a_providers_accounts_are_one():
    found = offers()
    found.note("one", "http://1", [Offered("llama", 1), Offered("qwen", 1)])
    assert found.of("vllm-a") == {"llama": Offered("llama", 1)}, "it may not be asked for the rest"
    found.note("two", "http://2", [Offered("llama", 2), Offered("phi", 2)])
    assert found.of("vllm-a") == {"llama": Offered("llama", 1), "phi": Offered("phi", 2)}
    assert found.find("vllm-a", "phi") == Offered("phi", 2)
    assert found.find("vllm-a", "gone") is None


def test_an_empty_list_is_one():
    found = offers()
    found.note("two", "http://2", [])
    assert found.of("vllm-a") == {}


def test_the_last_list_counts():
    found = offers()
    found.note("two", "http://2", [Offered("old")])
    found.note("two", "http://2", [Offered("new")])
    assert found.of("vllm-a") == {"new": Offered("new")}


def test_a_reload_keeps_what_was_told_at_the_same_address():
    found = offers()
    found.note("one", "http://1", [Offered("llama")])
    found.note("two", "http://2", [Offered("phi")])
    found.adopt(CONFIG, {"one": "http://1", "two": "http://elsewhere"})
    assert found.of("vllm-a") == {"llama": Offered("llama")}
    found.adopt(CONFIG, {})
    assert found.of("vllm-a") is None
