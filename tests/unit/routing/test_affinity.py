"""Which account a conversation stays with."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.routing import affinity
from proxy.routing.affinity import TTL, Affinity, rendezvous, session_of


@dataclass(frozen=True)
class One:
    name: str
    weight: int = 1


A, B, C = One("a"), One("b"), One("c")


def session(number: int) -> bytes:
    return number.to_bytes(16, "big")


# What a conversation is known by.


@pytest.mark.parametrize("better", range(8))
def test_the_first_name_that_the_client_gives_counts(better):
    headers = {
        "x-claude-code-session-id": "0",
        "session-id": "1",
        "session_id": "2",
        "x-session-id": "3",
        "x-session-affinity": "4",
    }
    document = {"session_id": "5", "prompt_cache_key": "6", "metadata": {"user_id": "7"}}
    for source, name in [(s, n) for s in (headers, document) for n in s][:better]:
        del source[name]
    document["system"] = "x"
    expected = session_of("k", {"x-session-id": str(better)}, {})
    assert session_of("k", headers, document) == expected


@pytest.mark.parametrize("odd", [{"session_id": 7, "metadata": "x"}, {"metadata": {"user_id": ""}}])
def test_a_name_that_is_none_is_passed_over(odd):
    assert session_of("k", {"session-id": ""}, odd) is None


def test_two_keys_never_share_a_conversation():
    named = {"session-id": "s"}
    assert session_of("a", named, {}) != session_of("b", named, {})
    assert session_of("a", {}, {"system": "s"}) != session_of("b", {}, {"system": "s"})


def test_a_name_is_not_a_prompt():
    assert session_of("k", {"session-id": '"s"'}, {}) != session_of("k", {}, {"system": "s"})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (
            {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "1"}]},
            {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "2"}]},
        ),
        (
            {"messages": [{"role": "developer", "content": "s"}, "odd"]},
            {"messages": [{"role": "system", "content": "s"}]},
        ),
        ({"system": "s", "messages": []}, {"system": "s", "messages": [{"role": "user"}]}),
        ({"instructions": "s", "input": "1"}, {"instructions": "s", "input": "2"}),
        ({"systemInstruction": {"parts": []}}, {"system_instruction": {"parts": []}}),
        ({"tools": [{"name": "t"}], "messages": "odd"}, {"tools": [{"name": "t"}]}),
        ({"system": "s" * 5000 + "1"}, {"system": "s" * 5000 + "2"}),
        ({"tools": ["t" * 5000, "1"]}, {"tools": ["t" * 5000, "2"]}),
    ],
)
def test_what_begins_alike_is_one_conversation(one, other):
    assert session_of("k", {}, one) == session_of("k", {}, other) is not None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"system": "s"}, {"system": "t"}),
        ({"system": "s"}, {"system": "s", "tools": [{"name": "t"}]}),
        ({"tools": [1, 2]}, {"tools": [1]}),
    ],
)
def test_what_begins_otherwise_is_another(one, other):
    assert session_of("k", {}, one) != session_of("k", {}, other)


@pytest.mark.parametrize(
    "document", [{}, {"messages": [{"role": "user", "content": "hi"}]}, {"tools": {}, "system": ""}]
)
def test_without_a_system_prompt_and_tools_there_is_nothing_to_keep_warm(document):
    assert session_of("k", {}, document) is None


# Where it goes.


@given(st.binary(min_size=16, max_size=16), st.permutations([A, B, C]))
def test_a_conversation_goes_where_its_lot_falls_whatever_the_order(name, able):
    assert rendezvous(name, able) == rendezvous(name, [A, B, C])


@given(st.binary(min_size=16, max_size=16))
def test_only_the_conversations_of_whoever_leaves_move(name):
    chosen = rendezvous(name, [A, B, C])
    rest = [one for one in (A, B, C) if one != C]
    assert rendezvous(name, rest) == chosen or chosen == C


def test_conversations_spread_by_weight():
    heavy = One("heavy", 3)
    drawn = Counter(rendezvous(session(n), [A, heavy]).name for n in range(2000))
    assert 1400 < drawn["heavy"] < 1600


def test_a_lot_has_a_logarithm_at_either_end(monkeypatch):
    class Drawn:
        def __init__(self, value):
            self.value = value

        def digest(self):
            return self.value

    for value in (b"\x00" * 8, b"\xff" * 8):
        monkeypatch.setattr(affinity, "blake2b", lambda *_, value=value, **__: Drawn(value))
        assert affinity._lot(b"", A) > 0


def placed(of: Affinity, able: list[One], now: float, name: int = 1, model: str = "m") -> str:
    return of.place(session(name), "p", model, able, now).name


def test_a_conversation_leaves_an_unavailable_account_at_once_and_stays_where_it_went():
    memory = Affinity()
    first = placed(memory, [A, B], 0.0)
    other = B if first == "a" else A
    assert placed(memory, [other], 1.0) == other.name
    assert placed(memory, [A, B], 2.0) == other.name
    assert placed(memory, [A, B], 2.0 + TTL - 1) == other.name


def test_an_hour_after_its_last_call_it_is_placed_anew():
    memory = Affinity()
    first = placed(memory, [A, B], 0.0)
    other = B if first == "a" else A
    placed(memory, [other], 1.0)
    assert placed(memory, [A, B], 1.0 + TTL) == first


def test_each_model_has_its_own_cache():
    memory = Affinity()
    first = placed(memory, [A, B], 0.0)
    other = B if first == "a" else A
    placed(memory, [other], 1.0)
    assert placed(memory, [A, B], 2.0, model="n") == first


def test_what_is_remembered_is_bounded(monkeypatch):
    monkeypatch.setattr(affinity, "MAX_PLACED", 2)
    memory = Affinity()
    first = placed(memory, [A, B], 0.0, name=1)
    other = B if first == "a" else A
    placed(memory, [other], 0.0, name=1)
    placed(memory, [A, B], 0.0, name=2)
    assert placed(memory, [A, B], 1.0, name=1) == other.name
    placed(memory, [A, B], 1.0, name=3)
    assert len(memory) == 2
    assert placed(memory, [A, B], 2.0, name=1) == other.name
