"""What the demo model answers to a prompt."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import cycle, islice

import orjson

from proxy.demo.instance import Maker, answer
from proxy.demo.orders import Orders, read_orders
from proxy.demo.plan import Broken, Call, Cut, Finish, Page, Plan, Step, Text, Thought, Wait
from proxy.demo.prompt import Prompt, Tool
from proxy.demo.refusal import Refused

# A list of tools as long as this comes from a coding agent, which would really run what the demo
# calls: then a tool is only called by its name or by force.
_AGENT_TOOLS = 6
# An accident ordered for the middle of a stream happens after this many tokens.
_MIDDLE = 5
_ECHO_WORDS = 20
_MAX_QUOTE = 500

_TOKEN = re.compile(r"\s*\S{1,16}|\s+$")


def decide(prompt: Prompt) -> Plan | Page:
    """The answer to a prompt; raises Refused where the user's words order a refusal."""
    orders = read_orders(prompt.said)
    if orders.status is not None:
        raise Refused(orders.status, f"The prompt asked for a {orders.status}.")
    if orders.accident == "html":
        return Page()
    calls = () if orders.accident else _calls(prompt)
    return _plan(prompt, orders, _thought(prompt), "" if calls else _text(prompt, orders), calls)


def _thought(prompt: Prompt) -> str:
    if not prompt.thinks:
        return ""
    about = "the result of the tool" if prompt.results else f"“{_echo(prompt.said)}”"
    return f"The user wants me to look at {about}. I am a demo, so this is all the thought I need."


# Calling tools


def _calls(prompt: Prompt) -> tuple[Call, ...]:
    maker = Maker(prompt.said, optional=False)
    return tuple(
        Call(ordinal, tool.name, _json(maker.make({"type": "object", **tool.schema})))
        for ordinal, tool in enumerate(_chosen(prompt))
    )


def _chosen(prompt: Prompt) -> Sequence[Tool]:
    """The tools to call now: one, or two where the prompt speaks of several."""
    mode, allowed = prompt.choice.mode, prompt.choice.allowed
    tools = [tool for tool in prompt.tools if not allowed or tool.name in allowed]
    if not tools or mode == "none" or (prompt.results and mode == "auto"):
        return ()
    named = [tool for tool in tools if _mentions(prompt.said, tool.name)]
    if not named and len(tools) >= _AGENT_TOOLS and mode == "auto":
        return ()
    candidates = named or tools
    several = len(named) > 1 or _mentions(prompt.said, "both")
    if not (several and prompt.parallel):
        return candidates[:1]
    # "both" with a single tool means that tool twice: the weather in both Paris and London.
    return list(islice(cycle(candidates if len(candidates) > 1 else tools), 2))


def _mentions(said: str, name: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", said, re.IGNORECASE) is not None


# Speaking


def _text(prompt: Prompt, orders: Orders) -> str:
    if prompt.format is not None and not orders.accident:
        return _structured(prompt)
    text = _result(prompt) if prompt.results else _introduction(prompt)
    if orders.words:
        return " ".join(islice(cycle(text.split()), orders.words))
    return text


def _structured(prompt: Prompt) -> str:
    schema = prompt.format.schema if prompt.format else None
    if schema is None:
        return _json({"model": prompt.model.id, "said": _echo(prompt.said)})
    return _json(answer(schema, prompt.said))


def _result(prompt: Prompt) -> str:
    quotes = [f"“{text[:_MAX_QUOTE]}”" for text in prompt.results]
    return f"The tool says: {' and '.join(quotes)}. That is all I need to know."


def _introduction(prompt: Prompt) -> str:
    model = prompt.model
    sentences = [f"Hello! This is {model.id}, a demo model behind the {model.dialect} dialect."]
    sentences.append("Nothing you ask it costs anything.")
    if prompt.said:
        sentences.append(f"You said: “{_echo(prompt.said)}”.")
    if prompt.attachments:
        shown = "; ".join(shown.describe() for shown in prompt.attachments)
        sentences.append(f"You showed me {shown}.")
    if prompt.system:
        opening = " ".join(prompt.system.split()[:6])
        sentences.append(f"Your system prompt begins “{opening}”.")
    if prompt.tools and prompt.choice.mode != "none":
        sentences.append(f"You offer {len(prompt.tools)} tools: name one and I will call it.")
    return " ".join(sentences)


def _echo(said: str) -> str:
    """The last words of the user."""
    return " ".join(said.split()[-_ECHO_WORDS:])


def _json(value: object) -> str:
    return orjson.dumps(value).decode()


# Putting it together


def _plan(prompt: Prompt, orders: Orders, thought: str, text: str, calls: tuple[Call, ...]) -> Plan:
    text, stop_sequence = _stopped(text, prompt.stop)
    finish: Finish = "stop_sequence" if stop_sequence else "tool_calls" if calls else "stop"
    steps: list[Step] = [Thought(token) for token in _TOKEN.findall(thought)]
    steps += [Text(token) for token in _TOKEN.findall(text)]
    steps += calls
    kept = _within(steps, prompt.max_tokens)
    if len(kept) < len(steps):
        finish, stop_sequence = "length", None
    reasoning = sum(isinstance(step, Thought) for step in kept)
    return Plan(
        steps=_disturbed(kept, orders),
        finish=finish,
        stop_sequence=stop_sequence,
        input=prompt.tokens,
        output=sum(map(_tokens, kept)),
        reasoning=reasoning,
    )


def _stopped(text: str, stops: Sequence[str]) -> tuple[str, str | None]:
    """The text up to the first stop sequence in it, and which one that was."""
    places = [(text.index(stop), stop) for stop in stops if stop and stop in text]
    if not places:
        return text, None
    at, stop = min(places)
    return text[:at], stop


def _tokens(step: Step) -> int:
    return 1 + len(step.arguments) // 4 if isinstance(step, Call) else 1


def _within(steps: list[Step], limit: int | None) -> list[Step]:
    """The steps that fit into ``limit`` tokens; a call that does not fit is not begun."""
    if limit is None:
        return steps
    kept, used = [], 0
    for step in steps:
        used += _tokens(step)
        if used > limit:
            break
        kept.append(step)
    return kept


def _disturbed(steps: list[Step], orders: Orders) -> tuple[Step, ...]:
    """The steps with the waits and the accident that were ordered."""
    first = next((at for at, step in enumerate(steps) if not isinstance(step, Thought)), len(steps))
    middle = min(first + _MIDDLE, len(steps))
    if orders.accident:
        steps = [*steps[:middle], Cut() if orders.accident == "cut" else Broken()]
    if orders.stall_seconds:
        steps = [*steps[:middle], Wait(orders.stall_seconds), *steps[middle:]]
    if orders.slow_seconds:
        steps = [Wait(orders.slow_seconds), *steps]
    return tuple(steps)
