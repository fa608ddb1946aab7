"""What is checked on every call."""

import pytest

from proxy.dialects import border
from proxy.errors import GatewayError

MESSAGES = [{"role": "user", "content": "Hi"}]
CONTENTS = [{"role": "user", "parts": [{"text": "Hi"}]}]


@pytest.mark.parametrize(
    ("dialect", "document"),
    [
        ("chat", {"messages": MESSAGES}),
        ("chat", {"messages": MESSAGES, "n": 8, "max_tokens": 1, "max_completion_tokens": None}),
        ("messages", {"messages": MESSAGES, "max_tokens": 0}),
        ("messages", {"messages": MESSAGES, "n": "not this dialect's"}),
        ("responses", {}),
        ("responses", {"max_output_tokens": 16}),
        ("gemini", {"contents": CONTENTS}),
        ("gemini", {"contents": CONTENTS[0]}),
        ("gemini", {"contents": CONTENTS, "generationConfig": {"maxOutputTokens": 40.0}}),
        ("gemini", {"contents": CONTENTS, "generation_config": {"candidate_count": 8}}),
    ],
)
def test_what_is_right_passes(dialect, document):
    border.check(dialect, document)


@pytest.mark.parametrize(
    ("dialect", "document", "param", "found"),
    [
        ("chat", {}, "messages", "missing"),
        ("chat", {"messages": "Hi"}, "messages", "a string"),
        ("chat", {"messages": {}}, "messages", "an object"),
        ("messages", {"messages": []}, "messages", "empty"),
        ("chat", {"messages": MESSAGES, "n": True}, "n", "true"),
        ("chat", {"messages": MESSAGES, "n": [1]}, "n", "a list"),
        ("chat", {"messages": MESSAGES, "n": 9}, "n", "9"),
        ("chat", {"messages": MESSAGES, "max_tokens": -1}, "max_tokens", "-1"),
        ("responses", {"max_output_tokens": 0.5}, "max_output_tokens", "0.5"),
        ("gemini", {}, "contents", "missing"),
        ("gemini", {"contents": "Hi"}, "contents", "a string"),
        ("gemini", {"contents": []}, "contents", "empty"),
        (
            "gemini",
            {"contents": CONTENTS, "generationConfig": {"candidateCount": 9}},
            "generationConfig.candidateCount",
            "9",
        ),
        (
            "gemini",
            {"contents": CONTENTS, "generation_config": {"max_output_tokens": True}},
            "generationConfig.maxOutputTokens",
            "true",
        ),
    ],
)
def test_what_is_wrong_is_named_with_what_was_found(dialect, document, param, found):
    with pytest.raises(GatewayError) as refused:
        border.check(dialect, document)
    assert refused.value.status == 400
    assert refused.value.param == param
    assert found in refused.value.message
