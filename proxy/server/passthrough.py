"""Calls that are passed on: images, speech, files and the like go to the provider that has them, as they are.

Rules that hold here:

1. Who is asked is decided by the model that the request names, else by the objects that it refers to, else by the provider that it
   names, else by there being only one.
2. An object of a path or a body that the key did not make is not there, whatever the verb.
3. What a client sends reaches an upstream as its body alone: of its headers and its query nothing that we do not know goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any
from urllib.parse import parse_qsl, urlencode

from proxy.billing.objects import Kind as Made
from proxy.billing.objects import Object
from proxy.config.model import Key
from proxy.dialects.chat.encode import error_frame
from proxy.dialects.fields import boolean
from proxy.dialects.native import with_model
from proxy.dialects.passed import Opaque, Passed, form_of, read_usage
from proxy.dialects.plan import Passing, Plan
from proxy.dialects.references import outputs
from proxy.errors import GatewayError, Kind
from proxy.providers import Flags, Provider
from proxy.routing.catalog import Route
from proxy.server import batches, media, objects_list
from proxy.server.endpoints import check_books, check_closing, let_in, start
from proxy.server.exchange import Exchange
from proxy.server.gateway import Endpoint, Gateway
from proxy.server.media import Surface
from proxy.server.ownership import owned, together
from proxy.server.passed_request import TEXTS, Request, read
from proxy.server.passed_route import (
    DIALECT,
    check_batch,
    check_inherited,
    fallback_routes,
    route_of,
    route_within,
)
from proxy.usage import Usage

SPEECH = 1.4
"""Tokens of audio that a character of text is spoken in: some 1,250 a minute, in which 900 characters are read. Nobody tells."""
_OURS = ("key", "provider")
"""Parameters of a query that are for us."""
_ACCEPT = b"*/*"
Note = Callable[[Mapping[str, Any]], None]


def methods(form: str) -> Mapping[str, Endpoint]:
    """Return the endpoints of a template of ``media.PATHS``, by method."""
    return _ENDPOINTS[form]


def _endpoint(form: str, surface: Surface) -> Endpoint:
    async def endpoint(gateway: Gateway, exchange: Exchange) -> None:
        await serve(gateway, exchange, form, surface)

    return endpoint


async def serve(
    gateway: Gateway, exchange: Exchange, form: str, surface: Surface, within: str | None = None
) -> None:
    """Answer a call of ``surface``, whose path is of the template ``form``; ``within`` is the only provider that is meant."""
    key = gateway.identify(exchange)
    check_books(gateway)
    exchange.record.key_hash = key.hash
    if within is None:
        exchange.record.route = form
    about = None
    if surface.of is not None:
        wanted = media.object_in(exchange.path, form)
        about = await owned(gateway, key, wanted or "", surface.of, within=within)
    began = gateway.now()
    request = await read(gateway, exchange, surface)
    exchange.record.upload = gateway.now() - began
    check_closing(gateway)
    if surface.lists is not None:
        await _list(gateway, exchange, key, surface.lists, within)
        return
    if surface.makes is Made.batch:
        check_batch(gateway, key)
    about = await together(gateway, key, request.references(), about=about, within=within)
    if within is None:
        route = route_of(gateway, exchange, key, surface, request, about)
    else:
        route = route_within(gateway, exchange, key, surface, request, about, within)
    if surface.inherits and not route.name:
        check_inherited(gateway, key)
    if surface.makes is Made.batch and not route.is_open_to(key.models):
        raise GatewayError(
            Kind.MODEL_NOT_ALLOWED,
            "A batch may ask any model, and this key may not. Its models must allow all of the provider.",
        )
    if surface.of is Made.batch and about is not None and not await batches.is_paid(gateway, about):
        paid: Note = partial(batches.book, gateway, key, about)
    else:
        paid = _nothing
    await _carry(gateway, exchange, key, surface, request, route, about, paid)


async def _list(
    gateway: Gateway, exchange: Exchange, key: Key, kind: Made, within: str | None
) -> None:
    """Answer with a list, which is a request to an account for each object: it counts among those that run at a time."""
    grant, _ = let_in(gateway, exchange, key, "", "chat", None)
    try:
        await objects_list.serve(gateway, exchange, key, kind, within)
    finally:
        grant.release(0, gateway.now())


# Passing it on.


async def _carry(
    gateway: Gateway,
    exchange: Exchange,
    key: Key,
    surface: Surface,
    request: Request,
    route: Route,
    about: Object | None,
    note: Note,
) -> None:
    """Carry the call; ``note`` is told the document that answers it, before the client is."""
    asked = _asked(gateway, exchange, request, surface)
    reads = exchange.request.method in ("GET", "HEAD")
    _, running = start(
        gateway,
        exchange,
        key,
        asked,
        route,
        partial(_plan, exchange, surface, request, asked, about, note),
        tokens=None if reads else asked.estimate_input() + asked.most,
        free=surface.free,
        fallbacks=fallback_routes(gateway, key, route),
        upload=request.upload,
    )
    await running
    if surface.deletes and about is not None and exchange.record.error is None:
        gateway.books.objects.forget(about)


def _asked(gateway: Gateway, exchange: Exchange, request: Request, surface: Surface) -> Opaque:
    document = request.document
    limit = document.get("max_tokens")
    return Opaque(
        dialect="chat",
        body=request.body,
        document={},
        edited=False,
        model=exchange.record.model_asked or "",
        stream=False,
        request_id=exchange.request_id,
        now=gateway.clock(),
        mint=partial(gateway.digits.take, 24),
        recall=lambda _: None,
        remember=lambda _, __: None,
        texts=tuple(_texts(document)),
        most=limit if surface.ends and type(limit) is int and limit > 0 else 0,
    )


def _texts(document: Mapping[str, Any]) -> list[str]:
    values = [document.get(name) for name in TEXTS]
    flat = [one for value in values for one in (value if isinstance(value, list) else (value,))]
    return [one for one in flat if isinstance(one, str)]


def _plan(
    exchange: Exchange,
    surface: Surface,
    request: Request,
    asked: Opaque,
    about: Object | None,
    note: Note,
    provider: Provider,
    model: str,
) -> Plan:
    """Return how the request goes to ``model`` of ``provider``."""
    streams = request.content_type == b"application/json" and bool(
        boolean(dict(request.document), "stream")
    )
    passing = Passing(
        content_type=request.content_type,
        accept=b"text/event-stream" if streams else _ACCEPT,
        answer=partial(_answer, exchange, surface, asked, note, provider),
        lines=_range(exchange),
    )
    return Plan(
        dialect=DIALECT,
        native=True,
        path=exchange.path + _query(exchange.query),
        body=_body(request, model),
        stream=streams,
        dropped=frozenset(),
        answer=lambda _: Passed("bytes", provider.flags, Usage, lambda __: b""),
        passing=passing,
        method="GET" if exchange.request.method == "HEAD" else exchange.request.method,
        subject=about.id if about is not None else None,
    )


def _body(request: Request, model: str) -> bytes:
    form = request.upload or request.beginning
    if form is not None:
        return form.opening(model or None)
    if model and "model" in request.document:
        return with_model(request.body, dict(request.document), model)
    return request.body


def _answer(
    exchange: Exchange,
    surface: Surface,
    asked: Opaque,
    note: Note,
    provider: Provider,
    status: int,
    headers: Mapping[bytes, bytes],
) -> Passed:
    return Passed(
        "bytes" if surface.raw and status != 204 else form_of(status, headers),
        provider.flags,
        partial(_estimate, surface, asked, exchange.path),
        lambda error: error_frame(error, exchange.request_id),
        partial(_made, surface, note),
        _no_usage if surface.free else read_usage,
        needs_end=surface.ends,
    )


def _estimate(surface: Surface, asked: Opaque, path: str) -> Usage:
    """Return what a call has used of which nothing was told."""
    if surface.free or surface.offer not in ("audio", "completions"):
        return Usage()
    spoken = path == "/v1/audio/speech"
    characters = sum(map(len, asked.texts))
    return Usage(
        input=asked.estimate_input(),
        output=-int(-characters * SPEECH // 1) if spoken else 0,
        audio_output=-int(-characters * SPEECH // 1) if spoken else 0,
        estimated=True,
    )


def _query(query: str) -> str:
    kept = [pair for pair in parse_qsl(query, keep_blank_values=True) if pair[0] not in _OURS]
    return f"?{urlencode(kept)}" if kept else ""


def _range(exchange: Exchange) -> tuple[tuple[bytes, bytes], ...]:
    wanted = exchange.request.headers.get("range")
    if wanted is None or not wanted.isascii() or not wanted.isprintable() or len(wanted) > 128:
        return ()
    return ((b"Range", wanted.encode()),)


# What came of it.


def _nothing(_: Mapping[str, Any]) -> None:
    pass


def _no_usage(_: object, __: Flags) -> Usage | None:
    """Return what a call has used that is free. What a batch tells is its own, and not that of whoever asks."""
    return None


def _made(surface: Surface, note: Note, document: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what an answer tells that is its key's from now on."""
    note(document)
    found = []
    name = document.get("id")
    if surface.makes is not None and isinstance(name, str):
        found.append((surface.makes.value, name))
    if surface.offer == "batches":
        found += [(Made.file.value, one) for one in outputs(document)]
    return found


_ENDPOINTS: Mapping[str, Mapping[str, Endpoint]] = {
    form: {method: _endpoint(form, surface) for method, surface in verbs.items()}
    for form, verbs in media.PATHS.items()
}
