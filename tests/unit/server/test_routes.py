"""Which endpoint answers a path, and what is said where there is none."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import GatewayError, Kind
from proxy.server import endpoints, front, models, native
from proxy.server.routes import TABLE, find, template


def asked(path: str, method: str = "GET", **headers: str) -> Any:
    """As much of an exchange as is looked at."""
    request = SimpleNamespace(method=method, headers=headers)
    record, delivery = SimpleNamespace(route=path), SimpleNamespace(bodiless=False)
    return SimpleNamespace(path=path, request=request, record=record, delivery=delivery)


def refused(path: str, method: str = "GET") -> GatewayError:
    with pytest.raises(GatewayError) as raised:
        find(asked(path, method))
    return raised.value


@pytest.mark.parametrize(
    ("path", "method", "endpoint"),
    [
        ("/v1/chat/completions", "POST", endpoints.chat_completions),
        ("/v1/messages", "POST", endpoints.messages),
        ("/v1/messages/count_tokens", "POST", endpoints.count_tokens),
        ("/v1/models", "GET", models.every),
        ("/v1/models/a/b", "GET", models.one),
        ("/v1beta/models", "GET", models.every),
        ("/v1beta/models/a/b", "GET", models.one),
        ("/v1/models/a/b:c:generateContent", "POST", endpoints.generate_content),
        ("/v1beta/models/a:streamGenerateContent", "POST", endpoints.generate_content),
        ("/v1beta/models/a:countTokens", "POST", endpoints.count_gemini_tokens),
        ("/v1/models/a:embedContent", "POST", endpoints.embed_content),
        ("/v1/models/a:batchEmbedContents", "POST", endpoints.embed_content),
        ("/v1/embeddings", "POST", endpoints.embeddings),
        ("/", "GET", front.front_page),
        ("/llms.txt", "GET", front.document),
        ("/docs/chat.md", "HEAD", front.document),
        ("/readyz", "HEAD", endpoints.readyz),
    ],
)
def test_a_path_and_a_method_have_an_endpoint(path, method, endpoint):
    assert find(asked(path, method)) is endpoint


def test_head_is_get_without_the_body():
    exchange = asked("/healthz", "HEAD")
    find(exchange)
    assert exchange.delivery.bodiless
    exchange = asked("/healthz", "GET")
    find(exchange)
    assert not exchange.delivery.bodiless


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/v1/responses", Kind.UPGRADE),
        ("/v1/chat/completions", Kind.UPGRADE),
        ("/v1/realtime", Kind.UNKNOWN_OBJECT),
    ],
)
def test_a_websocket_is_told_to_post(path, kind):
    with pytest.raises(GatewayError) as raised:
        find(asked(path, upgrade="WebSocket"))
    assert raised.value.kind is kind


def test_an_upgrade_of_what_can_be_got_is_ignored():
    assert find(asked("/healthz", upgrade="websocket")) is endpoints.healthz


def test_a_wrong_method_names_the_right_ones():
    error = refused("/v1/messages", "GET")
    assert (error.kind, error.allow) == (Kind.METHOD, "POST, OPTIONS")
    assert refused("/v1/models", "POST").allow == "GET, HEAD, OPTIONS"
    assert len(refused("/v1/models", "X" * 5000).message) < 200
    assert refused("/v1beta/models/a:generateContent", "GET").allow == "POST, OPTIONS"


@pytest.mark.parametrize("path", ["/v1/models/a", "/v1beta/models/a:predict"])
def test_what_cannot_be_done_with_a_model_is_told_with_what_can(path):
    error = refused(path, "POST")
    assert error.kind is Kind.UNKNOWN_OBJECT
    assert ":streamGenerateContent" in error.message


@pytest.mark.parametrize("path", TABLE)
def test_every_path_takes_options(path):
    assert callable(find(asked(path, "OPTIONS")))


@pytest.mark.parametrize(
    ("path", "right"),
    [
        ("/v1/v1/messages", "/v1/messages"),
        ("/v1/v1/v1/messages", "/v1/messages"),
        ("/chat/completions", "/v1/chat/completions"),
        ("/models", "/v1/models"),
        ("/v1/chat/completions/", "/v1/chat/completions"),
        ("//v1//models", None),
        ("/proxy/v1/messages", "/v1/messages"),
        ("/v1/v1/models/a", "/v1/models/a"),
        ("/v1/v1/models/a:generateContent", "/v1/models/a:generateContent"),
        ("/v1/v1beta/models/a:generateContent", "/v1beta/models/a:generateContent"),
        ("/v1/v1beta/models", "/v1beta/models"),
        ("/models/a:generateContent", "/v1/models/a:generateContent"),
    ],
)
def test_a_path_beside_the_right_one_is_told_so(path, right):
    error = refused(path)
    assert error.kind is Kind.UNKNOWN_OBJECT
    if right is not None:
        assert f"The path is {right}" in error.message


def test_a_providers_own_paths_begin_with_what_it_is_called():
    called = {"openai": "openai", "google": "gemini"}
    assert find(asked("/google/v1beta/x"), called) is native.serve
    assert find(asked("/openai/v1/x", "PUT"), called) is native.serve
    assert callable(find(asked("/openai/v1/x", "OPTIONS"), called))
    for path in ("/openai", "/gemini/v1/x", "/v1/openai/x"):
        with pytest.raises(GatewayError):
            find(asked(path), called)


def test_the_404_of_a_path_like_none_lists_them():
    message = refused("/nowhere").message
    assert "/v1/chat/completions" in message
    assert "/v1/messages" in message


@given(st.text(max_size=60))
def test_no_path_breaks_the_search(rest):
    path = f"/{rest}"
    try:
        find(asked(path))
    except GatewayError as error:
        assert error.status in (404, 405)  # noqa: PT017 - both are right


@pytest.mark.parametrize(
    ("path", "route"),
    [
        *((path, path) for path in TABLE),
        ("/v1/models/a/b", "/v1/models/{id}"),
        ("/v1/models/", "/v1/models/{id}"),
        ("/v1beta/models/a", "/v1beta/models/{id}"),
        ("/v1/models/a:b:generateContent", "/v1/models/{id}:generateContent"),
        ("/v1beta/models/a:countTokens", "/v1beta/models/{id}:countTokens"),
        ("/v1beta/models/a:invented", "/v1beta/models/{id}"),
        ("/v1beta/nowhere", "other"),
        ("/v1/chat/completions/", "other"),
        ("/wp-login.php", "other"),
        ("", "other"),
    ],
)
def test_metrics_tell_a_path_by_its_route(path, route):
    assert template(path) == route
