"""Of a query only what is known goes on."""

from __future__ import annotations

import pytest

from proxy.dialects.query import CALLS, OBJECTS, kept


@pytest.mark.parametrize(
    ("query", "left"),
    [
        ("", ""),
        ("alt=sse", "?alt=sse"),
        ("%24alt=json&fields=candidates&$fields=x", "?%24alt=json"),
        ("alt=proto&alt=media&alt=", ""),
        ("key=x&KEY=x&%24key=x&access_token=x&oauth_token=x&ALT=sse", ""),
    ],
)
def test_of_geminis(query, left):
    assert kept(query, CALLS["gemini"]) == left


def test_of_the_others():
    assert kept("beta=true&x=1", CALLS["anthropic"]) == "?beta=true"
    assert kept("api-version=2024-10-21&x=1", CALLS["openai-chat"]) == "?api-version=2024-10-21"
    assert kept("variant=thumbnail&file_id=file-of-others", OBJECTS) == "?variant=thumbnail"
