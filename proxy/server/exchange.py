"""One request and its answer at the edge: what every endpoint is given, and how it answers."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Any, cast

import orjson
from aiohttp import HttpVersion10, web
from multidict import istr

from proxy.config.model import Network
from proxy.dialects.chat.shapes import write_error as write_openai_error
from proxy.dialects.gemini.encode import write_error as write_gemini_error
from proxy.dialects.messages.encode import write_error as write_messages_error
from proxy.errors import GatewayError, Kind
from proxy.relay.delivery import Delivery
from proxy.relay.outbox import Outbox
from proxy.relay.record import Record
from proxy.server.gemini_path import is_geminis
from proxy.server.guard import Guard, Written

_CLIENT_ID = re.compile(r"[\x21-\x7e]{1,128}")
_TRACE_PARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
# Made once: every look-up by a plain string folds its case again.
_X_REQUEST_ID = istr("x-request-id")
_TRACEPARENT = istr("traceparent")
_FAR_OFF = 60
"""Seconds. SDKs sleep for as long as they are told, so from here on they are told not to try again."""
_NEVER = 86_400
"""Seconds to tell a client whose budget has no end: somebody must raise it first."""

_GEMINI = ("/v1beta/", "/v1/models/")

_ERROR_WRITERS = {
    "chat": write_openai_error,
    "messages": write_messages_error,
    "responses": write_openai_error,
    "gemini": write_gemini_error,
}


class Exchange:
    """A request with its id, the record of it, and the connection on which it is answered."""

    __slots__ = ("delivery", "path", "query", "record", "request", "request_id")

    def __init__(
        self,
        request: web.BaseRequest,
        request_id: str,
        outbox: Outbox,
        *,
        now: float,
        draining: bool,
        cors: tuple[str, ...],
    ) -> None:
        transport = request.transport
        if transport is None:
            raise ConnectionResetError("the client has left")
        target = request._message.path  # noqa: SLF001 - the target as it was sent; the public ones decode it
        if target.startswith(("http://", "https://")):
            # The absolute form, as proxies are asked: a server must take it too (RFC 9112, 3.2.2).
            target = "/" + target.partition("://")[2].partition("/")[2]
        self.path, _, self.query = target.partition("?")
        self.request = request
        self.request_id = request_id
        headers = request.headers
        self.record = Record(
            request_id=self.request_id,
            started=now,
            route=self.path,
            dialect=dialect_of(self.path),
            client_request_id=_matching(_CLIENT_ID, headers.get(_X_REQUEST_ID)),
            trace_id=_trace_id(headers.get(_TRACEPARENT)),
        )
        fields = f"x-request-id: {self.request_id}\r\nrequest-id: {self.request_id}\r\n"
        if cors and (origin := headers.get("origin")) is not None:
            fields += cors_fields(origin, cors)
        self.delivery = Delivery(
            transport,
            outbox,
            fields=fields.encode(),
            http10=request.version == HttpVersion10,
            closing=draining or not request.keep_alive,
        )

    def written(self) -> Written:
        """Return what tells aiohttp that the answer is out."""
        return Written(self.request.protocol, keep_alive=self.delivery.keep_alive)

    def answering(self) -> None:
        """Note that bytes go out past aiohttp, which must not answer too."""
        guard = cast(Guard, self.request.protocol)
        guard.answering = True
        if guard.is_last:
            self.delivery.close_after()

    def json(self, status: int, document: Any) -> None:
        """Answer with a JSON document."""
        self.answering()
        self.record.status = status
        self.delivery.document(status, b"", orjson.dumps(document))

    def page(self, body: bytes, kind: bytes) -> None:
        """Answer with a document of the content type ``kind``."""
        self.answering()
        self.record.status = 200
        self.delivery.document(200, b"", body, kind=kind)

    def text(self, text: str) -> None:
        """Answer with plain text."""
        self.page(text.encode("utf-8", "replace"), b"text/plain; charset=utf-8")

    def empty(self, status: int, fields: bytes) -> None:
        """Answer with a head alone."""
        self.answering()
        self.record.status = status
        self.delivery.document(status, fields, b"")

    def refuse(self, error: GatewayError) -> None:
        """Answer with ``error`` in the dialect of the path; the connection closes if the body has not been read."""
        self.answering()
        if error.native_body is not None:
            body = error.native_body
        else:
            body = orjson.dumps(_ERROR_WRITERS[self.record.dialect](error, self.request_id))
        content = self.request.content
        if not content.is_eof() or content.exception() is not None:
            self.delivery.close_after()
            # What still comes is thrown away and not even parsed.
            self.request.protocol.close()
        self.delivery.document(error.status, _error_fields(error), body)


def dialect_of(path: str) -> str:
    """Return the dialect in which a path's errors are told, which is OpenAI's where the path is nobody's."""
    if path.endswith(("/messages", "/messages/count_tokens")):
        return "messages"
    if path.startswith("/v1/responses"):
        return "responses"
    # Every call pays for the first look, so that is a cheap one.
    return "gemini" if path.startswith(_GEMINI) and is_geminis(path) else "chat"


def cors_fields(origin: str, allowed: tuple[str, ...]) -> str:
    """Return the header lines that let a browser at ``origin`` read the answer, if it is allowed."""
    if origin not in allowed and not ("*" in allowed and origin.isascii()):
        return ""
    return f"Access-Control-Allow-Origin: {origin}\r\nVary: Origin\r\nAccess-Control-Expose-Headers: *\r\n"


def _error_fields(error: GatewayError) -> bytes:
    fields = []
    if error.allow is not None:
        fields.append(f"Allow: {error.allow}\r\n")
    if error.kind is Kind.UPGRADE:
        fields.append("Upgrade: HTTP/1.1\r\n")
    if error.status in (429, 503, 529):
        wait = error.retry_after or (_NEVER if error.kind is Kind.BUDGET else 1)
        fields.append(f"retry-after: {wait}\r\n")
        if wait > _FAR_OFF or error.kind is Kind.CANCELLED:
            fields.append("x-should-retry: false\r\n")
    elif error.everybody_failed:
        fields.append("x-should-retry: false\r\n")
    return "".join(fields).encode()


def _matching(pattern: re.Pattern[str], value: str | None) -> str | None:
    return value if value is not None and pattern.fullmatch(value) else None


def _trace_id(traceparent: str | None) -> str | None:
    found = _TRACE_PARENT.fullmatch(traceparent) if traceparent is not None else None
    return found[1] if found else None


def address_of(request: web.BaseRequest, trusted: tuple[Network, ...]) -> str | None:
    """Return the client's address: the peer's, or what a trusted proxy says of it; None for a unix socket.

    Of ``X-Forwarded-For`` the last address counts that is no trusted proxy's own: what stands before it, the client wrote.
    """
    transport = request.transport
    peer = transport.get_extra_info("peername") if transport is not None else None
    if not isinstance(peer, tuple):
        return None
    address = str(peer[0]).partition("%")[0]
    if trusted and _is_in(address, trusted):
        forwarded = ",".join(request.headers.getall("x-forwarded-for", ()))
        for hop in reversed([hop.strip() for hop in forwarded.split(",") if hop.strip()]):
            try:
                ip_address(hop)
            except ValueError:
                break
            address = hop
            if not _is_in(hop, trusted):
                break
    return address


def _is_in(address: str, networks: tuple[Network, ...]) -> bool:
    ip = ip_address(address)
    return any(ip in network for network in networks)
