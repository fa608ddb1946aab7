from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.dialects.chat.read import read_request as read_chat
from proxy.dialects.conversation import (
    Call,
    Conversation,
    Image,
    Part,
    Redacted,
    Result,
    Role,
    Text,
    Tool,
    ToolChoice,
    Turn,
    WebSearch,
)
from proxy.dialects.repair import NO_RESULT, anchored, merged, repair
from proxy.dialects.responses.read import read_request as read_responses
from proxy.errors import GatewayError

PICTURE = Image(url="https://e.com/a.png")


def turn(role: Role, *parts: Part | str) -> Turn:
    return Turn(role, [Text(part) if isinstance(part, str) else part for part in parts])


def call(call_id: str) -> Call:
    return Call(call_id, "f", "{}")


def result(call_id: str, *said: str) -> Result:
    return Result(call_id, [Text(text) for text in said])


def missing(call_id: str) -> Result:
    return Result(call_id, [Text(NO_RESULT)], is_error=True)


def repaired(*turns: Turn) -> list[tuple[Role, Sequence[Part]]]:
    conversation = Conversation(turns=list(turns))
    repair(conversation)
    return [(turn.role, turn.parts) for turn in conversation.turns]


def test_neighbours_of_one_role_become_one_turn():
    assert repaired(
        turn("user", "a"), turn("user", "b"), turn("assistant", "c"), turn("assistant", "d")
    ) == [
        ("user", [Text("a"), Text("b")]),
        ("assistant", [Text("c"), Text("d")]),
    ]


def test_the_last_of_only_system_messages_is_what_the_user_says():
    conversation = Conversation(system=[Text("A"), Text("B")])  # one instruction in two parts
    repair(conversation)
    assert conversation.system == []
    assert conversation.turns == [turn("user", "A", "B")]
    assert repaired(turn("system", "A"), turn("system", "B"), turn("system", "")) == [
        ("system", [Text("A")]),
        ("user", [Text("B")]),
    ]


def test_of_several_system_messages_the_last_whole_one_is_what_the_user_says():
    parts = [{"type": "text", "text": "B"}, {"type": "text", "text": "C"}]
    chat = read_chat(
        {
            "messages": [
                {"role": "system", "content": "A"},
                {"role": "developer", "content": parts},
                {"role": "system", "content": ""},
            ]
        }
    )
    items = [{"type": "input_text", "text": text} for text in "BC"]
    responses = read_responses(
        {"instructions": "A", "input": [{"role": "developer", "content": items}]}
    )
    for conversation in (chat, responses):
        repair(conversation)
        assert conversation.system == [Text("A")]
        assert conversation.turns == [turn("user", "B", "C")]


@pytest.mark.parametrize("turns", [[], [turn("system", "")], [turn("user", "")], [turn("user")]])
def test_a_conversation_without_a_word_is_refused(turns):
    with pytest.raises(GatewayError) as caught:
        repair(Conversation(turns=turns), param="input")
    assert (caught.value.param, caught.value.row.status) == ("input", 400)


def test_empty_texts_and_what_they_leave_empty_go():
    assert repaired(turn("user", "Hi"), turn("assistant", ""), turn("user", "", "again")) == [
        ("user", [Text("Hi"), Text("again")])
    ]


def test_results_follow_their_calls_before_anything_else_in_the_order_they_came():
    assert repaired(
        turn("assistant", "look", call("1"), call("2")),
        turn("system", "B"),
        turn("user", "first", result("2", "two")),
        turn("user", result("1", "one"), "go on"),
    ) == [
        ("assistant", [Text("look"), call("1"), call("2")]),
        ("user", [result("2", "two"), result("1", "one")]),
        ("system", [Text("B")]),
        ("user", [Text("first"), Text("go on")]),
    ]


def test_a_call_without_a_result_gets_one_that_says_so():
    assert repaired(turn("assistant", call("1"), call("2")), turn("user", result("2", "ok"))) == [
        ("assistant", [call("1"), call("2")]),
        ("user", [result("2", "ok"), missing("1")]),
    ]
    assert repaired(turn("assistant", call("1")))[1] == ("user", [missing("1")])


def test_a_result_without_a_call_is_what_the_user_says():
    orphan = Result("9", [Text("late"), PICTURE, Text("!")])
    told = [Text("[tool result 9] late!"), PICTURE]
    assert repaired(turn("user", "Hi", orphan)) == [("user", [Text("Hi"), *told])]
    assert repaired(
        turn("assistant", call("1")), turn("user", orphan, result("1", "ok"), result("1", "twice"))
    ) == [
        ("assistant", [call("1")]),
        ("user", [result("1", "ok"), *told, Text("[tool result 1] twice")]),
    ]


def test_calls_of_neighbouring_turns_are_answered_together():
    assert repaired(
        turn("assistant", call("1")),
        turn("assistant", call("2")),
        turn("user", result("1"), result("2")),
    ) == [("assistant", [call("1"), call("2")]), ("user", [result("1"), result("2")])]


def test_one_id_that_was_called_twice_is_answered_once():
    assert repaired(turn("assistant", call("1"), call("1")))[1] == ("user", [missing("1")])


def test_called_tools_that_were_not_declared_become_stubs_that_may_not_be_called():
    calls = turn("assistant", call("1"), Call("2", "ls", "{}", namespace="mcp"), call("3"))
    conversation = Conversation(turns=[calls])
    repair(conversation)
    assert conversation.tools == [Tool("f", stub=True), Tool("ls", namespace="mcp", stub=True)]
    assert conversation.tool_choice == ToolChoice("none")
    declared = Conversation(turns=[calls], tools=[Tool("g")])
    repair(declared)
    assert (declared.tools, declared.tool_choice) == ([Tool("g")], None)


def test_stubs_do_not_forbid_the_search_that_the_client_asked_for():
    conversation = Conversation(turns=[turn("assistant", call("1"))], web_search=WebSearch())
    repair(conversation)
    assert (conversation.tools, conversation.tool_choice) == ([Tool("f", stub=True)], None)


@pytest.mark.parametrize(("mode", "told"), [("auto", {"tool_choice"}), ("none", set())])
def test_a_choice_that_stubs_overrule_is_told(mode, told):
    conversation = Conversation(
        turns=[turn("assistant", call("1"))],
        tool_choice=ToolChoice(mode),
        given={"tool_choice": "tool_choice"},
    )
    repair(conversation)
    conversation.carry("tool_choice")
    assert (conversation.tool_choice, conversation.weakened) == (ToolChoice("none"), told)


def test_the_last_effort_of_merged_system_turns_holds():
    first, second = Turn("system", [Text("a")], "low"), Turn("system", [Text("b")], "high")
    third = turn("system", "c")
    assert [t.effort for t in merged([first, second, third])] == ["high"]


def test_merging_keeps_results_in_front():
    assert merged([turn("user", "a"), turn("user", result("1"))])[0].parts == [
        result("1"),
        Text("a"),
    ]


def test_a_conversation_is_anchored_in_a_word_of_the_user():
    assert anchored([turn("assistant", "a")])[0] == turn("user", ".")
    assert anchored([]) == [turn("user", ".")]
    assert anchored([turn("user", "a")]) == [turn("user", "a")]


IDS = st.sampled_from("123")
PARTS = st.one_of(
    st.builds(Text, st.sampled_from(["", "x"])), IDS.map(result), st.just(Redacted("r"))
)
TURNS = st.lists(
    st.one_of(
        st.lists(PARTS, max_size=3).map(lambda parts: turn("user", *parts)),
        st.lists(st.one_of(IDS.map(call), st.just(Text("y"))), max_size=3).map(
            lambda parts: turn("assistant", *parts)
        ),
        st.just(turn("system", "s")),
    ),
    max_size=6,
)


@given(TURNS)
def test_whatever_order_came_every_call_is_answered_at_once_and_no_result_is_alone(turns):
    try:
        found = repaired(*turns)
    except GatewayError:
        return
    assert all(parts for _, parts in found)
    previous: set[str] = set()
    for index, (role, parts) in enumerate(found):
        if index:
            assert role != found[index - 1][0]
        answered = [part.call_id for part in parts if isinstance(part, Result)]
        assert set(answered) == previous
        assert len(answered) == len(previous)
        assert all(isinstance(part, Result) for part in parts[: len(answered)])
        previous = {part.id for part in parts if isinstance(part, Call)}
    assert not previous
