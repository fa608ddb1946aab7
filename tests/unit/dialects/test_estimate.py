from __future__ import annotations

from proxy.dialects.conversation import (
    Audio,
    Call,
    Conversation,
    File,
    Image,
    Redacted,
    Refusal,
    Result,
    Text,
    Thinking,
    Tool,
    Turn,
)
from proxy.dialects.estimate import prompt_tokens


def tokens(*parts) -> int:
    return prompt_tokens(Conversation(turns=[Turn("user", list(parts))])) - 4


def test_a_message_costs_four_beside_its_text():
    assert prompt_tokens(Conversation()) == 0
    assert prompt_tokens(Conversation(turns=[Turn("user", [Text("abcd")])])) == 5
    assert prompt_tokens(Conversation(system=[Text("abcd"), Text("e")])) == 6


def test_parts():
    assert tokens(Text("abcd"), Refusal("abcd"), Thinking("abcd", "S" * 99)) == 3
    assert tokens(Call("id", "name", "{}{}")) == 2
    assert tokens(Result("id", [Text("abcd"), Image(url="u")])) == 1001
    assert tokens(Image(url="u", detail="low")) == 85
    assert tokens(Image(url="u")) == tokens(File(url="u")) == tokens(Audio("", "wav")) == 1000
    assert tokens(Redacted("R" * 99)) == 0


def test_tools_count_with_their_schemas():
    assert prompt_tokens(Conversation(tools=[Tool("name", "text", {"a": 1})])) == 4
    assert prompt_tokens(Conversation(tools=[Tool("name")])) == 1
