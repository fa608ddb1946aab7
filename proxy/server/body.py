"""The JSON body of a request, read whole and within limits."""

from __future__ import annotations

from typing import Any

import orjson
from aiohttp import web
from multidict import istr

from proxy.errors import GatewayError, Kind, invalid

MAX_CONTAINERS = 200_000
"""Objects and arrays. A million empty ones parse for half a second; real bodies hold a few thousand."""
MAX_DEPTH = 100
_EXPECT = istr("expect")
_CONTENT_ENCODING = istr("content-encoding")

_EMPTY = (
    "The request body is empty. A multi-line curl command loses everything after a line whose backslash is missing or is "
    "followed by a space."
)


async def read_body(request: web.BaseRequest, limit: int) -> bytes:
    """Return the body, of at most ``limit`` bytes and 200,000 brackets; those inside strings count too.

    Both are counted as the body arrives, so a hostile one is refused before it is all here.
    """
    _check_head(request, limit)
    if request.transport is not None and request.headers.get(_EXPECT, "").lower() == "100-continue":
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    content = request.content
    parts: list[bytes] = []
    size = brackets = 0
    while not content.at_eof():
        part = await content.readany()
        size += len(part)
        if size > limit:
            raise _too_large(limit)
        brackets += part.count(b"{") + part.count(b"[")
        if brackets > MAX_CONTAINERS:
            raise GatewayError(
                Kind.INVALID_REQUEST,
                f"The body holds more than {MAX_CONTAINERS:,} objects and arrays (brackets inside strings count too).",
            )
        parts.append(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


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
    if body.count(b"{") + body.count(b"[") > MAX_DEPTH and _depth_exceeds(document, MAX_DEPTH):
        raise invalid(None, f"The body is nested deeper than {MAX_DEPTH} levels.")
    return document


def _check_head(request: web.BaseRequest, limit: int) -> None:
    encoding = request.headers.get(_CONTENT_ENCODING, "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise GatewayError(
            Kind.ENCODING,
            f"The body is encoded as {encoding[:32]!r}; send it as it is, without content-encoding.",
        )
    length = request.content_length
    if length is not None and length > limit:
        raise _too_large(limit)


def _too_large(limit: int) -> GatewayError:
    return GatewayError(Kind.BODY_TOO_LARGE, f"The body is larger than {limit / (1 << 20):g} MiB.")


def _depth_exceeds(document: object, limit: int) -> bool:
    """Tell whether containers are nested deeper than ``limit``, level by level so that depth costs no stack."""
    level: list[object] = [document]
    for _ in range(limit):
        below: list[object] = []
        for container in level:
            values = container.values() if isinstance(container, dict) else container
            below += [value for value in values if isinstance(value, dict | list)]  # type: ignore[attr-defined]  # a list
        if not below:
            return False
        level = below
    return True


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
