"""The list of models has the shape of whoever asks."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict

from proxy.errors import GatewayError
from proxy.server.listing import Entry, Page, cut, page_of, render, render_one, shape_of

MOMENT = 1_767_225_600
FULL = Entry(
    name="p/b",
    pricing={"prompt": "0.000003", "completion": "0.000015"},
    context=200_000,
    max_output=64_000,
    dialects=("openai-chat", "anthropic"),
)


def entries(*names):
    return [Entry(name=name) for name in names]


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
    assert render([Entry(name="a"), FULL], "gemini", MOMENT, more=False) == {
        "models": [
            {"name": "models/a", "displayName": "a", "supportedGenerationMethods": generating},
            {
                "name": "models/p/b",
                "displayName": "p/b",
                "inputTokenLimit": 200_000,
                "outputTokenLimit": 64_000,
                "supportedGenerationMethods": generating,
            },
        ]
    }
    assert render([], "gemini", MOMENT, more=False) == {"models": []}
    embedding = render_one(Entry(name="text-embedding-3-small"), "gemini", MOMENT)
    assert embedding["supportedGenerationMethods"] == ["embedContent", "batchEmbedContents"]


def test_openais_shape_tells_what_is_known_and_nothing_else():
    assert render([Entry(name="a"), FULL], "openai", MOMENT, more=False) == {
        "object": "list",
        "data": [
            {"id": "a", "object": "model", "created": MOMENT, "owned_by": "splice", "dialects": []},
            {
                "id": "p/b",
                "object": "model",
                "created": MOMENT,
                "owned_by": "p",
                "context_length": 200_000,
                "max_output_tokens": 64_000,
                "dialects": ["openai-chat", "anthropic"],
                "pricing": {"prompt": "0.000003", "completion": "0.000015"},
            },
        ],
    }


def test_anthropics_shape():
    rendered = render(entries("a", "b"), "anthropic", MOMENT, more=False)
    assert (rendered["first_id"], rendered["last_id"], rendered["has_more"]) == ("a", "b", False)
    assert rendered["data"][0] == {
        "type": "model",
        "id": "a",
        "display_name": "a",
        "created_at": "2026-01-01T00:00:00Z",
        "lifecycle": "active",
    }
    one = render_one(FULL, "anthropic", MOMENT)
    assert (one["max_input_tokens"], one["max_tokens"]) == (200_000, 64_000)
    assert "pricing" not in one


def test_an_empty_list_has_no_ends():
    assert render([], "anthropic", MOMENT, more=False) == {
        "data": [],
        "has_more": False,
        "first_id": None,
        "last_id": None,
    }
    assert render([], "openai", MOMENT, more=False) == {"object": "list", "data": []}


def test_a_page_says_where_the_next_one_begins():
    assert render(entries("a", "b"), "gemini", MOMENT, more=True)["nextPageToken"] == "b"
    rendered = render(entries("a", "b"), "anthropic", MOMENT, more=True)
    assert (rendered["has_more"], rendered["last_id"]) == (True, "b")


@pytest.mark.parametrize(
    ("shape", "query", "page"),
    [
        ("openai", "limit=1&after_id=a", Page()),
        ("anthropic", "", Page()),
        ("anthropic", "limit=2&after_id=p%2Fb", Page(2, "p/b")),
        ("anthropic", "limit=1000&before_id=c&key=sk-x", Page(1000, None, "c")),
        ("anthropic", "after_id=a&before_id=c", Page(None, "a")),
        ("gemini", "pageSize=2&pageToken=b", Page(2, "b")),
        ("gemini", "pageSize=0", Page()),
        ("gemini", "pageSize=4000", Page(1000)),
    ],
)
def test_each_dialect_has_its_own_words_for_a_page(shape, query, page):
    assert page_of(shape, query) == page


@pytest.mark.parametrize(
    ("shape", "query", "name"),
    [
        ("anthropic", "limit=1001", "limit"),
        ("anthropic", "limit=-1", "limit"),
        ("anthropic", "limit=%C2%B2", "limit"),
        ("anthropic", "limit=ten", "limit"),
        ("gemini", "pageSize=99999999999", "pageSize"),
    ],
)
def test_a_page_of_no_size_is_refused(shape, query, name):
    with pytest.raises(GatewayError) as raised:
        page_of(shape, query)
    assert (raised.value.status, raised.value.param) == (400, name)


@pytest.mark.parametrize(
    ("page", "names", "more"),
    [
        (Page(), "abcd", False),
        (Page(2), "ab", True),
        (Page(2, "b"), "cd", False),
        (Page(1, "b"), "c", True),
        (Page(4), "abcd", False),
        (Page(None, "b"), "cd", False),
        (Page(None, None, "c"), "ab", False),
        (Page(1, None, "c"), "b", True),
        (Page(2, None, "c"), "ab", False),
        (Page(2, "gone"), "", False),
        (Page(2, None, "gone"), "", False),
    ],
)
def test_a_list_is_read_page_by_page_both_ways(page, names, more):
    assert cut("abcd", page) == (names, more)
