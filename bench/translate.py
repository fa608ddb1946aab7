"""What the dialects cost by themselves: µs an event for each decoder, encoder and splice, µs a request for each reader and writer.

``python -m bench.translate`` measures with pyperf where it is installed (and takes its options, ``--fast`` first of all), else
with timeit. JSON is parsed in what an event costs and not in what a request costs: readers and writers work on documents.
"""

from __future__ import annotations

import timeit
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any, Literal

import orjson

from bench.answers import ANSWERS, TEXTS
from proxy.dialects import repair
from proxy.dialects.answer import Translation
from proxy.dialects.chat import encode as chat_encode
from proxy.dialects.chat import read as chat_read
from proxy.dialects.chat.splice import ChatSplice
from proxy.dialects.conversation import Conversation
from proxy.dialects.gemini import encode as gemini_encode
from proxy.dialects.gemini import read as gemini_read
from proxy.dialects.messages import encode as messages_encode
from proxy.dialects.messages import read as messages_read
from proxy.dialects.messages.splice import MessagesSplice
from proxy.dialects.reply import Encoder, Meter, Reply, Upstream
from proxy.dialects.responses import encode as responses_encode
from proxy.dialects.responses import read as responses_read
from proxy.dialects.splice import Splice
from proxy.dialects.spoken import SERVERS
from proxy.dialects.sse import Splitter
from proxy.dialects.turn import StopReason
from proxy.errors import GatewayError
from proxy.providers import Dialect, Flags
from proxy.usage import Usage

try:
    import pyperf  # type: ignore[import-untyped]  # it has none
except ImportError:
    pyperf = None

_FLAGS = Flags()
_EVENTS = len(TEXTS)
_MODELS: Mapping[Dialect, str] = {
    "openai-chat": "gpt-4o",
    "anthropic": "claude-sonnet-4-20250514",
    "openai-responses": "gpt-4o",
    "gemini": "gemini-2.5-flash",
}
_NAMES: Mapping[Dialect, str] = {
    "openai-chat": "chat",
    "anthropic": "messages",
    "openai-responses": "responses",
    "gemini": "gemini",
}


@dataclass(frozen=True, slots=True)
class Case:
    """``work`` does what ``title`` says: once for a request, or for a whole answer of a hundred events."""

    title: str
    unit: Literal["event", "request"]
    work: Callable[[], object]

    @property
    def times(self) -> int:
        return _EVENTS if self.unit == "event" else 1


class Silence:
    """A turn that does nothing with its verbs."""

    def begin(self, model: str, answer_id: str) -> None: ...
    def choice(self, index: int) -> None: ...
    def text(self, delta: str) -> None: ...
    def thinking(self, delta: str) -> None: ...
    def signature(self, opaque: str) -> None: ...
    def redacted(self, opaque: str) -> None: ...
    def refusal(self, delta: str) -> None: ...
    def image(self, mime: str, data: str) -> None: ...
    def tool_call(self, index: int, call_id: str, name: str, signature: str = "") -> None: ...
    def arguments(self, index: int, delta: str) -> None: ...
    def call_done(self, index: int) -> None: ...
    def usage(self, usage: Usage) -> None: ...
    def end(
        self, reason: StopReason, stop_sequence: str | None = None, detail: str | None = None
    ) -> None: ...
    def fail(self, error: GatewayError) -> None: ...


def cases() -> Iterator[Case]:
    """An answer comes a token a read; what its beginning and its end cost is shared out among its events."""
    yield Case("SSE splitter", "event", _splitting("openai-chat"))
    for dialect, name in _NAMES.items():
        yield Case(f"{name} decoder", "event", _decoding(dialect))
    for name, encoder in _ENCODERS.items():
        yield Case(f"{name} encoder", "event", _encoding(encoder))
    yield Case("chat splice", "event", _splicing("openai-chat", _chat_splice))
    yield Case("messages splice", "event", _splicing("anthropic", _messages_splice))
    to_chat = _translating("anthropic", chat_encode.Encoder)
    yield Case("messages to chat, all of it", "event", to_chat)
    to_messages = _translating("openai-chat", messages_encode.Encoder)
    yield Case("chat to messages, all of it", "event", to_messages)
    yield from _requests()


# Answers.

_ENCODERS: Mapping[str, Callable[[Reply, Meter], Encoder]] = {
    "chat": chat_encode.Encoder,
    "messages": messages_encode.Encoder,
    "responses": responses_encode.Encoder,
    "gemini": gemini_encode.Encoder,
}


def _splitting(dialect: Dialect) -> Callable[[], object]:
    frames = ANSWERS[dialect].frames

    def work() -> None:
        feed = Splitter().feed
        for frame in frames:
            feed(frame)

    return work


def _decoding(dialect: Dialect) -> Callable[[], object]:
    decoder = SERVERS[dialect].decoder
    events = Splitter().feed(b"".join(ANSWERS[dialect].frames))
    turn = Silence()

    def work() -> None:
        reading = decoder(turn, _FLAGS)
        for name, data in events:
            reading.event(name, data)
        reading.finish()

    return work


def _encoding(encoder: Callable[[Reply, Meter], Encoder]) -> Callable[[], object]:
    usage = Usage(input=21, output=_EVENTS)

    def work() -> None:
        turn = encoder(_reply(), Meter())
        frames = turn.frames
        turn.begin("m", "answer-0")
        for text in TEXTS:
            turn.text(text)
            frames.clear()
        turn.usage(usage)
        turn.end(StopReason.STOP)

    return work


def _splicing(dialect: Dialect, splice: Callable[[], Splice]) -> Callable[[], object]:
    frames = ANSWERS[dialect].frames

    def work() -> None:
        answer = splice()
        feed = answer.feed
        for frame in frames:
            feed(frame)
        answer.finish()

    return work


def _chat_splice() -> Splice:
    return ChatSplice("req_0", _FLAGS, lambda: 0, include_usage=True)


def _messages_splice() -> Splice:
    return MessagesSplice("req_0", _FLAGS, lambda: 0)


def _translating(
    dialect: Dialect, encoder: Callable[[Reply, Meter], Encoder]
) -> Callable[[], object]:
    frames = ANSWERS[dialect].frames
    decoder = SERVERS[dialect].decoder

    def work() -> None:
        reply, meter = _reply(), Meter()
        turn = encoder(reply, meter)
        answer = Translation(decoder(turn, _FLAGS), turn, meter, reply)
        feed = answer.feed
        for frame in frames:
            feed(frame)
        answer.finish()

    return work


def _reply() -> Reply:
    return Reply(
        model="m", created=0, request_id="req_0", mint=lambda: "0" * 24, include_usage=True
    )


# Requests: an agent in its third step, as a chat client asks. The other dialects' are what our own writers make of it.


def _tool(name: str, description: str, **properties: str) -> dict[str, Any]:
    fields = {key: {"type": kind} for key, kind in properties.items()}
    schema = {"type": "object", "properties": fields, "required": list(fields)}
    function = {"name": name, "description": description, "parameters": schema}
    return {"type": "function", "function": function}


def _called(number: int, name: str, arguments: str) -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    call = {"id": f"call_{number}", "type": "function", "function": function}
    return {"role": "assistant", "content": None, "tool_calls": [call]}


def _result(number: int, text: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": f"call_{number}", "content": text}


_ASKED: dict[str, Any] = {
    "model": "m",
    "stream": True,
    "max_tokens": 4096,
    "temperature": 0.2,
    "messages": [
        {"role": "system", "content": "You work in a repository. Read before you write. " * 20},
        {"role": "user", "content": "The tests of the parser fail since yesterday. Find out why."},
        _called(1, "search", '{"pattern": "def parse", "path": "."}'),
        _result(1, "parser.py:12: def parse(text):\n" * 30),
        _called(2, "read", '{"path": "parser.py", "first": 1, "last": 200}'),
        _result(2, "    return [part.strip() for part in text.split(',')]\n" * 60),
        {"role": "assistant", "content": "An empty text gives one empty part. I try it."},
        {"role": "user", "content": "Go on."},
    ],
    "tools": [
        _tool("search", "Find lines that match a pattern.", pattern="string", path="string"),
        _tool("read", "Show lines of a file.", path="string", first="integer", last="integer"),
        _tool("write", "Replace a file.", path="string", text="string"),
        _tool("run", "Run a command and show what it prints.", command="string"),
    ],
}


_READERS: Mapping[Dialect, Callable[[dict[str, Any]], Conversation]] = {
    "openai-chat": chat_read.read_request,
    "anthropic": messages_read.read_request,
    "openai-responses": responses_read.read_request,
    "gemini": gemini_read.read_request,
}


def _requests() -> Iterator[Case]:
    conversation = chat_read.read_request(_ASKED)
    repair.repair(conversation)
    written = {
        dialect: server.write_request(conversation, Upstream(_MODELS[dialect])).body
        for dialect, server in SERVERS.items()
    }
    for dialect, read in _READERS.items():
        # Through bytes: a document shares nothing with the conversation that it was written from.
        document = orjson.loads(orjson.dumps(written[dialect]))
        yield Case(f"{_NAMES[dialect]} reader", "request", partial(read, document))
    for dialect, name in _NAMES.items():
        upstream = Upstream(_MODELS[dialect])
        write = partial(SERVERS[dialect].write_request, conversation, upstream)
        yield Case(f"{name} writer", "request", write)


# Measuring.


def main() -> None:
    if pyperf is None:
        _with_timeit()
    else:
        _with_pyperf()


def _with_timeit() -> None:
    """Print the median of seven goes of 50 ms at least, and the fastest."""
    print(f"{'µs':40}median   fastest")
    for case in cases():
        timer = timeit.Timer(case.work)
        loops, seconds = timer.autorange()
        loops = max(1, round(loops * 0.05 / seconds))
        each = [took * 1e6 / loops / case.times for took in timer.repeat(7, loops)]
        print(f"{_label(case):38}{median(each):8.2f}  {min(each):8.2f}")


def _with_pyperf() -> None:
    # Three processes are enough to see whether one of them was unlucky; --processes asks for more.
    runner = pyperf.Runner(processes=3, program_args=("-m", "bench.translate"))
    runner.argparser.set_defaults(quiet=True)  # its advice, twenty times over, hides the figures
    for case in cases():
        runner.bench_func(_label(case), case.work, inner_loops=case.times)


def _label(case: Case) -> str:
    return f"{case.title}, {case.unit}"


if __name__ == "__main__":
    main()
