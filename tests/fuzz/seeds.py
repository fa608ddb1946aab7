"""Where the fuzzer starts from, and how it changes what it has: bytes anywhere, and JSON as JSON."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from typing import Any
from zlib import crc32

import orjson

from tests.fuzz.targets import _ROOT, CLIENTS, UPSTREAMS
from tests.golden.cases import load
from tests.golden.dialects import NATIVE
from tests.integration import spoken
from tests.integration.gateway import account, config_text, upstream
from tests.unit.billing.rows import row


def _deep(levels: int) -> Any:
    """Return as many lists in one another; orjson reads 1,024 of them and writes 254."""
    value: Any = []
    for _ in range(levels):
        value = [value]
    return value


STRANGE: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 0.5, 1e308, -0.0, 2**31, 2**53 + 1, 2**63, 2**64, 10**30, "", "a", "\0", "\u2028", "\ud7ff",
    _deep(120), _deep(300), {"a": _deep(300)}, "\u202e", "🏳️‍🌈", "data: x\n\n", "[DONE]", "null", "1", "text", "user", "assistant", "tool", "error", [], [[]], [None], {},
    {"": None}, {"type": None}, {"type": "text"}, {"text": {}}, {"error": {}}, "data:image/png;base64,AA==", "x" * 300,
)  # fmt: skip
TOKENS = (
    b"\n\n", b"\r\n\r\n", b"\r", b"\r\r", b"data: ", b"data:", b"event: ", b"id: ", b"retry: 1\n", b": c\n\n", b"\xef\xbb\xbf",
    b"data: [DONE]\n\n", b"\0", b"\xff", b"\xed\xa0\x80", b"\\ud800", b"\\u0000", b"1e999", b"-0", b"[[[[", b"}}}}", b"NaN",
    b'{"error":1}', b'"usage":null', b"event: error\n", b"\xe2\x80\xa8",
)  # fmt: skip


def seeds(name: str) -> list[bytes]:
    """Return inputs of the target ``name`` that are what usually comes."""
    kind, _, which = name.partition("-")
    match kind:
        case "sse":
            return [bytes([seed]) + spoken.stream(one) for one in UPSTREAMS for seed in (0, 7)]
        case "answers":
            return _answers(which)
        case "requests":
            return [bytes([shape]) + body for body in _requests(which) for shape in (0, 9, 18, 27)]
        case "embeddings":
            texts = {"model": "m", "input": ["a", "b"], "encoding_format": "base64"}
            part = {"content": {"parts": [{"text": "a"}]}, "taskType": "RETRIEVAL_QUERY"}
            return [
                b"\0" + orjson.dumps(texts),
                b"\1" + orjson.dumps(part),
                b"\1" + orjson.dumps({"requests": [part]}),
            ]
        case "refusals":
            cases = [case.input for case in load() if case.direction == "error"]
            return [
                bytes([one.get("status", 500) % 200])
                + b"retry-after\n5\n"
                + json.dumps(one.get("body", {})).encode()
                for one in cases
            ]
        case "journal":
            records = [b"S" + orjson.dumps(row(number)) for number in range(3)]
            lines = b"".join(b"%08x %b\n" % (crc32(one), one) for one in records)
            return [b"\1" + b"\n".join(records), b"\0" + lines, b"\0" + lines + b"\0" * 8]
        case _:
            example = (_ROOT / "config.example.toml").read_text()
            given = re.sub(r"(?m)^# ?(?=[\[\w])", "", example)
            tables = re.split(r"(?m)^(?=\[)", given)
            plain = config_text(
                upstream("http://127.0.0.1:9"), account("spare", "up", weight="2"), _MODEL, _KEY
            )
            # A table that goes with nothing else is judged by itself.
            return [one.encode() for one in (plain, given, *tables) if one]


_MODEL = """[[models]]
name = "smart"
aliases = ["best"]
targets = ["up/m", { to = "up/n", order = 2, weight = 3 }]
cost = { input = 3.0, output = 15.0, cache_read = 0.3 }
defaults = { temperature = 0.2 }
timeouts = { idle = "10s" }
"""
_KEY = """[[keys]]
name = "of-the-environment"
key = { env = "A_KEY" }
models = ["smart", "up/*"]
rpm = 60
budget_usd = 5
budget_period = "month"
expires = 2027-01-01
allow_ip = ["10.0.0.0/8", "::1"]
"""
_TOML = (
    b"0", b"-1", b"1e400", b"nan", b"-inf", b"true", b'""', b'"a"', b"[]", b"{}", b"[[]]", b"1979-05-27", b"07:32:00", b'"0s"',
    b'"99999999999999999999d"', b'"-5s"', b'"1e9GiB"', b'"\\u0000"', b'"\\u202e\\n"', b'"http://[::1"', b'"unix:"', b'"*"', b'"a/b/c"',
    b"9223372036854775807", b"99999999999999999999999", b'{ env = "A_KEY" }', b'{ env = "NONE" }', b'{ file = "/dev/null" }',
    b'{ file = "\\u0000" }', b'"10.0.0.0/99"', b'"::/0"', b'["*", 1]', b'{ to = "up/m", order = -1 }', b"1" * 5000, b'"' + b"x" * 5000 + b'"',
)  # fmt: skip


def _answers(upstream: str) -> list[bytes]:
    found = []
    for shape in range(32):
        is_document = shape & 8
        body = (
            json.dumps(spoken.document(upstream)).encode()
            if is_document
            else spoken.stream(upstream, "He", "llo")
        )
        found.append(bytes([shape, 0]) + body)
    for case in load():
        side, _, form = case.direction.partition(".")
        if NATIVE.get(side.partition("→")[0]) != upstream:
            continue
        if form == "stream":
            body = b"".join(
                spoken.event(one) if "type" in one else spoken.data(one)
                for one in case.input["events"]
                if isinstance(one, dict)
            )
            found += [bytes([client | 4 | 16, 3]) + body for client in range(4)]
        elif form == "response":
            body = json.dumps(case.input["response"]).encode()
            found += [bytes([client | 8 | 16, 3]) + body for client in range(4)]
    return found


def _requests(client: str) -> list[bytes]:
    found = []
    for case in load():
        side, _, form = case.direction.partition(".")
        native = NATIVE.get(side.partition("→")[0])
        if form == "request" and native is not None and _client(native) == client:
            found.append(json.dumps(case.input["request"]).encode())
    return found


def _client(native: str) -> str:
    return CLIENTS[("openai-chat", "anthropic", "openai-responses", "gemini").index(native)]


# Changes.


def changed(
    name: str, data: bytes, rng: random.Random, bytewise: Callable[[bytes], bytes]
) -> bytes:
    """Return an input of ``name`` with something changed: a value in its JSON or TOML, or by ``bytewise``."""
    if name == "config":
        return bytewise(data) if rng.random() < 0.3 else _line_changed(data, rng)
    places = [match.span() for match in re.finditer(rb"\{.*\}", data)]
    if not places or rng.random() < 0.3:
        return bytewise(data)
    start, end = rng.choice(places)
    try:
        document = orjson.loads(data[start:end])
    except orjson.JSONDecodeError:
        return bytewise(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        document = _value_changed(document, rng)
    return data[:start] + json.dumps(document).encode() + data[end:]


def _value_changed(value: Any, rng: random.Random) -> Any:
    """Return ``value`` with one value somewhere in it replaced, removed, doubled, or put under another name."""
    if isinstance(value, dict) and value and rng.random() < 0.85:
        name = rng.choice(list(value))
        match rng.randrange(10):
            case 0:
                return {one: held for one, held in value.items() if one != name}
            case 1:
                return {**value, rng.choice(list(value)): value[name]}
            case _:
                return {**value, name: _value_changed(value[name], rng)}
    if isinstance(value, list) and value and rng.random() < 0.85:
        at = rng.randrange(len(value))
        match rng.randrange(10):
            case 0:
                return value[:at] + value[at + 1 :]
            case 1:
                return [*value, value[at]]
            case _:
                return [*value[:at], _value_changed(value[at], rng), *value[at + 1 :]]
    return rng.choice(STRANGE)


def _line_changed(data: bytes, rng: random.Random) -> bytes:
    """Return a configuration with one line of it given another value, doubled, moved or left out."""
    lines = data.split(b"\n")
    at = rng.randrange(len(lines))
    key, equals, _ = lines[at].partition(b"=")
    match rng.randrange(8):
        case 0:
            lines.insert(at, lines[at])
        case 1:
            lines.append(lines.pop(at))
        case 2:
            del lines[at]
        case 3:
            lines[at] = key[:-2] + b"x " + equals + b" 1"
        case _:
            lines[at] = key + b"= " + rng.choice(_TOML) if equals else lines[at]
    return b"\n".join(lines)


def bytes_changed(data: bytes, rng: random.Random) -> bytes:
    """Return ``data`` with a byte, a stretch or one of ``TOKENS`` put in, taken out or changed."""
    at = rng.randrange(len(data) + 1)
    match rng.randrange(5):
        case 0:
            return data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]
        case 1:
            return data[:at] + rng.choice(TOKENS) + data[at:]
        case 2:
            return data[:at] + data[at + rng.randrange(1, 30) :]
        case 3:
            return data[: at + rng.randrange(1, 60)] + data[at:]
        case _:
            return data[:1] + rng.randbytes(1) + data[2:]
