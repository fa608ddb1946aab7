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

from proxy.billing.objects import Kind as Made
from proxy.billing.objects import Object
from proxy.config.model import Key
from proxy.dialects.appraisal import appraise
from proxy.dialects.chat.native import with_usage_asked
from proxy.dialects.chat.shapes import error_frame
from proxy.dialects.completions import Completions
from proxy.dialects.fields import boolean
from proxy.dialects.native import with_model
from proxy.dialects.passed import Form, Opaque, Passed, form_of, read_usage
from proxy.dialects.plan import Passing, Plan, asks_usage, pass_on
from proxy.dialects.query import OBJECTS, kept
from proxy.dialects.references import outputs
from proxy.errors import GatewayError, Kind
from proxy.providers import Flags, Provider
from proxy.routing.catalog import Route
from proxy.server import batches, media, objects_list, read_on
from proxy.server.batch_lines import BatchLines
from proxy.server.endpoints import check_books, check_closing, let_in, start, uploading
from proxy.server.exchange import Exchange
from proxy.server.gateway import Endpoint, Gateway
from proxy.server.media import Surface
from proxy.server.ownership import owned, together
from proxy.server.passed_request import Request, opaque, passed_method, read
from proxy.server.passed_route import (
    DIALECT,
    check_batch,
    check_inherited,
    fallback_routes,
    route_of,
    route_within,
)
from proxy.server.upload import Upload
from proxy.usage import Usage

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
    with uploading(gateway, exchange):
        request = await read(gateway, exchange, surface)
    check_closing(gateway)
    if surface.lists is not None:
        await _list(gateway, exchange, key, surface.lists, within)
        return
    if surface.makes is Made.batch:
        check_batch(gateway, key)
    if request.lines is not None:
        await _watch_lines(gateway, key, request, request.lines)
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
    size = exchange.request.content_length or len(request.body)
    asked = opaque(gateway, exchange, "chat", request.body, appraise(form, request.document, size))
    plan = partial(
        _plan, exchange, surface, request, asked, about, paid, as_it_is=within is not None
    )
    await _carry(gateway, exchange, key, surface, asked, route, plan, request.upload)
    if surface.deletes and about is not None and exchange.record.error is None:
        gateway.books.objects.forget(about)


async def _watch_lines(gateway: Gateway, key: Key, request: Request, lines: BatchLines) -> None:
    """See to it that no line of a batch's file refers to what is not the key's, before its last byte goes on."""
    upload = request.upload or request.beginning
    refused: GatewayError | None = None

    async def check() -> None:
        nonlocal refused
        fields = upload.form.fields if upload is not None and upload.form is not None else {}
        lines.wanted = fields.get("purpose", "batch") == "batch"
        if lines.wanted and refused is None:
            try:
                for param, name in lines.take():
                    await owned(gateway, key, name, param=param)
            except GatewayError as error:
                refused = error
        found = lines.error or refused
        if found is not None and fields.get("purpose") == "batch":
            raise found

    if upload is not None:
        upload.check = check
        await check()


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
    asked: Opaque,
    route: Route,
    plan: Callable[[Provider, str], Plan],
    upload: Upload | None,
) -> None:
    reads = passed_method(exchange) == "GET"
    said = (asked.output_limit or 0) if surface.ends else 0
    call, running = start(
        gateway,
        exchange,
        key,
        asked,
        route,
        plan,
        tokens=None if reads else asked.estimate_input() + said,
        free=surface.free,
        fallbacks=fallback_routes(gateway, key, route),
        upload=upload,
    )
    outlives = gateway.reads_on and not surface.free
    await (read_on.outlive(gateway, call, running) if outlives else running)


def _plan(
    exchange: Exchange,
    surface: Surface,
    request: Request,
    asked: Opaque,
    about: Object | None,
    note: Note,
    provider: Provider,
    model: str,
    *,
    as_it_is: bool,
) -> Plan:
    """Return how the request goes to ``model`` of ``provider``."""
    document = dict(request.document)
    streams = request.content_type == b"application/json" and bool(boolean(document, "stream"))
    body = _body(request, model)
    asks = streams and surface.ends and provider.flags.stream_options and not as_it_is
    if asks:
        body = with_usage_asked(body, {**document, "model": model})
    swallows = asks and not asks_usage(document)
    passing = Passing(
        content_type=request.content_type,
        accept=b"text/event-stream" if streams else _ACCEPT,
        answer=partial(_answer, exchange, surface, asked, note, provider, swallows=swallows),
        lines=_range(exchange),
        method=passed_method(exchange),
        subject=about.id if about is not None else None,
    )
    path = exchange.path + kept(exchange.query, OBJECTS)
    return pass_on(passing, DIALECT, path, body, stream=streams)


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
    *,
    swallows: bool,
) -> Passed:
    form: Form = "bytes" if surface.raw and status != 204 else form_of(status, headers)
    estimate = partial(_estimate, surface, asked)

    def frame(error: GatewayError) -> bytes:
        return error_frame(error, exchange.request_id)

    if surface.ends and form == "events":
        return Completions(provider.flags, estimate, frame, swallows=swallows)
    return Passed(
        form,
        provider.flags,
        estimate,
        frame,
        partial(_made, surface, note),
        _no_usage if surface.free else read_usage,
    )


def _estimate(surface: Surface, asked: Opaque, answer: Passed) -> Usage:
    """Return what a call has used of which nothing was told."""
    read, most, answers = asked.appraisal
    match surface.offer:
        case "completions":
            said = answer.seen if answer.form == "events" else answer.size // 8
            return Usage(input=read, output=said, estimated=True)
        case "audio":
            speaks = surface.takes == "json"
            spoken, heard = (most or 0, 0) if speaks else (0, read)
            return Usage(
                input=read, output=most or 0, audio_output=spoken, audio_input=heard, estimated=True
            )
        case "images" if not answer.is_whole:
            # One that is whole and tells nothing is of a model that is paid for by the picture.
            return Usage(input=read, output=(most or 0) * answers, estimated=True)
        case _:
            return Usage()


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
