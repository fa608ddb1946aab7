from __future__ import annotations

import itertools
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from proxy.dialects.collected import Collected
from proxy.dialects.conversation import Call, Image, Redacted, Refusal, Text, Thinking
from proxy.dialects.turn import StopReason
from proxy.errors import GatewayError, Kind
from proxy.usage import Usage
from tests.unit.dialects.transcript import Verb, merged, play


def collected(*verbs: Verb, ended: bool = True) -> Collected:
    gathered = Collected()
    play(list(verbs), gathered)
    if ended:
        gathered.end(StopReason.STOP)
    return gathered


def parts(*verbs: Verb) -> list[Any]:
    return collected(*verbs).choices[0].parts


def test_deltas_become_parts_in_the_order_in_which_they_came():
    assert parts(
        ("thinking", "h"),
        ("thinking", "m"),
        ("signature", "S"),
        ("text", "A"),
        ("text", ""),
        ("text", "B"),
        ("redacted", "R"),
        ("refusal", "no"),
        ("image", "image/png", "AA"),
        ("text", "C"),
    ) == [
        Thinking("hm", "S"),
        Text("AB"),
        Redacted("R"),
        Refusal("no"),
        Image(data="AA", mime="image/png"),
        Text("C"),
    ]


def test_a_seal_closes_its_thinking():
    assert parts(
        ("thinking", "a"),
        ("signature", "S"),
        ("thinking", "b"),
        ("signature", "T"),
        ("signature", "U"),
    ) == [
        Thinking("a", "S"),
        Thinking("b", "T"),
        Thinking("", "U"),
    ]
    assert parts(("signature", "S")) == [Thinking("", "S")]
    assert parts(("text", "a"), ("signature", "S")) == [Text("a"), Thinking("", "S")]


def test_calls_keep_their_place_and_gather_their_arguments():
    gathered = collected(
        ("text", "A"),
        ("tool_call", 0, "a", "f", "gw1:gem:s"),
        ("tool_call", 1, "b", "g"),
        ("arguments", 0, "{"),
        ("text", "B"),
        ("arguments", 1, "[]"),
        ("arguments", 0, "}"),
        ("call_done", 0),
    )
    assert gathered.choices[0].parts == [
        Text("A"),
        Call("a", "f", "{}", "gw1:gem:s"),
        Call("b", "g", "[]"),
        Text("B"),
    ]
    assert [call.id for call in gathered.choices[0].calls] == ["a", "b"]
    assert gathered.choices[0].text == "AB"


def test_text_goes_on_after_a_seal_in_between_was_closed():
    gathered = Collected()
    gathered.text("A")
    gathered.choice(1)
    gathered.text("B")
    gathered.choice(0)
    gathered.text("C")
    gathered.end(StopReason.STOP)
    assert [choice.parts for choice in gathered.choices] == [[Text("AC")], [Text("B")]]


def test_alternatives_number_their_calls_on_their_own():
    gathered = collected(
        ("tool_call", 0, "a", "f"),
        ("arguments", 0, "1"),
        ("choice", 2),
        ("tool_call", 0, "b", "g"),
        ("arguments", 0, "2"),
    )
    assert [choice.calls for choice in gathered.choices] == [
        [Call("a", "f", "1")],
        [],
        [Call("b", "g", "2")],
    ]


def test_the_end_belongs_to_the_choice_that_it_ends():
    gathered = collected(
        ("end", StopReason.LENGTH),
        ("choice", 1),
        ("end", StopReason.STOP_SEQUENCE, "END", "why"),
        ended=False,
    )
    assert [choice.reason for choice in gathered.choices] == [
        StopReason.LENGTH,
        StopReason.STOP_SEQUENCE,
    ]
    assert (gathered.choices[1].stop_sequence, gathered.choices[1].detail) == ("END", "why")
    assert gathered.ended


def test_the_last_usage_counts():
    gathered = collected(
        ("begin", "gpt", "id"), ("usage", Usage(output=1)), ("usage", Usage(output=2))
    )
    assert gathered.reported == Usage(output=2)
    assert (gathered.model, gathered.answer_id) == ("gpt", "id")


def test_what_was_said_before_a_failure_is_kept():
    error = GatewayError(Kind.DISCONNECTED)
    gathered = collected(
        ("text", "He"),
        ("tool_call", 0, "a", "f"),
        ("arguments", 0, "{"),
        ("text", "y"),
        ("fail", error),
        ended=False,
    )
    assert gathered.error is error
    assert gathered.ended
    assert gathered.choices[0].parts == [Text("He"), Call("a", "f", "{"), Text("y")]


DELTAS = st.lists(
    st.tuples(st.sampled_from(["text", "thinking", "refusal"]), st.text(max_size=3)), max_size=20
)


@given(DELTAS)
def test_nothing_is_lost_and_nothing_is_split(deltas):
    kinds = {"text": Text, "thinking": Thinking, "refusal": Refusal}
    wanted = [kinds[name](said) for name, said in merged([tuple(delta) for delta in deltas])]
    found = parts(*deltas)
    assert found == wanted
    assert all(type(a) is not type(b) for a, b in itertools.pairwise(found))
