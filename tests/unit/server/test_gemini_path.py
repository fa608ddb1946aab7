"""A Gemini client's path says what is called."""

from __future__ import annotations

import pytest

from proxy.server.gemini_path import Called, called, is_geminis, method_of, name_in, template


@pytest.mark.parametrize("version", ["v1", "v1beta"])
@pytest.mark.parametrize("name", ["m", "up/m", "ollama/llama3:8b", "a%20b"])
def test_the_name_may_hold_slashes_and_colons(version, name):
    path = f"/{version}/models/{name}:generateContent"
    assert method_of(path) == "generateContent"
    assert called(path, "") == Called(name.replace("%20", " "), stream=False, array=False)
    assert template(path) == f"/{version}/models/{{id}}:generateContent"


@pytest.mark.parametrize(
    ("query", "array"),
    [
        ("", True),
        ("alt=sse", False),
        ("key=k&alt=sse", False),
        ("$alt=sse", False),
        ("alt=json", True),
        ("$alt=json;enum-encoding=int", True),
        ("malt=sse", True),
    ],
)
def test_without_alt_sse_a_stream_is_an_array(query, array):
    path = "/v1beta/models/m:streamGenerateContent"
    assert called(path, query) == Called("m", stream=True, array=array)


@pytest.mark.parametrize(
    "path",
    [
        "/v1/models/m",
        "/v1/models/llama3:8b",
        "/v1/models/m:generatecontent",
        "/v1/models/:generateContent",
        "/v2/models/m:generateContent",
        "/v1/chat/completions",
        "/v1/models",
    ],
)
def test_any_other_path_is_no_such_call(path):
    assert method_of(path) is None
    assert template(path) is None
    assert not is_geminis(path)


def test_all_of_v1beta_is_googles():
    assert is_geminis("/v1beta/models")
    assert is_geminis("/v1beta/nowhere")


def test_a_model_is_named_under_either_version():
    assert name_in("/v1/models/a/b:c") == name_in("/v1beta/models/a%2Fb:c") == "a/b:c"
