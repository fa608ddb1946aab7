"""Turns in an order that every upstream accepts, whatever order the client sent them in.

Rules, in the order in which they are applied:

1. A conversation of system messages only: the last one, all of it, is what the user says.
2. Empty texts go, and turns that are left empty.
3. The results of a turn's calls follow it at once, in one user turn, before anything else that the user said; a system
   message that stood between call and result moves behind the result.
4. A call without a result gets one that says so; a result without a call becomes a text of the user.
5. Neighbouring turns of one role become one turn.
6. Calls in the history need tools: where the client declared none, each called name is declared as a stub. None may be
   called, unless the provider's own search is on, which "none" would forbid too.
"""

from __future__ import annotations

from proxy.dialects.conversation import (
    Call,
    Conversation,
    Part,
    Result,
    Text,
    Tool,
    ToolChoice,
    Turn,
    is_content,
)
from proxy.errors import invalid

ANCHOR = "."
"""What the user is taken to have said where a conversation starts with the assistant."""
NO_RESULT = "No result was provided."


def repair(conversation: Conversation, *, param: str = "messages") -> None:
    """Apply the rules of this file to ``conversation``; ``param`` is where its turns stood, for the 400 of none."""
    _let_somebody_speak(conversation, param)
    turns = [
        Turn(t.role, [p for p in t.parts if is_content(p)], t.effort) for t in conversation.turns
    ]
    turns = [turn for turn in turns if turn.parts]
    if not turns:
        raise invalid(param, f"`{param}` has no content: every message in it is empty.")
    conversation.turns = merged(_paired(turns))
    _declare_called_tools(conversation)


def anchored(turns: list[Turn]) -> list[Turn]:
    """Return ``turns`` starting with a user turn, as Anthropic and Gemini demand."""
    return turns if turns and turns[0].role == "user" else [Turn("user", [Text(ANCHOR)]), *turns]


def merged(turns: list[Turn]) -> list[Turn]:
    """Return ``turns`` with neighbours of one role joined; results stay first in a user turn."""
    out: list[Turn] = []
    for turn in turns:
        last = out[-1] if out else None
        if last is None or last.role != turn.role:
            out.append(Turn(turn.role, list(turn.parts), turn.effort))
            continue
        last.parts = _results_first([*last.parts, *turn.parts])
        last.effort = turn.effort or last.effort
    return out


def _let_somebody_speak(conversation: Conversation, param: str) -> None:
    if any(turn.role != "system" for turn in conversation.turns):
        return
    for turn in reversed(conversation.turns):
        if any(is_content(part) for part in turn.parts):
            turn.role = "user"
            return
    if not conversation.system:
        raise invalid(param, f"`{param}` is empty: expected at least one message.")
    conversation.turns.append(Turn("user", [*conversation.system]))
    conversation.system = []


def _paired(turns: list[Turn]) -> list[Turn]:
    out: list[Turn] = []
    position = 0
    while position < len(turns):
        turn = turns[position]
        position += 1
        if turn.role != "assistant":
            out.append(Turn(turn.role, _with_orphans_told(turn.parts), turn.effort))
            continue
        said = list(turn.parts)
        while position < len(turns) and turns[position].role == "assistant":
            said += turns[position].parts
            position += 1
        between: list[Turn] = []
        while position < len(turns) and turns[position].role != "assistant":
            between.append(turns[position])
            position += 1
        out.append(Turn("assistant", said))
        out += _after_calls([part for part in said if isinstance(part, Call)], between)
    return out


def _after_calls(calls: list[Call], between: list[Turn]) -> list[Turn]:
    """Return what follows a turn that made ``calls``: first all their results, then the rest of ``between``."""
    open_ids = {call.id for call in calls}
    results: list[Part] = []
    rest: list[Turn] = []
    for turn in between:
        others: list[Part] = []
        for part in turn.parts:
            if not isinstance(part, Result):
                others.append(part)
            elif part.call_id in open_ids:
                open_ids.discard(part.call_id)
                results.append(part)
            else:
                others += _with_orphans_told([part])
        if others:
            rest.append(Turn(turn.role, others, turn.effort))
    for call in calls:
        if call.id in open_ids:
            open_ids.discard(call.id)
            results.append(Result(call.id, [Text(NO_RESULT)], is_error=True))
    return [Turn("user", results), *rest] if results else rest


def _with_orphans_told(parts: list[Part]) -> list[Part]:
    """Return ``parts`` with each result that answers no call turned into what the user says."""
    out: list[Part] = []
    for part in parts:
        if not isinstance(part, Result):
            out.append(part)
            continue
        said = "".join(content.text for content in part.content if isinstance(content, Text))
        out.append(Text(f"[tool result {part.call_id}] {said}"))
        out += [content for content in part.content if not isinstance(content, Text)]
    return out


def _results_first(parts: list[Part]) -> list[Part]:
    results = [part for part in parts if isinstance(part, Result)]
    if not results:
        return parts
    return [*results, *(part for part in parts if not isinstance(part, Result))]


def _declare_called_tools(conversation: Conversation) -> None:
    if conversation.tools:
        return
    called = {
        part.name: part.namespace
        for turn in conversation.turns
        for part in turn.parts
        if isinstance(part, Call)
    }
    if not called:
        return
    conversation.tools = [Tool(name, namespace=space, stub=True) for name, space in called.items()]
    if conversation.web_search is None:
        if conversation.tool_choice != ToolChoice("none"):
            conversation.weaken("tool_choice")
        conversation.tool_choice = ToolChoice("none")
