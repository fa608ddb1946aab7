"""Calls that are passed on: images, speech, files and the like go to the provider that has them, as they are.

Rules that hold here:

1. Who is asked is decided by the model that the request names, else by the objects that it refers to, else by the provider that it
   names, else by there being only one.
2. An object of a path or a body that the key did not make is not there, whatever the verb.
3. What a client sends reaches an upstream as its body alone: of its headers and its query nothing that we do not know goes on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import parse_qsl, urlencode

from proxy.billing.books import RETRY_AFTER
from proxy.billing.objects import Kind as Made
from proxy.billing.objects import Object
from proxy.config.model import Key, Target
from proxy.dialects import references
from proxy.dialects.chat.encode import error_frame
from proxy.dialects.fields import boolean
from proxy.dialects.form import Form, boundary_of, content_type_of
from proxy.dialects.native import with_model
from proxy.dialects.passed import Opaque, Passed, form_of
from proxy.dialects.plan import Passing, Plan
from proxy.errors import GatewayError, Kind, invalid, unknown_object
from proxy.providers import ALIASES, Dialect, Offer, Provider
from proxy.relay.call import Call
from proxy.routing.catalog import Route
from proxy.routing.limits import Refusal, admit, enter, standing
from proxy.server import media, objects_list
from proxy.server.body import parse_object, read_body
from proxy.server.endpoints import fallbacks, left, run
from proxy.server.exchange import Exchange
from proxy.server.gateway import Endpoint, Gateway
from proxy.server.limit_headers import limit_fields
from proxy.server.media import Surface
from proxy.server.upload import Upload
from proxy.usage import Usage

SPEECH = 1.4
"""Tokens of audio that a character of text is spoken in: some 1,250 a minute, in which 900 characters are read. Nobody tells."""
_DIALECT: Dialect = "openai-chat"
_OURS = ("key", "provider")
"""Parameters of a query that are for us."""
_TEXTS = ("prompt", "input", "query", "instructions")
_ACCEPT = b"*/*"


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
    if not gateway.books.open_for_calls:
        raise GatewayError(
            Kind.LEDGER,
            "The gateway cannot keep its books; try again later.",
            retry_after=RETRY_AFTER,
        )
    exchange.record.key_hash = key.hash
    if within is None:
        exchange.record.route = form
    about = None
    if surface.of is not None:
        wanted = media.object_in(exchange.path, form)
        about = await owned(gateway, key, wanted or "", surface.of)
        if within not in (None, about.provider):
            raise unknown_object(about.id)
    began = gateway.now()
    request = await _read(gateway, exchange, surface)
    exchange.record.upload = gateway.now() - began
    if gateway.closing:
        raise GatewayError(Kind.DRAINING, "The gateway is shutting down; try again.", retry_after=1)
    if surface.lists is not None:
        await objects_list.serve(gateway, exchange, key, surface.lists, within)
        return
    if surface.makes is Made.batch:
        _check_batch(gateway, key)
    about = await _referred(gateway, key, request, about)
    if about is not None and within not in (None, about.provider):
        raise unknown_object(about.id)
    if within is None:
        route = _route(gateway, exchange, key, surface, request, about)
    else:
        route = _route_within(gateway, exchange, key, surface, request, about, within)
    if surface.makes is Made.batch and not route.is_open_to(key.models):
        raise GatewayError(
            Kind.MODEL_NOT_ALLOWED,
            "A batch may ask any model, and this key may not. Its models must allow all of the provider.",
        )
    await _carry(gateway, exchange, key, surface, request, route, about)


# Reading.


async def _read(gateway: Gateway, exchange: Exchange, surface: Surface) -> Request:
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
    wanted = ("model", *_TEXTS, *references.FORM) if surface.named else references.FORM
    form = Form(boundary, wanted)
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
    )


# Whose it is.


async def owned(gateway: Gateway, key: Key, wanted: str, kind: str | None = None) -> Object:
    """Return the object of ``key`` that is called ``wanted``, or raise the 404 of what never was."""
    found = await gateway.books.objects.owner(key.hash, wanted)
    if found is None or (kind is not None and found.kind != kind):
        raise unknown_object(wanted)
    return found


async def _referred(
    gateway: Gateway, key: Key, request: Request, about: Object | None
) -> Object | None:
    """Return an object that the request is about, if it is about any: all of them are on one account."""
    if isinstance(request.document, dict) and request.content_type == b"application/json":
        found = list(references.in_request(request.document))
    else:
        found = [
            references.Reference(name, request.document[name])
            for name in references.FORM
            if name in request.document
        ]
    for reference in found:
        one = await gateway.books.objects.owner(key.hash, reference.id)
        if one is None:
            raise unknown_object(reference.id, reference.path)
        if about is not None and one.account != about.account:
            raise invalid(
                reference.path,
                f"`{reference.id[:128]}` is with another account than `{about.id}`: nobody has both.",
            )
        about = one
    return about


def _check_batch(gateway: Gateway, key: Key) -> None:
    """Raise the 403 of a key whose spending is limited: what a batch costs is known when it is done."""
    if gateway.means.wallets.of(key):
        raise GatewayError(
            Kind.MODEL_NOT_ALLOWED,
            "A batch is paid for when it is done, so a key with a budget or a credit may not start one.",
        )


def _route(
    gateway: Gateway,
    exchange: Exchange,
    key: Key,
    surface: Surface,
    request: Request,
    about: Object | None,
) -> Route:
    """Return who can be asked: by the model, else by the object, else by the provider."""
    if (surface.named and about is None) or (surface.named and request.document.get("model")):
        route = _by_model(gateway, exchange, key, surface, request)
        if about is None:
            return route
        targets = tuple(
            Target(provider=one.provider, model=one.model, order=one.order, account=about.account)
            for one in route.targets
            if one.provider == about.provider
        )
        if not targets:
            raise invalid(
                "model", f"`{route.name}` is not with the provider that has `{about.id}`."
            )
        return Route(route.name, targets, route.timeouts)
    if about is not None:
        if gateway.pool.seat(about.account) is None:
            raise GatewayError(Kind.HOLDER_AWAY, retry_after=60)
        target = Target(provider=about.provider, model="", order=1, account=about.account)
    else:
        target = Target(provider=_provider(gateway, exchange, surface.offer), model="", order=1)
    return Route("", (target,), gateway.config.timeouts)


def _route_within(
    gateway: Gateway,
    exchange: Exchange,
    key: Key,
    surface: Surface,
    request: Request,
    about: Object | None,
    provider: str,
) -> Route:
    """The same where a provider is called by its own paths, and the model is its own name for it."""
    model = request.document.get("model") if surface.named else None
    if model is not None and (not isinstance(model, str) or not model):
        raise invalid("model", "`model` must be the name of a model.")
    account = about.account if about is not None else None
    target = Target(provider=provider, model=model or "", order=1, account=account)
    name = f"{provider}/{model}" if model else ""
    route = Route(name, (target,), gateway.config.timeouts)
    if not gateway.pool.serving(target):
        raise GatewayError(
            Kind.UNKNOWN_MODEL, f"The model `{name[:128]}` does not exist here.", param="model"
        )
    if surface.named and not route.is_open_to(key.models):
        raise GatewayError(
            Kind.MODEL_NOT_ALLOWED,
            f"This key may not call the model `{name[:128]}`.",
            param="model",
        )
    exchange.record.model_asked, exchange.record.model = model, name or None
    return route


def _by_model(
    gateway: Gateway, exchange: Exchange, key: Key, surface: Surface, request: Request
) -> Route:
    name = request.document.get("model")
    if name is not None and (not isinstance(name, str) or not name):
        raise invalid("model", "`model` must be the name of a model.")
    if name is None:
        target = Target(provider=_provider(gateway, exchange, surface.offer), model="", order=1)
        route = Route("", (target,), gateway.config.timeouts)
        if not route.is_open_to(key.models):
            raise invalid("model", "`model` is missing: this key may not call every model.")
        return route
    exchange.record.model_asked = name
    route = gateway.route(key, name)
    exchange.record.model = route.name
    targets = _able(gateway, route)
    if not targets:
        raise GatewayError(
            Kind.UNKNOWN_OBJECT,
            f"The provider of `{name[:128]}` has no {exchange.record.route}.",
            param="model",
        )
    return Route(route.name, targets, route.timeouts, route.fallbacks)


def _provider(gateway: Gateway, exchange: Exchange, offer: Offer) -> str:
    """Return the provider that the request names, else the only one that is known to have this."""
    having = _having(gateway, offer)
    named = exchange.request.headers.get("x-splice-provider") or dict(
        parse_qsl(exchange.query)
    ).get("provider")
    if named is not None:
        found = named if named in having else ALIASES.get(named, "")
        if found in having:
            return found
        raise invalid(
            "provider",
            f"No provider `{named[:64]}` with {offer} is configured here; there is {_told(having) or 'none'}.",
        )
    if not having:
        raise GatewayError(Kind.UNKNOWN_OBJECT, f"No provider that is configured here has {offer}.")
    if len(having) > 1:
        raise invalid(
            "provider",
            f"Several providers have {offer}: say which in the header `x-splice-provider` ({_told(having)}).",
        )
    return having[0]


def _having(gateway: Gateway, offer: Offer) -> list[str]:
    """Return the providers with an account that are known to have it, else those of which nobody knows."""
    providers = gateway.config.providers
    ours = dict.fromkeys(account.provider for account in gateway.config.accounts)
    able = [name for name in ours if _DIALECT in providers[name].dialects]
    known = [name for name in able if offer in (providers[name].offers or ())]
    return known or [name for name in able if providers[name].offers is None]


def _told(names: Sequence[str]) -> str:
    return ", ".join(sorted(names))


# Passing it on.


async def _carry(
    gateway: Gateway,
    exchange: Exchange,
    key: Key,
    surface: Surface,
    request: Request,
    route: Route,
    about: Object | None,
) -> None:
    now = gateway.now()
    asked = _asked(gateway, exchange, request, surface)
    method = exchange.request.method
    limiters = gateway.key_limits.of(key, route.name, now)
    tokens = asked.estimate_input() + asked.most
    grant = enter(limiters) if method in ("GET", "HEAD") else admit(limiters, tokens, now)
    fields = exchange.delivery.fields
    exchange.delivery.fields += limit_fields(standing(limiters, now), asked.dialect, asked.now)
    if isinstance(grant, Refusal):
        gateway.means.metrics.limits.add((grant.limit,))
        raise grant.error()
    call = Call(
        gateway.means,
        asked,
        route,
        exchange.delivery,
        exchange.record,
        exchange.request.headers,
        gateway.random.random(),
        partial(_plan, exchange, surface, request, asked, about),
        exchange.request.task,
        key=key.hash,
        tokens=tokens,
        quotes=None if surface.free else gateway.means.tariff.quotes(key.price_multiplier),
        wallets=() if surface.free else gateway.means.wallets.of(key),
        fallbacks=_fallbacks(gateway, key, route),
        upload=request.upload,
    )
    await run(gateway, exchange, call, grant, partial(left, limiters, asked.dialect, fields))
    if surface.deletes and about is not None and exchange.record.error is None:
        gateway.books.objects.forget(about)


def _fallbacks(gateway: Gateway, key: Key, route: Route) -> list[Route]:
    """Return the routes of the model's fallbacks, as far as their providers can be asked for this."""
    found = []
    for one in fallbacks(gateway, key, route):
        targets = _able(gateway, one)
        if targets:
            found.append(Route(one.name, targets, one.timeouts))
    return found


def _able(gateway: Gateway, route: Route) -> tuple[Target, ...]:
    providers = gateway.config.providers
    return tuple(one for one in route.targets if _DIALECT in providers[one.provider].dialects)


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
    values = [document.get(name) for name in _TEXTS]
    flat = [one for value in values for one in (value if isinstance(value, list) else (value,))]
    return [one for one in flat if isinstance(one, str)]


def _plan(
    exchange: Exchange,
    surface: Surface,
    request: Request,
    asked: Opaque,
    about: Object | None,
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
        answer=partial(_answer, exchange, surface, asked, provider),
        lines=_range(exchange),
    )
    return Plan(
        dialect=_DIALECT,
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
    provider: Provider,
    status: int,
    headers: Mapping[bytes, bytes],
) -> Passed:
    return Passed(
        "bytes" if surface.raw and status != 204 else form_of(status, headers),
        provider.flags,
        partial(_estimate, surface, asked, exchange.path),
        lambda error: error_frame(error, exchange.request_id),
        partial(_made, surface),
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


def _made(surface: Surface, document: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what an answer tells that is its key's from now on."""
    found = []
    name = document.get("id")
    if surface.makes is not None and isinstance(name, str):
        found.append((surface.makes.value, name))
    if surface.offer == "batches":
        found += [(Made.file.value, one) for one in references.outputs(document)]
    return found


_ENDPOINTS: Mapping[str, Mapping[str, Endpoint]] = {
    form: {method: _endpoint(form, surface) for method, surface in verbs.items()}
    for form, verbs in media.PATHS.items()
}
