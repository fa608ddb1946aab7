from __future__ import annotations

import hashlib
import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.dialects.conversation import Call, Conversation, Part, Result, Text, Turn
from proxy.dialects.names import (
    Names,
    Target,
    call_id_for,
    call_ids_for,
    flat_name,
    hashed_id,
    name_for,
)

TARGETS: list[Target] = ["openai-chat", "openai-responses", "anthropic", "gemini"]


@pytest.mark.parametrize(
    ("target", "call_id", "sent"),
    [
        ("openai-chat", "c" * 40, "c" * 40),
        ("openai-chat", "c" * 41, "call_5ca788d9d1f6ce8f26e6d0d9f8a0ab14"[:5]),
        ("openai-responses", "c" * 64, "c" * 64),
        ("openai-responses", "c" * 65, "call_"),
        ("anthropic", "call:1/é", "call_1__"),
        ("anthropic", "", "_"),
        ("gemini", "any thing" * 20, "any thing" * 20),
    ],
)
def test_call_ids_fit_their_target(target, call_id, sent):
    assert call_id_for(target, call_id).startswith(sent)
    assert call_id_for(target, call_id) == call_id_for(target, call_id)


def test_long_ids_are_hashed_to_thirty_seven_characters():
    assert len(call_id_for("openai-chat", "c" * 41)) == 37
    assert call_id_for("openai-chat", "c" * 41) != call_id_for("openai-chat", "c" * 42)


@given(st.text(max_size=60))
def test_mistral_gets_nine_letters_or_digits(call_id):
    assert re.fullmatch("[0-9A-Za-z]{9}", call_id_for("openai-chat", call_id, nine=True))
    assert call_id_for("openai-chat", "abcDEF123", nine=True) == "abcDEF123"


def test_a_call_id_that_mistral_takes_is_kept_and_another_is_hashed():
    assert call_id_for("openai-chat", "abcDEF123", nine=True) == "abcDEF123"
    made = {call_id_for("openai-chat", one, nine=True) for one in ("call_1", "abcDEF12-", "")}
    assert len(made) == 3
    assert all(len(one) == 9 for one in made)


def conversation_of(*parts: Part) -> Conversation:
    return Conversation(turns=[Turn("assistant", list(parts))])


def test_a_call_and_its_result_keep_one_id_and_no_two_collide():
    conversation = conversation_of(
        Call("a.b", "f", ""), Call("a_b", "f", ""), Text("x"), Result("a.b", []), Result("a b", [])
    )
    assert call_ids_for("anthropic", conversation) == {"a.b": "a_b", "a_b": "a_b_2", "a b": "a_b_3"}


def test_valid_names_stay_and_others_make_room():
    names = Names.of("openai-chat", ["a.b", "a_b", "a b", "a_b_2", "a.b", "c"])
    assert names.sent == {"a.b": "a_b_3", "a_b": "a_b", "a b": "a_b_4", "a_b_2": "a_b_2", "c": "c"}
    assert names.back == {"a_b_3": "a.b", "a_b_4": "a b"}
    assert names.to_upstream("a b") == "a_b_4"
    assert names.to_client("a_b_3") == "a.b"


def test_names_that_were_not_declared_fit_on_their_own():
    names = Names.of("anthropic", [])
    assert names.to_upstream("x.y") == "x_y"
    assert names.to_client("invented") == "invented"


@given(st.lists(st.text(max_size=80), max_size=6, unique=True), st.sampled_from(TARGETS))
def test_every_name_fits_and_finds_its_way_back(declared, target):
    names = Names.of(target, declared)
    limit = 128 if target == "anthropic" else 64
    sent = [names.to_upstream(name) for name in declared]
    assert all(re.fullmatch(f"[a-zA-Z0-9_-]{{1,{limit}}}", name) for name in sent)
    assert len(set(sent)) == len(declared)
    assert [names.to_client(name) for name in sent] == declared


def test_long_names_that_differ_at_their_end_stay_apart():
    first, second = ("x" * 80 + end for end in "ab")
    assert name_for("openai-chat", first) != name_for("openai-chat", second)
    long = Names.of("openai-chat", ["y" * 64, "y" * 63 + "."]).sent
    assert set(map(len, long.values())) == {64}
    many = Names.of("openai-chat", ["z" * 63 + "_", "z" * 63 + ".", "z" * 63 + "!"]).sent
    assert many["z" * 63 + "."] == "z" * 62 + "_2"


def test_hashed_ids_and_flat_names():
    assert hashed_id("1", "f") == "call_bd3890d2a3e58ad32d304b28"
    assert flat_name("mcp", "ls") == "mcp__ls"
    assert flat_name(None, "ls") == "ls"


def test_nine_characters_are_the_first_of_the_hash_in_base_62():
    number = int(hashlib.sha256(b"call_1").hexdigest(), 16)
    digits = string.digits + string.ascii_uppercase + string.ascii_lowercase
    first = number // 62**34 if number >= 62**42 else number // 62**33
    made = call_id_for("openai-chat", "call_1", nine=True)
    assert sum(digits.index(one) * 62**place for place, one in enumerate(reversed(made))) == first
