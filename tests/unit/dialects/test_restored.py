from __future__ import annotations

import pytest

from proxy.dialects.names import Names
from proxy.dialects.restored import Restored, free_text
from proxy.dialects.turn import StopReason
from proxy.errors import GatewayError, Kind
from proxy.usage import Usage
from tests.unit.dialects.transcript import Transcript, Verb, play

TOOLS = ("end", StopReason.TOOL_CALLS, None, None)
STOP = ("end", StopReason.STOP, None, None)


def restored(
    *verbs: Verb,
    names: Names | None = None,
    json_tool: str | None = None,
    custom_tools: frozenset[str] = frozenset(),
) -> list[Verb]:
    transcript = Transcript()
    names = names or Names("anthropic")
    play(list(verbs), Restored(transcript, names, json_tool=json_tool, custom_tools=custom_tools))
    return transcript.verbs


def test_what_is_no_call_passes_as_it_is():
    verbs = [
        ("begin", "m", "id"),
        ("thinking", "a"),
        ("signature", "S"),
        ("redacted", "R"),
        ("text", "b"),
        ("refusal", "c"),
        ("image", "image/png", "AA"),
        ("usage", Usage()),
        STOP,
    ]
    assert restored(*verbs) == verbs


def test_tools_have_the_clients_names_again():
    names = Names.of("anthropic", ["a.b"])
    assert restored(
        ("tool_call", 0, "c", "a_b", "S"), ("arguments", 0, "{}"), ("call_done", 0), names=names
    ) == [
        ("tool_call", 0, "c", "a.b", "S"),
        ("arguments", 0, "{}"),
        ("call_done", 0),
    ]


def test_structured_output_by_a_forced_tool_is_text():
    call = [
        ("tool_call", 0, "c", "json"),
        ("arguments", 0, '{"a"'),
        ("arguments", 0, ":1}"),
        ("call_done", 0),
    ]
    assert restored(*call, TOOLS, json_tool="json") == [("text", '{"a"'), ("text", ":1}"), STOP]


def test_real_calls_beside_it_are_numbered_without_it():
    verbs = [
        ("tool_call", 0, "c", "json"),
        ("tool_call", 1, "d", "f"),
        ("arguments", 1, "{}"),
        ("call_done", 1),
    ]
    assert restored(*verbs, TOOLS, json_tool="json") == [
        ("tool_call", 0, "d", "f", ""),
        ("arguments", 0, "{}"),
        ("call_done", 0),
        TOOLS,
    ]


@pytest.mark.parametrize("closing", [("call_done", 0), TOOLS, ("choice", 1)])
def test_free_text_is_held_until_it_is_whole(closing):
    call = [
        ("tool_call", 0, "c", "patch"),
        ("arguments", 0, '{"inp'),
        ("arguments", 0, 'ut":"*** A"}'),
    ]
    verbs = restored(*call, closing, custom_tools=frozenset({"patch"}))
    assert verbs[:2] == [("tool_call", 0, "c", "patch", ""), ("arguments", 0, "*** A")]
    assert verbs[2:] == [closing]


def test_each_choice_starts_anew():
    verbs = restored(
        ("tool_call", 0, "c", "json"),
        ("choice", 1),
        ("tool_call", 0, "d", "f"),
        ("arguments", 0, "{}"),
        TOOLS,
        json_tool="json",
    )
    assert verbs == [("choice", 1), ("tool_call", 0, "d", "f", ""), ("arguments", 0, "{}"), TOOLS]


def test_a_failure_passes():
    assert restored(("fail", GatewayError(Kind.DISCONNECTED)))[0][:2] == ("fail", Kind.DISCONNECTED)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ('{"input":"*** A"}', "*** A"),
        ('{"input":"a","more":1}', "a"),
        ('{"input":5}', '{"input":5}'),
        ("[]", "[]"),
        ("*** A", "*** A"),
        ("", ""),
    ],
)
def test_what_is_no_wrapping_stays_as_it_is(arguments, text):
    assert free_text(arguments) == text


def test_a_free_text_that_was_cut_for_length_is_what_there_is_of_it():
    assert free_text('{"input": "ab') == "ab"
    assert free_text('{"input"') == '{"input"'
