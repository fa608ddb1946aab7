"""What is fuzzed: each target takes any bytes, and raises only where the gateway does something that it must not.

The first bytes of an input say how it is used (who asked, in what pieces it comes), the rest is what a stranger or an
upstream sent. ``TARGETS`` has them by name.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Iterator
from functools import cache, partial
from itertools import count
from pathlib import Path
from typing import Any
from zlib import crc32

import orjson

from proxy.billing import database, entry, journal
from proxy.billing.ledger import _INSERT, _POISON
from proxy.config import ConfigError, loads
from proxy.dialects import border, refusal
from proxy.dialects import embeddings as vectors
from proxy.dialects.asked import Asked
from proxy.dialects.counting import make_count_plan
from proxy.dialects.fields import boolean
from proxy.dialects.gemini import native as gemini_native
from proxy.dialects.plan import dropped_header, make_plan
from proxy.dialects.sse import Event, Splitter, is_json, parse_block
from proxy.errors import GatewayError, Kind
from proxy.providers import Dialect, Flags, Provider
from proxy.server.body import parse_object
from proxy.server.exchange import _ERROR_WRITERS
from proxy.usage import Usage

Target = Callable[[bytes], None]
CLIENTS = ("chat", "messages", "responses", "gemini")
UPSTREAMS: tuple[Dialect, ...] = ("openai-chat", "openai-responses", "anthropic", "gemini")
MODELS = ("m", "gpt-5.2", "o3", "claude-opus-4-8", "claude-3-haiku", "gemini-3-flash", "gpt-4.1")
"""Names whose rows in the capabilities differ."""
_BIG = 1 << 63
_ROOT = Path(__file__).parents[2]


def pieces(data: bytes, seed: int) -> Iterator[bytes]:
    """Yield ``data`` in pieces whose sizes ``seed`` decides: 0 is all at once, 1 byte by byte."""
    if seed == 0:
        yield data
        return
    rng = random.Random(seed)
    at = 0
    while at < len(data):
        size = 1 if seed == 1 else rng.choice((1, 1, 2, 3, 7, 40, 400))
        yield data[at : at + size]
        at += size


# The stream's splitter, against the rule written plainly.


def sse(data: bytes) -> None:
    """Events are those of the standard, however the bytes are cut."""
    seed, stream = data[:1], data[1:]
    splitter = Splitter()
    found = [
        event for piece in pieces(stream, seed[0] if seed else 0) for event in splitter.feed(piece)
    ]
    found += splitter.finish()
    # Bare JSON is not taken apart into lines, so it keeps their ends.
    found = [Event(name, _lines_ended(text)) for name, text in found]
    assert found == _plainly(stream), (found, _plainly(stream))


def _plainly(stream: bytes) -> list[Event]:
    """Return the events of ``stream`` line by line, with the two liberties that we take: at the end, and for bare JSON."""
    text = _lines_ended(stream.removeprefix(b"\xef\xbb\xbf"))
    events: list[Event] = []
    block: list[bytes] = []
    *lines, last = text.split(b"\n")
    for line in lines:
        if line:
            block.append(line)
        else:
            events += _event(block)
            block = []
    for event in _event([*block, last] if last else block):
        if event.data == b"[DONE]" or is_json(event.data):
            events.append(event)
    return events


def _lines_ended(data: bytes) -> bytes:
    return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def _event(block: list[bytes]) -> list[Event]:
    fields = [line.partition(b":") for line in block]
    said = [(name, value.removeprefix(b" ")) for name, _, value in fields]
    data = b"\n".join(value for name, value in said if name == b"data")
    names = [value for name, value in said if name == b"event"]
    name = names[-1] if names else None
    if not data and block and block[0].startswith(b"{"):
        data = b"\n".join(block)
    return [Event(name, data)] if data else []


# Answers of upstreams.


def answers(upstream: Dialect, data: bytes) -> None:
    """An answer of ``upstream`` becomes a well-formed one for any client, the same however it is cut, with a sane usage."""
    if len(data) < 2:
        return
    shape, seed, body = data[0], data[1], data[2:]
    client = CLIENTS[shape & 3]
    stream, document, told = bool(shape & 4), bool(shape & 8), bool(shape & 16)
    play = partial(_played, client, upstream, stream=stream, document=document, told=told)
    whole, cut = play([body]), play(list(pieces(body, seed or 1)))
    # A spliced text is let by in haste, so an event that is none may pass in one read and be dropped in another.
    if client != _native(upstream) or all(_is_sound(event) for event in _plainly(body)):
        assert whole[:-1] == cut[:-1], (whole, cut)
        # An estimate counts what was let by.
        assert whole[-1] == cut[-1] or whole[-1].estimated or cut[-1].estimated, (whole, cut)


def _is_sound(event: Event) -> bool:
    """Tell whether an event is JSON of the type that its name says."""
    if event.data == b"[DONE]":
        return True
    if not is_json(event.data):
        return False
    document = orjson.loads(event.data)
    kind = document.get("type") if isinstance(document, dict) else None
    return event.name in (None, kind.encode() if isinstance(kind, str) else None)


def _played(
    client: str, upstream: Dialect, reads: list[bytes], *, stream: bool, document: bool, told: bool
) -> tuple[bytes, object, bool, Usage]:
    question = _question(client, stream=stream, told=told)
    asked = _asked(client, question, stream=stream)
    answer = make_plan(asked, _provider(upstream), "m", strict=False).answer(document)
    out = b""
    for read in reads:
        if stream and answer.ended:
            break
        out += answer.feed(read)
    if not (stream and answer.ended):
        out += answer.finish()
    if answer.continuation is not None:
        out += answer.give_up()  # type: ignore[attr-defined]  # whoever continues can
    if not answer.ended:
        out += answer.fail(GatewayError(Kind.DISCONNECTED))
    assert answer.ended
    usage = answer.usage()
    assert all(type(one) is int and 0 <= one < _BIG for one in usage[:9]), usage
    str(answer.answer_id).encode("utf-8", "replace")
    if answer.error is not None:
        for write in _ERROR_WRITERS.values():
            orjson.dumps(write(answer.error, "req_1"))
    elif not stream:
        assert isinstance(orjson.loads(out), dict | list)
    if client != _native(upstream) and stream:
        _well_formed(out)
    return out, answer.error and answer.error.kind, answer.committed, usage


def _well_formed(out: bytes) -> None:
    """Assert that every frame of a translated stream is one event whose data is JSON."""
    frames = out.split(b"\n\n")
    assert frames.pop() == b"", out[-100:]
    for frame in frames:
        if frame.startswith(b":"):
            continue
        event = parse_block(frame)
        assert event is not None, frame
        assert event.data == b"[DONE]" or is_json(event.data), frame


def _native(upstream: Dialect) -> str:
    return CLIENTS[("openai-chat", "anthropic", "openai-responses", "gemini").index(upstream)]


@cache
def _provider(upstream: Dialect, *, official: bool = False) -> Provider:
    flags = Flags(official=official)
    return Provider(
        name="up", base_url="http://up.test", dialects=(upstream,), auth="none", flags=flags
    )


def _question(client: str, *, stream: bool, told: bool) -> dict[str, Any]:
    """Return a request; ``told`` asks for everything that an answer can have."""
    more: dict[str, Any]
    tool = {"type": "object", "properties": {"a": {"type": "integer"}}}
    match client:
        case "gemini":
            more = {"tools": [{"functionDeclarations": [{"name": "f", "parameters": tool}]}]}
            return {"contents": [{"parts": [{"text": "Hi"}]}], **(more if told else {})}
        case "responses":
            more = {"tools": [{"type": "function", "name": "f", "parameters": tool}]}
            return {"model": "m", "input": "Hi", "stream": stream, **(more if told else {})}
        case "messages":
            more = {"tools": [{"name": "f", "input_schema": tool}]}
        case _:
            function = {"name": "f", "parameters": tool}
            more = {
                "tools": [{"type": "function", "function": function}],
                "reasoning_effort": "high",
                "stream_options": {"include_usage": True},
            }
    turns = [{"role": "user", "content": "Hi"}]
    base = {"model": "m", "max_tokens": 99, "stream": stream, "messages": turns}
    return {**base, **(more if told else {})}


def _asked(client: str, document: dict[str, Any], *, stream: bool, body: bytes = b"") -> Asked:
    numbers = count()
    return Asked(
        dialect=client,  # type: ignore[arg-type]  # one of CLIENTS
        body=body or orjson.dumps(document),
        document=document,
        edited=False,
        model="m",
        stream=stream,
        request_id="req_1",
        now=1.0,
        mint=lambda: f"{next(numbers):024x}",
        recall=lambda _: None,
        remember=lambda *_: None,
    )


def refusals(data: bytes) -> None:
    """Whatever an upstream refuses with, every dialect can tell it."""
    if len(data) < 2:
        return
    status = 400 + data[0] % 200
    name, value, *rest = (*data[1:].split(b"\n", 2), b"", b"")
    error = refusal.classify(status, {name.lower(): value}, rest[0])
    assert error.retry_after is None or 0 <= error.retry_after < _BIG
    for write in _ERROR_WRITERS.values():
        orjson.dumps(write(error, "req_1"))


# Requests of clients.


def requests(client: str, data: bytes) -> None:
    """A request is a call of each upstream, or refused in the client's dialect; in no case does it fail."""
    if not data:
        return
    shape, body = data[0], data[1:]
    model = MODELS[(shape >> 3) % len(MODELS)]
    try:
        document = parse_object(body)
    except GatewayError as error:
        _refusable(client, error)
        return
    makers: list[Callable[..., Any]] = [partial(make_plan, strict=bool(shape & 2))]
    if client != "chat":
        makers.append(make_count_plan)
    for upstream in UPSTREAMS:
        provider = _provider(upstream, official=bool(shape & 1))
        for make in makers:
            try:
                _planned(client, body, orjson.loads(body), provider, model, make)
            except GatewayError as error:
                _refusable(client, error)
    assert document == orjson.loads(body)


def _planned(
    client: str,
    body: bytes,
    document: dict[str, Any],
    provider: Provider,
    model: str,
    make: Callable[..., Any],
) -> None:
    stream = False
    if client == "gemini":
        document = gemini_native.unwrapped(document)
    else:
        stream = bool(boolean(document, "stream"))
    border.check(client, document)
    asked = _asked(client, document, stream=stream, body=body)
    plan = make(asked, provider, model)
    if plan is None:
        return
    assert isinstance(orjson.loads(plan.body), dict)
    assert dropped_header(plan.dropped).isprintable()
    assert plan.path.isprintable(), plan.path
    assert " " not in plan.path
    assert asked.estimate_input() >= 0
    limit = asked.output_limit
    assert limit is None or limit >= 0
    assert 1 <= asked.choices <= border.MAX_CHOICES
    _ = plan.answer(bool(plan.body))


def embeddings(data: bytes) -> None:
    """The same for what is to be embedded."""
    if not data:
        return
    client, body = ("gemini" if data[0] & 1 else "chat"), data[1:]
    for upstream in UPSTREAMS:
        try:
            document = parse_object(body)
            vectors.check(client, document)
            asked = _asked(client, document, stream=False, body=body)
            plan = vectors.make_embedding_plan(asked, _provider(upstream), "m", strict=False)
            assert isinstance(orjson.loads(plan.body), dict)
            _ = plan.answer(bool(plan.body))
        except GatewayError as error:
            _refusable(client, error)


def _refusable(client: str, error: GatewayError) -> None:
    assert 400 <= error.status < 500, error
    orjson.dumps(_ERROR_WRITERS[client](error, "req_1"))


# Files.


def journals(data: bytes) -> None:
    """What is read of a segment is what the plain rule reads; a record that is a row can be booked or is put aside."""
    if not data:
        return
    segment = _sealed(data[1:]) if data[0] & 1 else data[1:]
    found = list(journal.scan(segment))
    assert [(line.record, line.raw) for line in found] == _plain_lines(segment)
    if found:
        middle = found[len(found) // 2]
        assert list(journal.scan(segment, middle.after)) == found[len(found) // 2 + 1 :]
    opened = _database()
    for line in found:
        if line.record is None:
            continue
        try:
            kind, row = entry.decode(line.record)
        except ValueError:
            continue
        assert len(row) == len(entry.COLUMNS)
        row = entry.cleaned(row)
        assert entry.decode(entry.encode(kind, row)) == (kind, row)
        try:
            opened.execute(_INSERT, row)
        except _POISON:
            pass
        finally:
            opened.rollback()


def _sealed(data: bytes) -> bytes:
    """Return the lines of ``data`` as records: with it a fuzzer gets past the checksum."""
    lines = data.split(b"\n")
    return b"".join(b"%08x %b\n" % (crc32(line), line) for line in lines)


def _plain_lines(segment: bytes) -> list[tuple[bytes | None, bytes]]:
    *lines, _ = segment.rstrip(b"\0").split(b"\n")
    return [(line[9:] if line[:9] == b"%08x " % crc32(line[9:]) else None, line) for line in lines]


@cache
def _database() -> sqlite3.Connection:
    opened = sqlite3.connect(":memory:")
    for script in database._MIGRATIONS:
        opened.executescript((_ROOT / "proxy/billing" / script).read_text())
    return opened


def configurations(data: bytes) -> None:
    """A text is a configuration, or has faults of one line each that do not show its secrets."""
    text = data.decode("utf-8", "replace")
    environ = {"A_KEY": "the-secret-of-the-environment"}
    faults: tuple[str, ...] = ()
    try:
        loads(text, _ROOT / "config.toml", environ)
    except ConfigError as error:
        faults = error.faults or ("nothing",)
    for fault in faults:
        assert fault != "nothing"
        assert fault.isprintable(), fault
        assert environ["A_KEY"] not in fault, fault


TARGETS: dict[str, Target] = {
    "sse": sse,
    **{f"answers-{upstream}": partial(answers, upstream) for upstream in UPSTREAMS},
    **{f"requests-{client}": partial(requests, client) for client in CLIENTS},
    "embeddings": embeddings,
    "refusals": refusals,
    "journal": journals,
    "config": configurations,
}
