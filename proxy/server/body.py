"""The JSON body of a request, read whole and within limits."""

from __future__ import annotations

import asyncio
import json
import re
from collections import deque
from io import BytesIO
from typing import Any, cast

import orjson
from aiohttp import HttpVersion11, web
from multidict import istr

from proxy.errors import GatewayError, Kind, invalid
from proxy.server.guard import Guard

MAX_CONTAINERS = 200_000
"""Objects and arrays. A million empty ones parse for half a second; real bodies hold a few thousand."""
MAX_DEPTH = 100
_REWRITTEN = 1024 * 1024
"""Bytes up to which writing a document again costs less than looking for names in it."""
CRUMBS = 1024 * 1024
"""Bytes by which a body may take more than twice its size on the wire. A chunk for each byte takes six times its size, and most of
a second of CPU for each mebibyte."""
TICK = 5.0
"""Seconds between looks at a body that has not all come."""
_SPACED = re.compile(rb'"\s++:')
_BACKSLASH = ord("\\")
_LOOKS = 6
LEAST = 30 * 16 * 1024
"""Bytes in those 30 seconds: a phone in a tunnel does better, and a megabyte may take a minute."""
_EXPECT = istr("expect")
_CONTENT_ENCODING = istr("content-encoding")

_EMPTY = (
    "The request body is empty. A multi-line curl command loses everything after a line whose backslash is missing or is "
    "followed by a space."
)


async def read_body(request: web.BaseRequest, limit: int) -> bytes:
    """Return the body, of at most ``limit`` bytes and 200,000 brackets; those inside strings count too.

    Both are counted as the body arrives, so a hostile one is refused before it is all here; so are a body that comes too
    slowly and one that comes in crumbs.
    """
    check_head(request, limit)
    content = request.content
    if not content.is_eof():
        return await _gather(request, limit)
    # It came with its head, as nearly all do.
    body = content.read_nowait()
    # So many brackets take as many bytes.
    _check_amount(len(body), _brackets(body) if len(body) > MAX_CONTAINERS else 0, limit)
    return body


class Pace:
    """Whether a body comes fast enough: 16 KiB a second over any 30 seconds, looked at every five.

    Who sends nothing at all for that long is too slow as well.
    """

    __slots__ = ("_totals",)

    def __init__(self) -> None:
        self._totals = deque([0], maxlen=_LOOKS + 1)

    def is_too_slow(self, total: int) -> bool:
        """Note that ``total`` bytes have come, a ``TICK`` after the last look or after the head."""
        self._totals.append(total)
        return len(self._totals) > _LOOKS and total - self._totals[0] < LEAST


def parse_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object that ``body`` is, or raise the 400 that says where it is none."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if not body.strip():
            raise invalid(None, _EMPTY) from error
        raise invalid(
            None,
            f"The body is not valid JSON: {error.msg} at line {error.lineno} column {error.colno}.",
        ) from error
    if not isinstance(document, dict):
        raise invalid(None, f"The body is {_kind(document)}, expected a JSON object.")
    names = _count_names(document)
    # What is written as we would write it, as most SDKs do, has every name once.
    if (len(body) > _REWRITTEN or orjson.dumps(document) != body) and _may_repeat(body, names):
        json.loads(body.decode(), object_pairs_hook=_unique, parse_int=str, parse_float=str)
    return document


def _count_names(document: dict[str, Any]) -> int:
    """Return how many names the objects of ``document`` have, or raise the 400 of one that is nested too deep.

    Level by level, so that depth costs no stack.
    """
    names = 0
    level: list[Any] = [document]
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for one in level:
            if type(one) is dict:
                names += len(one)
                one = one.values()  # noqa: PLW2901 - a list is its own values
            below += [inner for inner in one if type(inner) is dict or type(inner) is list]
        if not below:
            return names
        level = below
    raise invalid(None, f"The body is nested deeper than {MAX_DEPTH} levels.")


def _may_repeat(body: bytes, names: int) -> bool:
    """Tell whether one of so many names may stand twice in an object of ``body``.

    Bodies go on as they are, and of two parsers one may take the first. There is a colon for each name; whoever puts space in
    front of one is looked at more closely.
    """
    return body.count(b'":') - _escaped(body) != names or _SPACED.search(body) is not None


def _escaped(body: bytes) -> int:
    """Return how often what looks like the end of a name is text in a string: an odd number of backslashes stands before it."""
    count = 0
    at = body.find(b'\\":')
    while at >= 0:
        first = at
        while body[first - 1] == _BACKSLASH:
            first -= 1
        count += (at - first + 1) % 2
        at = body.find(b'\\":', at + 3)
    return count


def _unique(pairs: list[tuple[str, Any]]) -> None:
    seen = set()
    for name, _ in pairs:
        if name in seen:
            raise invalid(
                name[:64], f"`{name[:64]}` stands twice in the same object: send it once."
            )
        seen.add(name)


async def _gather(request: web.BaseRequest, limit: int) -> bytes:
    content, guard = request.content, cast(Guard, request.protocol)
    ask_for_body(request)
    # Not a list of parts: joined they would be there twice.
    body = BytesIO()
    size = brackets = 0
    pace = Pace()
    while not content.at_eof():
        try:
            async with asyncio.timeout(TICK):
                while not content.at_eof():
                    part = await content.readany()
                    size += len(part)
                    brackets += _brackets(part)
                    _check_amount(size, brackets, limit)
                    if guard.body_wire > 2 * content.total_bytes + CRUMBS:
                        raise GatewayError(
                            Kind.BODY_TOO_LARGE,
                            "The body comes in chunks that are smaller than their framing.",
                        )
                    body.write(part)
        except TimeoutError:
            if pace.is_too_slow(content.total_bytes):
                raise GatewayError(
                    Kind.SLOW_BODY,
                    "The body comes too slowly: less than 16 KiB a second for 30 seconds.",
                ) from None
    broken = content.exception()
    if broken is not None:
        raise broken
    return body.getvalue()


def _brackets(part: bytes) -> int:
    return part.count(b"{") + part.count(b"[")


def _check_amount(size: int, brackets: int, limit: int) -> None:
    if size > limit:
        raise too_large(limit)
    if brackets > MAX_CONTAINERS:
        raise GatewayError(
            Kind.INVALID_REQUEST,
            f"The body holds more than {MAX_CONTAINERS:,} objects and arrays (brackets inside strings count too).",
        )


def ask_for_body(request: web.BaseRequest) -> None:
    """Let a client send its body that waits to be asked for it."""
    if request.transport is not None and _waits_to_be_asked(request):
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")


def check_head(request: web.BaseRequest, limit: int) -> None:
    """Raise the 413 or 415 of a body that is said to be larger than ``limit`` bytes, or encoded."""
    encoding = request.headers.get(_CONTENT_ENCODING, "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise GatewayError(
            Kind.ENCODING,
            f"The body is encoded as {encoding[:32]!r}; send it as it is, without content-encoding.",
        )
    length = request.content_length
    if length is not None and length > limit:
        raise too_large(limit)


def _waits_to_be_asked(request: web.BaseRequest) -> bool:
    """Tell whether the client holds its body back until it gets a 100, which HTTP/1.0 does not have."""
    expected = request.headers.get(_EXPECT, "")
    return expected.lower() == "100-continue" and request.version >= HttpVersion11


def too_large(limit: int) -> GatewayError:
    """Return the 413 of a body that is larger than ``limit`` bytes."""
    return GatewayError(Kind.BODY_TOO_LARGE, f"The body is larger than {limit / (1 << 20):g} MiB.")


def _kind(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case str():
            return "a string"
        case int() | float():
            return "a number"
        case _:
            return "an array"
