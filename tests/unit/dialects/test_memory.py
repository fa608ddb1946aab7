"""Seals of recent calls find their way back into the conversation."""

from __future__ import annotations

from proxy.dialects.chat.read import read_request
from proxy.dialects.conversation import Call, Redacted, Thinking
from proxy.dialects.memory import LIFETIME, MAX_BYTES, MAX_ENTRIES, Memory


def conversation(call_id: str = "call_1", **fields):
    call = {"id": call_id, "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b", "tool_calls": [call], **fields},
        {"role": "tool", "tool_call_id": call_id, "content": "r"},
    ]
    return read_request({"model": "m", "messages": messages})


def seal(text: str = "thought", signature: str = "sig") -> Thinking:
    return Thinking(text=text, signature=signature)


def recalled(memory: Memory, key: str = "key", call_id: str = "call_1", now: float = 1.0, **fields):
    found = conversation(call_id, **fields)
    memory.recall(key, found, now)
    return found.turns[1].parts


def test_thinking_comes_back_before_the_call():
    memory = Memory()
    memory.keep("key", "call_1", (seal(), Redacted(data="r")), 0.0)
    parts = recalled(memory)
    assert [type(part) for part in parts[:2]] == [Thinking, Redacted]
    assert isinstance(parts[-1], Call)


def test_a_signature_comes_back_onto_the_call():
    memory = Memory()
    memory.keep("key", "call_1", (Call(id="call_1", name="f", arguments="", signature="sig"),), 0.0)
    call = recalled(memory)[-1]
    assert isinstance(call, Call)
    assert call.signature == "sig"


def test_nobody_gets_anothers_seals():
    memory = Memory()
    memory.keep("key", "call_1", (seal(),), 0.0)
    assert not any(isinstance(part, Thinking) for part in recalled(memory, key="other"))
    assert not any(isinstance(part, Thinking) for part in recalled(memory, call_id="call_2"))


def test_what_the_client_echoes_itself_is_not_put_in_twice():
    memory = Memory()
    memory.keep("key", "call_1", (seal(),), 0.0)
    blocks = [{"type": "thinking", "thinking": "own", "signature": "own-sig"}]
    thinking = [
        part for part in recalled(memory, thinking_blocks=blocks) if isinstance(part, Thinking)
    ]
    assert [part.text for part in thinking] == ["own"]


def test_a_call_that_comes_with_its_signature_keeps_it():
    memory = Memory()
    made = Call(id="call_1", name="f", arguments="", signature="kept")
    memory.keep("key", "call_1", (made,), 0.0)
    found = conversation()
    echoed = found.turns[1].parts[-1]
    assert isinstance(echoed, Call)
    echoed.signature = "own"
    memory.recall("key", found, 1.0)
    assert echoed.signature == "own"


def test_turns_without_calls_are_left_as_they_are():
    memory = Memory()
    memory.keep("key", "call_1", (seal(),), 0.0)
    found = read_request(
        {
            "model": "m",
            "messages": [
                {"role": "user", "content": "a"},
                {"role": "assistant", "content": "b"},
                {"role": "user", "content": "c"},
            ],
        }
    )
    before = [list(turn.parts) for turn in found.turns]
    memory.recall("key", found, 1.0)
    assert [turn.parts for turn in found.turns] == before


def test_seals_grow_old():
    memory = Memory()
    memory.keep("key", "call_1", (seal(),), 0.0)
    assert any(isinstance(part, Thinking) for part in recalled(memory, now=LIFETIME))
    assert not any(isinstance(part, Thinking) for part in recalled(memory, now=LIFETIME + 1))
    assert len(memory) == 0


def test_a_newer_seal_replaces_the_older():
    memory = Memory()
    memory.keep("key", "call_1", (seal("one"),), 0.0)
    memory.keep("key", "call_1", (seal("two"),), 0.0)
    assert len(memory) == 1
    assert [part.text for part in recalled(memory) if isinstance(part, Thinking)] == ["two"]


def test_the_oldest_go_when_there_are_too_many():
    memory = Memory()
    for number in range(MAX_ENTRIES + 10):
        memory.keep("key", f"call_{number}", (seal(),), 0.0)
    assert len(memory) == MAX_ENTRIES
    assert not any(isinstance(part, Thinking) for part in recalled(memory, call_id="call_9"))
    assert any(isinstance(part, Thinking) for part in recalled(memory, call_id="call_10"))


def test_the_oldest_go_when_they_are_too_large_and_giants_are_not_kept():
    memory = Memory()
    memory.keep("key", "giant", (seal("x" * (MAX_BYTES // 64 + 1)),), 0.0)
    assert len(memory) == 0
    for number in range(70):
        memory.keep("key", f"call_{number}", (seal("x" * (MAX_BYTES // 64 - 10), "s"),), 0.0)
    assert len(memory) == 64
