"""Native mode: a provider's own paths behind its name, with the body as it is.

Rules that hold here:

1. A path is one of those that call a model, or that ask for an object of the key; any other wants ``native = "all"`` on the key.
2. The model is the provider's own name for it, and nobody but that provider is asked.
3. Errors are told in the dialect of the path.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal
from urllib.parse import urlsplit

from proxy.config.model import Key, Target
from proxy.dialects import border
from proxy.dialects.embeddings import check as check_embedding
from proxy.dialects.passed import Opaque, Passed, form_of, free
from proxy.dialects.plan import Passing, Plan, pass_on
from proxy.dialects.query import CALLS, kept
from proxy.dialects.spoken import CLIENTS, ClientDialect
from proxy.dialects.untouched import make_untouched_plan
from proxy.errors import GatewayError, Kind
from proxy.providers import RESERVED, Dialect, Provider
from proxy.routing.catalog import Route
from proxy.server import gemini_path, media, passthrough, stored
from proxy.server.endpoints import carry, check_books, read_asked, start
from proxy.server.exchange import Exchange
from proxy.server.gateway import Endpoint, Gateway
from proxy.server.ownership import hold
from proxy.server.passed_request import opaque, passed_method, passed_query
from proxy.server.passed_route import check_allowed, own_route
from proxy.server.upload import Upload

TEMPLATE = "/{provider}/{path}"
"""The route of all of them, as logs and metrics tell it."""

METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
Sort = Literal["answer", "embed", "count"]
_CALLS: dict[str, tuple[ClientDialect, Sort]] = {
    "/v1/chat/completions": ("chat", "answer"),
    "/v1/embeddings": ("chat", "embed"),
    "/v1/responses": ("responses", "answer"),
    "/v1/responses/input_tokens": ("responses", "count"),
    "/v1/messages": ("messages", "answer"),
    "/v1/messages/count_tokens": ("messages", "count"),
}
_OF_GEMINI: dict[str, Sort] = {
    "generateContent": "answer",
    "streamGenerateContent": "answer",
    "countTokens": "count",
    "embedContent": "embed",
    "batchEmbedContents": "embed",
}
_OPENAIS: tuple[Dialect, ...] = ("openai-chat", "openai-responses")
_PREFIXES: dict[Dialect, str] = {"gemini": "/v1beta"}
_VERSION = re.compile(r"/v\d+[a-z0-9]*/")
_SAFE = re.compile(r"(?:/[A-Za-z0-9._~:@!$&'()*+,;=%-]+)+/?")
_CODED = re.compile(r"%(?:2f|5c|2e|00)", re.IGNORECASE)
_OURS = ("key",)
"""Parameters of a query that are for us."""
_PRINTABLE = re.compile(r"[\x20-\x7e]{1,256}")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a path leads: a provider, one of its dialects, and a path that begins with that dialect's version."""

    provider: Provider
    dialect: Dialect
    path: str


def provider_in(path: str, called: Mapping[str, str]) -> str | None:
    """Return the provider whose own path this is; ``called`` has the names of those that there are."""
    name, slash, _ = path[1:].partition("/")
    return called.get(name) if slash and name not in RESERVED else None


async def serve(gateway: Gateway, exchange: Exchange) -> None:
    """Answer a call of a provider's own path."""
    name, _, _ = exchange.path[1:].partition("/")
    found = gateway.catalog.called[name]
    providers = gateway.config.providers
    place = _place(providers[found], exchange.path[1 + len(name) :])
    exchange.record.route = TEMPLATE
    exchange.record.dialect = _words(place)
    key = gateway.identify(exchange)
    exchange.record.key_hash = key.hash
    check_books(gateway)
    if not _SAFE.fullmatch(place.path) or _CODED.search(place.path) or "/../" in f"{place.path}/":
        raise GatewayError(Kind.UNKNOWN_OBJECT, f"There is nothing at {exchange.path[:128]}.")
    await _endpoint(place, exchange, key)(gateway, exchange)


def _place(provider: Provider, path: str) -> Place:
    """Return where ``path`` leads, which may repeat the path of the provider's address, and may leave out the version."""
    addresses = {
        dialect: provider.base_urls.get(dialect, provider.base_url) for dialect in provider.dialects
    }
    bases = {dialect: urlsplit(url).path.rstrip("/") for dialect, url in addresses.items()}
    for dialect, base in sorted(bases.items(), key=lambda one: -len(one[1])):
        if base and path.startswith(base + "/"):
            path = path[len(base) :]
            return Place(provider, _dialect(provider, path, dialect), _versioned(path, dialect))
    dialect = _dialect(provider, path, provider.dialects[0])
    return Place(provider, dialect, _versioned(path, dialect))


def _versioned(path: str, dialect: Dialect) -> str:
    return path if _VERSION.search(path) else _PREFIXES.get(dialect, "/v1") + path


def _dialect(provider: Provider, path: str, usual: Dialect) -> Dialect:
    """Return which dialect of ``provider`` the path belongs to, where it has several."""
    wanted: Dialect = usual
    if "/messages" in path:
        wanted = "anthropic"
    elif "/responses" in path:
        wanted = "openai-responses"
    elif gemini_path.method_of(_versioned(path, "gemini")) is not None:
        wanted = "gemini"
    elif usual in ("anthropic", "openai-responses"):
        wanted = "openai-chat"
    return wanted if wanted in provider.dialects else usual


def _words(place: Place) -> str:
    names = {client.native: name for name, client in CLIENTS.items()}
    return names[place.dialect]


def _endpoint(place: Place, exchange: Exchange, key: Key) -> Endpoint:
    """Return what answers, or raise the 403 of a path that this key may not use."""
    method = exchange.request.method
    name = place.provider.name
    called = _CALLS.get(place.path)
    if place.dialect == "gemini" and (verb := gemini_path.method_of(place.path)) is not None:
        called = ("gemini", _OF_GEMINI[verb])
    if method == "POST" and called is not None and _speaks(place.provider, called):
        return partial(_call, place=place, dialect=called[0], sort=called[1])
    if place.dialect in _OPENAIS:
        form = media.template(place.path)
        verbs = media.PATHS.get(form or "", {})
        surface = verbs.get("GET" if method == "HEAD" else method)
        if form is not None and surface is not None and "openai-chat" in place.provider.dialects:
            exchange.path = place.path
            return partial(passthrough.serve, form=form, surface=surface, within=name)
        if method in stored.methods_of(place.path):
            exchange.path = place.path
            return partial(stored.response, within=name)
    if key.native != "all":
        raise GatewayError(
            Kind.PATH_NOT_ALLOWED,
            f"{method[:16]} {place.path[:128]} calls no model, and this key may use nothing else of a provider's own "
            'paths: that takes `native = "all"`.',
        )
    return partial(_anything, place=place)


def _speaks(provider: Provider, called: tuple[ClientDialect, Sort]) -> bool:
    native = CLIENTS[called[0]].native
    return native in provider.dialects or (called == ("chat", "embed") and native in _OPENAIS)


def route_of(gateway: Gateway, key: Key, provider: str, model: str) -> Route:
    """Return the route of a provider's own ``model``, or raise the 404 or 403."""
    route = own_route(gateway, Target(provider=provider, model=model, order=1))
    check_allowed(key, route)
    return route


async def _call(
    gateway: Gateway, exchange: Exchange, *, place: Place, dialect: ClientDialect, sort: Sort
) -> None:
    """Call a model: metered, held for and paid for as on any path, with the body as it is."""
    key = gateway.identify(exchange)
    exchange.path = place.path
    asked, route = await read_asked(
        gateway,
        exchange,
        key,
        dialect,
        streams=sort == "answer",
        check=check_embedding if sort == "embed" else border.check,
        find=partial(route_of, gateway, key, place.provider.name),
    )
    asked.embeds = sort == "embed"
    route = await hold(gateway, key, asked, route)
    path = place.path + kept(exchange.query, CALLS[place.dialect])
    make = partial(make_untouched_plan, path=path, count=sort == "count")
    await carry(gateway, exchange, key, asked, route, make, counting=sort == "count")


async def _anything(gateway: Gateway, exchange: Exchange, *, place: Place) -> None:
    """Pass a request on whatever it is: what it makes is nobody's, and what it costs nobody knows."""
    key = gateway.identify(exchange)
    request = exchange.request
    upload = Upload(request, None, limit=gateway.config.server.max_upload, now=gateway.now)
    began = gateway.now()
    await upload.open(0)
    exchange.record.upload = gateway.now() - began
    asked, plan = _as_it_is(gateway, exchange, place, upload)
    target = Target(provider=place.provider.name, model="", order=1)
    reads = passed_method(exchange) == "GET"
    _, running = start(
        gateway,
        exchange,
        key,
        asked,
        Route("", (target,), gateway.config.timeouts),
        lambda _, __: plan,
        tokens=None if reads else 0,
        free=reads,
        upload=None if upload.ended else upload,
    )
    await running


def _as_it_is(
    gateway: Gateway, exchange: Exchange, place: Place, upload: Upload
) -> tuple[Opaque, Plan]:
    """Return what is asked, and how it goes out, of a request that nobody looks into."""
    request = exchange.request
    kind = request.headers.get("content-type", "application/octet-stream")
    body = upload.opening(None)
    dialect = next(name for name, one in CLIENTS.items() if one.native == place.dialect)
    asked = opaque(gateway, exchange, dialect, body)
    has_body = bool(body) or not upload.ended
    passing = Passing(
        content_type=(
            (kind if _PRINTABLE.fullmatch(kind) else "application/octet-stream").encode()
            if has_body or request.method in ("POST", "PUT", "PATCH")
            else None
        ),
        accept=b"*/*",
        answer=lambda status, headers: Passed(
            form_of(status, headers),
            place.provider.flags,
            free,
            lambda error: gateway.means.frame_error[dialect](error, exchange.request_id),
        ),
        method=passed_method(exchange),
    )
    return asked, pass_on(
        passing, place.dialect, place.path + passed_query(exchange.query, _OURS), body
    )
