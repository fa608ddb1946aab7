"""The list of models has the shape of whoever asks."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict

from proxy.server.listing import render, render_one, shape_of

MOMENT = 1_767_225_600


def unknown(name):
    return None


def test_anthropics_clients_are_known_by_their_version():
    assert shape("/v1/models", **{"Anthropic-Version": "2023-06-01"}) == "anthropic"
    assert shape("/v1/models", **{"x-api-key": "k"}) == "openai"


def shape(path, **headers):
    return shape_of(path, CIMultiDict(headers))


@pytest.mark.parametrize("header", ["X-Goog-Api-Key", "x-goog-api-client"])
def test_googles_clients_are_known_by_their_headers_or_their_path(header):
    assert shape("/v1/models", **{header: "x"}) == "gemini"
    assert shape("/v1/models", **{header: "x", "anthropic-version": "1"}) == "gemini"
    assert shape("/v1beta/models") == shape("/v1beta/models/m") == "gemini"


def test_googles_shape():
    generating = ["generateContent", "streamGenerateContent", "countTokens"]
    assert render(["a", "p/b"], "gemini", MOMENT, unknown) == {
        "models": [
            {"name": "models/a", "displayName": "a", "supportedGenerationMethods": generating},
            {"name": "models/p/b", "displayName": "p/b", "supportedGenerationMethods": generating},
        ]
    }
    assert render([], "gemini", MOMENT, unknown) == {"models": []}
    embedding = render_one("text-embedding-3-small", "gemini", MOMENT, unknown)
    assert embedding["supportedGenerationMethods"] == ["embedContent", "batchEmbedContents"]


def test_openais_shape():
    assert render(["a", "p/b"], "openai", MOMENT, unknown) == {
        "object": "list",
        "data": [
            {"id": "a", "object": "model", "created": MOMENT, "owned_by": "splice"},
            {"id": "p/b", "object": "model", "created": MOMENT, "owned_by": "p"},
        ],
    }


def test_anthropics_shape():
    rendered = render(["a", "b"], "anthropic", MOMENT, unknown)
    assert (rendered["first_id"], rendered["last_id"], rendered["has_more"]) == ("a", "b", False)
    one = render_one("a", "anthropic", MOMENT, unknown)
    assert rendered["data"][0] == one
    assert (one["type"], one["display_name"], one["created_at"]) == (
        "model",
        "a",
        "2026-01-01T00:00:00Z",
    )


def test_an_empty_list_has_no_ends():
    assert render([], "anthropic", MOMENT, unknown) == {
        "data": [],
        "has_more": False,
        "first_id": None,
        "last_id": None,
    }
    assert render([], "openai", MOMENT, unknown) == {"object": "list", "data": []}


def test_openais_shape_tells_what_the_caller_pays_where_that_is_known():
    told = {"prompt": "0.000003", "completion": "0.000015"}
    listed = render(["a", "b"], "openai", MOMENT, {"a": told}.get)["data"]
    assert listed[0]["pricing"] == told
    assert "pricing" not in listed[1]
    assert "pricing" not in render_one("a", "anthropic", MOMENT, {"a": told}.get)
