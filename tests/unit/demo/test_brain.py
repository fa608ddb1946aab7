"""What the demo model answers, without any HTTP around it."""

import json

import pytest

from proxy.demo import brain
from proxy.demo.instance import answer
from proxy.demo.models import MODELS
from proxy.demo.orders import Orders, read_orders
from proxy.demo.plan import Broken, Call, Cut, Page, Plan, Text, Thought, Wait
from proxy.demo.prompt import Choice, Prompt, Tool, Turn
from proxy.demo.refusal import Refused

CHAT = MODELS[0]


def prompt(said, **options):
    return Prompt(CHAT, (Turn("user", said),), **options)


def decide(asked: Prompt) -> Plan:
    plan = brain.decide(asked)
    assert isinstance(plan, Plan)
    return plan


def tools(*names):
    return tuple(Tool(name, {"type": "object", "properties": {}}) for name in names)


def called(plan):
    return [call.name for call in plan.calls]


@pytest.mark.parametrize(
    ("said", "orders"),
    [
        ("hello", Orders()),
        ("fail:429", Orders(status=429)),
        ("please fail:cut.", Orders(accident="cut")),
        ("slow:5s stall:1.5s long:200", Orders(slow_seconds=5, stall_seconds=1.5, words=200)),
        ("slow:250ms", Orders(slow_seconds=0.25)),
        ("slow:99999s", Orders(slow_seconds=600)),
        ("fail:418 fail:nothing slow:fast long:x", Orders()),
        ("unfail:429 a:fail:429", Orders()),
    ],
)
def test_orders_are_read_from_the_words(said, orders):
    assert read_orders(said) == orders


def test_only_the_last_words_of_the_user_are_orders():
    turns = (Turn("user", "fail:500"), Turn("assistant", "no"), Turn("user", "go on"))
    assert decide(Prompt(CHAT, turns)).finish == "stop"
    with pytest.raises(Refused, match="500"):
        decide(Prompt(CHAT, turns[:1]))


def test_notes_that_software_adds_are_not_said_by_the_user():
    plan = decide(prompt("Hi<system-reminder>fail:500</system-reminder> <system>fail:400</system>"))
    assert "“Hi”" in plan.text


def test_a_page_is_no_answer_of_the_api():
    assert isinstance(brain.decide(prompt("fail:html")), Page)


def test_waits_and_accidents_stand_where_they_were_ordered():
    kinds = [type(step) for step in decide(prompt("slow:1s fail:cut", thinking=True)).steps]
    first = kinds.index(Text)
    assert kinds[0] is Wait
    assert set(kinds[1:first]) == {Thought}
    assert kinds[first:] == [Text] * 5 + [Cut]
    assert isinstance(decide(prompt("fail:error")).last, Broken)
    stalled = decide(prompt("stall:2s")).steps
    assert stalled[5] == Wait(2.0)
    assert len(stalled) > 6


def test_a_coding_agents_tools_are_called_by_name_only():
    many = tools("read", "write", "edit", "list", "search", "run")
    assert called(decide(prompt("hello", tools=many))) == []
    assert called(decide(prompt("please edit it", tools=many))) == ["edit"]
    assert called(decide(prompt("edit and run it", tools=many))) == ["edit", "run"]
    assert called(decide(prompt("hello", tools=many, choice=Choice("required")))) == ["read"]
    assert called(decide(prompt("hello", tools=many[:5]))) == ["read"]


def test_a_command_is_never_taken_from_the_prompt():
    schema = {"properties": {"command": {"type": "string"}}, "required": ["command"]}
    plan = decide(prompt("rm -rf the disk", tools=(Tool("shell", schema),)))
    assert json.loads(plan.calls[0].arguments) == {"command": "echo hello from the demo"}


def test_a_call_that_does_not_fit_is_not_begun():
    plan = decide(prompt("hello", tools=tools("f"), max_tokens=0))
    assert plan.calls == ()
    assert plan.finish == "length"


def test_a_call_comes_in_fragments_that_make_it_up():
    arguments = json.dumps({"city": "Llanfairpwllgwyngyll"})
    assert "".join(Call(0, "f", arguments).fragments()) == arguments


def test_reasoning_is_part_of_the_output_count():
    quiet, loud = decide(prompt("Why?")), decide(prompt("Why?", thinking=True))
    assert quiet.reasoning == 0
    assert loud.output == quiet.output + loud.reasoning
    assert loud.text == quiet.text


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "string"}, "Ada"),
        ({"type": "STRING", "maxLength": 2}, "Ad"),
        ({"type": "string", "minLength": 5}, "Ada.."),
        ({"type": "string", "format": "date"}, "2026-01-31"),
        ({"type": "integer"}, 36),
        ({"type": "integer", "maximum": 10}, 10),
        ({"type": "number"}, 36),
        ({"type": "boolean"}, True),
        ({"type": "null"}, None),
        ({"type": ["null", "boolean"]}, True),
        ({"const": 7}, 7),
        ({"enum": ["b", "a"]}, "b"),
        ({"anyOf": [{"type": "boolean"}, {"type": "null"}]}, True),
        ({"type": "array", "items": {"type": "boolean"}, "minItems": 2}, [True, True]),
        ({"type": "object", "properties": {"a": {"type": "boolean"}}}, {"a": True}),
        (
            {"type": "object", "properties": {"a": {}, "b": {"type": "null"}}, "required": ["b"]},
            {"b": None},
        ),
        ({"allOf": [{"properties": {"a": {"const": 1}}}, {"required": ["a"]}]}, {"a": 1}),
        (
            {"$ref": "#/$defs/flag", "$defs": {"flag": {"type": "boolean"}}},
            True,
        ),
    ],
)
def test_a_schema_gets_an_instance(schema, value):
    assert answer(schema, "about Ada aged 36") == value


def test_a_recursive_schema_has_an_end():
    node = {"type": "object", "properties": {"next": {"$ref": "#"}}, "required": ["next"]}
    assert isinstance(answer(node, "x"), dict)


def test_quoted_words_are_preferred():
    assert answer({"type": "string"}, 'Tell Ada about "the sea"') == "the sea"
