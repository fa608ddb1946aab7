"""What is asked where it is passed on: its body read whole, or as far as says where it goes."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import parse_qsl, urlencode

from proxy.billing.objects import Kind as Made
from proxy.dialects.appraisal import APPRAISED, NOTHING, Appraisal
from proxy.dialects.form import Form, boundary_of, content_type_of
from proxy.dialects.passed import Opaque
from proxy.dialects.references import FORM, Reference, anywhere, in_form
from proxy.dialects.spoken import ClientDialect
from proxy.errors import invalid
from proxy.server.batch_lines import BatchLines
from proxy.server.body import parse_object, read_body
from proxy.server.exchange import Exchange
from proxy.server.gateway import Gateway
from proxy.server.media import Surface
from proxy.server.upload import Upload


@dataclass(slots=True, kw_only=True)
class Request:
    """What was read of a request: its ``body`` whole, or ``upload`` with the rest of it."""

    body: bytes
    document: Mapping[str, Any]
    """The fields that say something to us: all of a JSON body, some of a form's."""
    content_type: bytes | None
    upload: Upload | None = None
    beginning: Upload | None = None
    """A form that has ended within its beginning; like ``upload`` it can be asked for another model."""
    lines: BatchLines | None = None
    """What is in the file that is uploaded, if it is a batch's."""

    def references(self) -> Iterator[Reference]:
        """Yield what it refers to."""
        is_form = self.content_type != b"application/json"
        return in_form(self.document) if is_form else anywhere(self.document)


async def read(gateway: Gateway, exchange: Exchange, surface: Surface) -> Request:
    request = exchange.request
    kind = request.headers.get("content-type", "")
    is_form = kind.lower().startswith("multipart/")
    if surface.takes == "nothing" or (not is_form and surface.takes != "form"):
        body = await read_body(request, gateway.config.server.max_body)
        if surface.takes == "nothing":
            return Request(body=b"", document={}, content_type=None)
        if surface.of is not None and not body.strip():
            # To cancel or to mix again may need no words.
            return Request(body=b"{}", document={}, content_type=b"application/json")
        return Request(body=body, document=parse_object(body), content_type=b"application/json")
    if not is_form:
        raise invalid(None, "The body is no form: send it as multipart/form-data.")
    if surface.takes == "json":
        raise invalid(None, "The body is a form, expected JSON.")
    return await _read_form(gateway, exchange, surface, kind)


async def _read_form(gateway: Gateway, exchange: Exchange, surface: Surface, kind: str) -> Request:
    """Read the beginning of a form: up to its model, where it must name one, and no further than ``max_body``."""
    server = gateway.config.server
    boundary = boundary_of(kind)
    lines = BatchLines() if surface.makes is Made.file else None
    wanted = ("model", *APPRAISED, *FORM) if surface.named else ("purpose", *FORM)
    form = Form(boundary, wanted, lines.feed if lines is not None else None)
    upload = Upload(exchange.request, form, limit=server.max_upload, now=gateway.now)
    await upload.open(server.max_body, ("model",) if surface.named else ())
    if surface.named and not upload.ended and "model" not in form.fields:
        raise invalid(
            "model",
            f"`model` does not come within the first {server.max_body >> 20} MiB of the form: put it in front of the file.",
        )
    return Request(
        body=upload.opening(None),
        document=dict(form.fields),
        content_type=content_type_of(boundary),
        upload=None if upload.ended else upload,
        beginning=upload if upload.ended else None,
        lines=lines,
    )


def opaque(
    gateway: Gateway,
    exchange: Exchange,
    dialect: ClientDialect,
    body: bytes = b"",
    appraisal: Appraisal = NOTHING,
) -> Opaque:
    """Return what is asked by a request that nobody here reads as the call of a model; errors are told in ``dialect``."""
    return Opaque(
        dialect=dialect,
        body=body,
        document={},
        edited=False,
        model=exchange.record.model_asked or "",
        stream=False,
        request_id=exchange.request_id,
        now=gateway.clock(),
        mint=partial(gateway.digits.take, 24),
        recall=lambda _: None,
        remember=lambda _, __: None,
        appraisal=appraisal,
    )


def passed_method(exchange: Exchange) -> str:
    """Return the method that goes on. What answers a HEAD is the head of what answers a GET."""
    method = exchange.request.method
    return "GET" if method == "HEAD" else method


def passed_query(query: str, ours: Collection[str]) -> str:
    """Return what follows the path that goes on: the parameters of ``query`` but for ``ours``."""
    kept = [pair for pair in parse_qsl(query, keep_blank_values=True) if pair[0] not in ours]
    return f"?{urlencode(kept)}" if kept else ""
