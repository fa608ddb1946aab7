"""A request that stays in its dialect keeps its bytes, but for the model's name."""

from __future__ import annotations

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.dialects.native import with_first_member, with_model, with_renamed_key

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text(max_size=8)
    | st.just("asked"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5) | st.just("model"), inner, max_size=3)
    ),
    max_leaves=8,
)
documents = st.dictionaries(st.text(max_size=6), values, max_size=4).map(
    lambda fields: {**fields, "model": "asked"}
)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"model":"asked","x":1.50}', b'{"model":"real","x":1.50}'),
        (
            b'{ "x" : [1e3, "\\u00e9"], "model"\t:  "asked" }',
            b'{ "x" : [1e3, "\\u00e9"], "model"\t:  "real" }',
        ),
        (b'{"model":"as\\u006bed"}', b'{"model":"real"}'),
        (
            b'{"x":"\\"model\\":\\"asked\\"","model":"asked"}',
            b'{"x":"\\"model\\":\\"asked\\"","model":"real"}',
        ),
    ],
)
def test_only_the_name_changes(body, expected):
    assert with_model(body, json.loads(body), "real") == expected


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"asked","metadata":{"model":"asked"}}',
        b'{"metadata":{"model":"asked"},"mod\\u0065l":"asked"}',
        b'{"metadata":{"model":"other"},"mod\\u0065l":"asked"}',
        b'{"metadata":{"model":5},"mod\\u0065l":"asked"}',
        b'{"tools":[{"name":"model","x":{"model":"other"}}],"model":"asked"}',
        b'{"model":"one","model":"asked"}',
    ],
)
def test_where_the_name_may_stand_elsewhere_the_document_is_written_anew(body):
    document = json.loads(body)
    changed = with_model(body, dict(document), "real")
    assert json.loads(changed) == {**document, "model": "real"}


def test_the_same_name_changes_nothing():
    body = b'{ "model" : "asked" }'
    assert with_model(body, json.loads(body), "asked") is body


@given(documents, st.booleans(), st.sampled_from(["real", 'qu"ote', "ü", "a\\b"]))
def test_the_result_asks_for_the_model_and_for_nothing_else_that_is_new(document, escaped, model):
    body = json.dumps(document, ensure_ascii=escaped).encode("utf-8", "surrogatepass")
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        return  # a lone surrogate is no JSON, and never comes this far
    assert orjson.loads(with_model(body, dict(parsed), model)) == {**parsed, "model": model}


def test_a_member_is_put_in_front():
    assert with_first_member(b' {"a":1}', b'"b":2') == b' {"b":2,"a":1}'


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"old":5,"x":1.50}', b'{"new":5,"x":1.50}'),
        (b'{"x":"\\"old\\"","old":5}', b'{"x":"\\"old\\"","new":5}'),
    ],
)
def test_a_key_is_renamed_in_place(body, expected):
    assert with_renamed_key(body, json.loads(body), "old", "new") == expected


@pytest.mark.parametrize(
    "body",
    [
        b'{"old":5,"x":{"old":6}}',
        b'{"x":"old","old":5}',
        b'{"o\\u006cd":5,"x":{"old":6}}',
        b'{"old":5,"x":"\\u00e9"}',
    ],
)
def test_a_key_that_stands_elsewhere_too_is_renamed_where_it_counts(body):
    document = json.loads(body)
    expected = {("new" if name == "old" else name): value for name, value in document.items()}
    assert json.loads(with_renamed_key(body, document, "old", "new")) == expected
