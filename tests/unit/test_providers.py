"""The rows of known providers, and how an address is put together."""

import pytest

from proxy.providers import ALIASES, AUTHS, BUILTIN, DIALECTS, RESERVED, Provider, endpoint

CHAT = "/v1/chat/completions"
STREAM = "/v1beta/models/m:streamGenerateContent?alt=sse"
ROUTES = {
    "openai-chat": CHAT,
    "openai-responses": "/v1/responses",
    "anthropic": "/v1/messages",
    "gemini": STREAM,
}


@pytest.mark.parametrize(
    ("base_url", "path", "joined"),
    [
        ("http://h", CHAT, "http://h/v1/chat/completions"),
        ("http://h/", CHAT, "http://h/v1/chat/completions"),
        ("http://h:1/v1", "/v1/messages", "http://h:1/v1/messages"),
        ("http://h:1/v1/", "/v1/messages", "http://h:1/v1/messages"),
        ("http://h:1/v1", STREAM, "http://h:1/v1/models/m:streamGenerateContent?alt=sse"),
        ("http://h/v1beta", CHAT, "http://h/v1beta/chat/completions"),
        ("http://h/v1beta/openai", CHAT, "http://h/v1beta/openai/chat/completions"),
        ("http://h/anthropic", "/v1/messages", "http://h/anthropic/v1/messages"),
        ("http://h/api/paas/v4", CHAT, "http://h/api/paas/v4/chat/completions"),
        ("http://v1.example", CHAT, "http://v1.example/v1/chat/completions"),
        ("http://h/vision", CHAT, "http://h/vision/v1/chat/completions"),
        ("http://h/v1?api-version=p", CHAT, "http://h/v1/chat/completions?api-version=p"),
        ("http://h?a=b", "/v1/x?c=d", "http://h/v1/x?a=b&c=d"),
    ],
)
def test_a_base_url_and_a_route_name_the_version_once(base_url, path, joined):
    assert endpoint(base_url, path) == joined


@pytest.mark.parametrize(
    ("provider", "dialect", "url"),
    [
        ("openai", "openai-chat", "https://api.openai.com/v1/chat/completions"),
        ("openai", "openai-responses", "https://api.openai.com/v1/responses"),
        ("anthropic", "anthropic", "https://api.anthropic.com/v1/messages"),
        ("gemini", "gemini", f"https://generativelanguage.googleapis.com{STREAM}"),
        (
            "gemini-openai",
            "openai-chat",
            "https://generativelanguage.googleapis.com/v1beta/openai/chat/completions",
        ),
        ("groq", "openai-chat", "https://api.groq.com/openai/v1/chat/completions"),
        ("deepseek", "anthropic", "https://api.deepseek.com/anthropic/v1/messages"),
        ("openrouter", "anthropic", "https://openrouter.ai/api/v1/messages"),
        ("perplexity", "openai-chat", "https://api.perplexity.ai/chat/completions"),
        ("moonshot", "anthropic", "https://api.moonshot.ai/anthropic/v1/messages"),
        ("zai", "openai-chat", "https://api.z.ai/api/paas/v4/chat/completions"),
        ("zai", "anthropic", "https://api.z.ai/api/anthropic/v1/messages"),
        ("fireworks", "openai-chat", "https://api.fireworks.ai/inference/v1/chat/completions"),
    ],
)
def test_built_in_addresses(provider, dialect, url):
    assert BUILTIN[provider].url(dialect, ROUTES[dialect]) == url


def test_an_accounts_own_address_is_the_address_of_every_dialect():
    own = "http://127.0.0.1:9/v1"
    assert BUILTIN["zai"].url("anthropic", "/v1/messages", own) == f"{own}/messages"
    assert BUILTIN["zai"].url("openai-chat", CHAT, own) == f"{own}/chat/completions"


@pytest.mark.parametrize("row", BUILTIN.values(), ids=lambda row: row.name)
def test_rows_hold_together(row: Provider):
    assert row.dialects
    assert set(row.dialects) <= set(DIALECTS)
    assert set(row.base_urls) <= set(row.dialects)
    assert row.auth in AUTHS
    assert row.name not in RESERVED | set(ALIASES)
    assert row.base_url.startswith("https://" if not row.keyless else "http://127.0.0.1") or (
        row.name == "azure-openai"
    )


def test_aliases_name_rows_and_families_have_one_owner():
    assert set(ALIASES.values()) <= set(BUILTIN)
    families = [family for row in BUILTIN.values() for family in row.families]
    assert len(families) == len(set(families))


AZURE = "https://me.openai.azure.com/openai/deployments"


@pytest.mark.parametrize(
    ("base", "path", "url"),
    [
        (f"{AZURE}?api-version=1", CHAT, f"{AZURE}/gpt/chat/completions?api-version=1"),
        (f"{AZURE}/?api-version=1", f"{CHAT}?a=b", f"{AZURE}/gpt/chat/completions?api-version=1&a=b"),
        (f"{AZURE}/one?api-version=1", CHAT, f"{AZURE}/one/chat/completions?api-version=1"),
        (AZURE, "/v1/images/edits", f"{AZURE}/gpt/images/edits"),
        (f"{AZURE}/one?api-version=1", "/v1/responses/resp_1", "https://me.openai.azure.com/openai/responses/resp_1?api-version=1"),
        (f"{AZURE}?api-version=1", "/v1/files", "https://me.openai.azure.com/openai/files?api-version=1"),
    ],
)  # fmt: skip
def test_azures_deployments_are_called_by_their_paths(base, path, url):
    assert BUILTIN["azure-openai"].url("openai-chat", path, base, "gpt") == url


def test_a_deployment_is_one_word_of_a_path():
    azure = BUILTIN["azure-openai"]
    assert (
        azure.url("openai-chat", CHAT, AZURE, "a/../b?c")
        == f"{AZURE}/a%2F..%2Fb%3Fc/chat/completions"
    )
    assert (
        azure.url("openai-chat", "/v1/models", AZURE) == "https://me.openai.azure.com/openai/models"
    )
    assert azure.url("openai-chat", "/", AZURE) == "https://me.openai.azure.com/openai/"
