"""What each path does; the work itself is done further down."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from proxy.billing.books import RETRY_AFTER
from proxy.config.model import Key
from proxy.dialects import border
from proxy.dialects.asked import Asked
from proxy.dialects.conversation import Conversation
from proxy.dialects.counting import make_count_plan, told_count
from proxy.dialects.embeddings import check as check_embedding
from proxy.dialects.embeddings import make_embedding_plan
from proxy.dialects.fields import boolean, needed_string
from proxy.dialects.gemini import native as gemini_native
from proxy.dialects.plan import Plan, make_plan
from proxy.dialects.reply import Sealed
from proxy.dialects.spoken import ClientDialect
from proxy.errors import GatewayError, Kind, invalid
from proxy.providers import Provider
from proxy.relay.call import CLIENT_LEFT, Call, CannotCount
from proxy.relay.delivery import ARRAY_HEAD
from proxy.relay.record import Record
from proxy.relay.upload import Upload
from proxy.routing.catalog import Route
from proxy.routing.limits import Grant, Limiter, Refusal, admit, enter, standing
from proxy.server import gemini_path, read_on
from proxy.server.body import parse_object, read_body
from proxy.server.exchange import Exchange
from proxy.server.gateway import Gateway, preflight
from proxy.server.guard import Guard
from proxy.server.limit_headers import limit_fields
from proxy.server.ownership import hold

_BOM = b"\xef\xbb\xbf"
"""Some editors put it in front of a file that somebody then sends."""

Planner = Callable[[Asked, Provider, str], Plan | None]


async def chat_completions(gateway: Gateway, exchange: Exchange) -> None:
    """POST /v1/chat/completions."""
    await _model_call(gateway, exchange, "chat")


async def messages(gateway: Gateway, exchange: Exchange) -> None:
    """POST /v1/messages."""
    await _model_call(gateway, exchange, "messages")


async def responses(gateway: Gateway, exchange: Exchange) -> None:
    """POST /v1/responses."""
    await _model_call(gateway, exchange, "responses")


async def count_tokens(gateway: Gateway, exchange: Exchange) -> None:
    """POST /v1/messages/count_tokens."""
    await _count(gateway, exchange, "messages")


async def count_input_tokens(gateway: Gateway, exchange: Exchange) -> None:
    """POST /v1/responses/input_tokens."""
    await _count(gateway, exchange, "responses")


async def _count(gateway: Gateway, exchange: Exchange, dialect: ClientDialect) -> None:
    """Tell the tokens of a request: as the upstream counts them where it can, else estimated."""
    key = gateway.identify(exchange)
    asked, route = await read_asked(gateway, exchange, key, dialect, streams=False)
    route = await hold(gateway, key, asked, route)
    try:
        await carry(gateway, exchange, key, asked, route, make_count_plan, counting=True)
    except CannotCount:
        exchange.record.usage = None
        exchange.record.status = 200
        gateway.close_books(exchange)
        exchange.json(200, told_count(dialect, asked.estimate_input()))


async def generate_content(gateway: Gateway, exchange: Exchange) -> None:
    """POST /{v1,v1beta}/models/{id}:generateContent and :streamGenerateContent."""
    await _model_call(gateway, exchange, "gemini")


async def count_gemini_tokens(gateway: Gateway, exchange: Exchange) -> None:
    """POST /{v1,v1beta}/models/{id}:countTokens."""
    await _count(gateway, exchange, "gemini")


async def embeddings(gateway: Gateway, exchange: Exchange) -> None:
    """POST /v1/embeddings."""
    await _embed(gateway, exchange, "chat")


async def embed_content(gateway: Gateway, exchange: Exchange) -> None:
    """POST /{v1,v1beta}/models/{id}:embedContent and :batchEmbedContents."""
    await _embed(gateway, exchange, "gemini")


async def hello(_: Gateway, exchange: Exchange) -> None:
    """GET and HEAD /api/hello: Claude Code warms its connection up with it."""
    exchange.json(200, {"message": "hello"})


async def healthz(gateway: Gateway, exchange: Exchange) -> None:
    """GET /healthz: the process is alive."""
    exchange.json(200, {"status": "ok", "version": gateway.version})


async def readyz(gateway: Gateway, exchange: Exchange) -> None:
    """GET /readyz: new requests are welcome."""
    if gateway.draining:
        exchange.json(503, {"status": "draining"})
    elif not len(gateway.pool):
        exchange.json(503, {"status": "no account is configured"})
    else:
        exchange.json(200, {"status": "ready"})


def options(methods: str) -> Callable[[Gateway, Exchange], Awaitable[None]]:
    """Return the endpoint that answers OPTIONS for a path with these methods."""

    async def answer(gateway: Gateway, exchange: Exchange) -> None:
        exchange.empty(204, preflight(exchange, gateway.config.server.cors_origins, methods))

    return answer


# A model call.


@contextmanager
def uploading(gateway: Gateway, exchange: Exchange) -> Iterator[None]:
    """Note how long the body of a known key takes to come, or that its client has left before it was here."""
    began = gateway.now()
    try:
        yield
    except asyncio.CancelledError:
        exchange.record.error = GatewayError(
            Kind.CLIENT_CLOSED, evidence="the client left while it sent its body"
        )
        exchange.record.status = CLIENT_LEFT
        gateway.close_books(exchange)
        raise
    exchange.record.upload = gateway.now() - began


async def _embed(gateway: Gateway, exchange: Exchange, dialect: ClientDialect) -> None:
    await _model_call(
        gateway, exchange, dialect, make=make_embedding_plan, check=check_embedding, streams=False
    )


async def _model_call(
    gateway: Gateway,
    exchange: Exchange,
    dialect: ClientDialect,
    *,
    make: Callable[..., Plan] = make_plan,
    check: Callable[[str, dict[str, Any]], None] = border.check,
    streams: bool = True,
) -> None:
    key = gateway.identify(exchange)
    check_books(gateway)
    asked, route = await read_asked(gateway, exchange, key, dialect, streams=streams, check=check)
    asked.embeds = make is make_embedding_plan
    route = await hold(gateway, key, asked, route)
    strict = gateway.config.translation.strict
    await carry(gateway, exchange, key, asked, route, partial(make, strict=strict))


def check_books(gateway: Gateway) -> None:
    """Raise the 503 of a gateway that could not put down what a call costs."""
    if not gateway.books.open_for_calls:
        raise GatewayError(
            Kind.LEDGER,
            "The gateway cannot keep its books; try again later.",
            retry_after=RETRY_AFTER,
        )


def check_closing(gateway: Gateway) -> None:
    """Raise the 503 of a gateway that lets its last calls end."""
    if gateway.closing:
        raise GatewayError(Kind.DRAINING, "The gateway is shutting down; try again.", retry_after=1)


async def read_asked(
    gateway: Gateway,
    exchange: Exchange,
    key: Key,
    dialect: ClientDialect,
    *,
    streams: bool,
    check: Callable[[str, dict[str, Any]], None] = border.check,
    find: Callable[[str], Route] | None = None,
) -> tuple[Asked, Route]:
    """Read the request of ``key``; return it parsed, with the route of the model that it names.

    ``find`` looks for the route of a request whose body goes as it is.
    """
    exchange.record.key_hash = key.hash
    with uploading(gateway, exchange):
        body = await read_body(exchange.request, gateway.config.server.max_body)
    check_closing(gateway)
    body = body.removeprefix(_BOM)
    document = parse_object(body)
    called = gemini_path.called(exchange.path, exchange.query) if dialect == "gemini" else None
    name = called.model if called is not None else _model_name(document)
    exchange.record.model_asked = name
    route = gateway.route(key, name) if find is None else find(name)
    exchange.record.model = route.name
    if called is None:
        edited = _apply(document, route)
        stream = streams and bool(boolean(document, "stream"))
    else:
        request = gemini_native.unwrapped(document)
        edited = gemini_native.apply_settings(request, route.defaults, route.override)
        edited, document = edited or request is not document, request
        stream = called.stream
        if called.array:
            exchange.delivery.head = ARRAY_HEAD
    check(dialect, document)
    exchange.record.stream = stream
    asked = Asked(
        dialect=dialect,
        body=body,
        document=document,
        edited=edited,
        model=name,
        stream=stream,
        request_id=exchange.request_id,
        now=gateway.clock(),
        mint=partial(gateway.digits.take, 24),
        recall=partial(_recall, gateway, key),
        remember=partial(_remember, gateway, key),
        array=called is not None and called.array,
        sealed=find is not None,
    )
    return asked, route


async def carry(
    gateway: Gateway,
    exchange: Exchange,
    key: Key,
    asked: Asked,
    route: Route,
    plan: Planner,
    *,
    counting: bool = False,
) -> None:
    """Run the call of a model within the key's limits; whatever happens, its books are closed when this returns."""
    call, running = start(
        gateway,
        exchange,
        key,
        asked,
        route,
        partial(plan, asked),
        tokens=0 if counting or not gateway.counts_tokens else _about(asked),
        free=counting,
        fallbacks=fallbacks(gateway, key, route),
    )
    if call.watch is not None and not asked.stream:
        await read_on.look_after(exchange, gateway, call, call.watch, running)
    else:
        outlives = gateway.reads_on or call.watch is not None
        await (read_on.outlive(gateway, call, running) if outlives else running)


def start(
    gateway: Gateway,
    exchange: Exchange,
    key: Key,
    asked: Asked,
    route: Route,
    plan: Callable[[Provider, str], Plan | None],
    *,
    tokens: int | None,
    free: bool,
    fallbacks: Sequence[Route] = (),
    upload: Upload | None = None,
) -> tuple[Call, Coroutine[Any, Any, None]]:
    """Let a call in by the limits of its key; return it, and what runs it and closes its books whatever happens.

    ``tokens`` is as for ``let_in``. ``free``: it costs nothing. ``upload`` is what follows the body of the plan.
    """
    grant, left = let_in(gateway, exchange, key, route.name, asked.dialect, tokens)
    call = Call(
        gateway.means,
        asked,
        route,
        exchange.delivery,
        exchange.record,
        exchange.request.headers,
        gateway.random.random(),
        plan,
        exchange.request.task,
        key=key.hash,
        tokens=tokens or 0,
        quotes=None if free else gateway.means.tariff.quotes(key.price_multiplier),
        wallets=() if free else gateway.means.wallets.of(key),
        fallbacks=fallbacks,
        upload=upload,
    )
    return call, run(gateway, exchange, call, grant, left)


def let_in(
    gateway: Gateway, exchange: Exchange, key: Key, model: str, dialect: str, tokens: int | None
) -> tuple[Grant, Callable[[Gateway], bytes]]:
    """Let a call of ``model`` in by the limits of ``key``, of which its answer tells, or raise the 429.

    ``tokens`` is about how many it takes; None: it reads what is there, and is no request by the minute. Returned beside the
    grant is what the header lines are of a call that has taken nothing after all.
    """
    now = gateway.now()
    limiters = gateway.key_limits.of(key, model, now)
    grant = enter(limiters) if tokens is None else admit(limiters, tokens, now)
    fields = exchange.delivery.fields
    exchange.delivery.fields += limit_fields(standing(limiters, now), dialect, gateway.clock())
    if isinstance(grant, Refusal):
        gateway.means.metrics.limits.add((grant.limit,))
        raise grant.error()
    return grant, partial(_left, limiters, dialect, fields)


async def run(
    gateway: Gateway, exchange: Exchange, call: Call, grant: Grant, left: Callable[[Gateway], bytes]
) -> None:
    """Run a call that was let in; ``left`` returns the header lines of one that has taken nothing after all."""
    guard = exchange.request.protocol
    exchange.answering()
    gateway.enter(call)
    try:
        if isinstance(guard, Guard):
            guard.flow = call
        await call.run()
    except GatewayError as error:
        call.settle_failed(error, error.status)
        raise
    except asyncio.CancelledError:
        gone = GatewayError(Kind.CLIENT_CLOSED, evidence="the client left")
        call.settle_failed(gone, CLIENT_LEFT)
        raise
    finally:
        fault = sys.exception()
        if not call.is_settled and not isinstance(fault, CannotCount):
            # Told at the request's boundary; what was begun is booked here.
            call.settle_failed(GatewayError(Kind.INTERNAL, evidence=repr(fault)), 500)
        gateway.leave(call)
        call.release()
        if exchange.record.error is not None and not exchange.record.attempts:
            grant.cancel(gateway.now())
            exchange.delivery.fields = left(gateway)
        else:
            grant.release(_used(exchange.record), gateway.now())
        if isinstance(guard, Guard) and guard.flow is call:
            guard.flow = None


def _left(limiters: Sequence[Limiter], dialect: str, fields: bytes, gateway: Gateway) -> bytes:
    """Return ``fields`` with what is left of the limits now."""
    return fields + limit_fields(standing(limiters, gateway.now()), dialect, gateway.clock())


def _used(record: Record) -> int | None:
    """Return the tokens of a call that has ended: none if it came to nothing, None if nobody knows."""
    if record.usage is not None:
        return record.usage.total
    return 0 if record.error is not None else None


def _about(asked: Asked) -> int:
    """Return about how many tokens the call will take, for limits by the minute."""
    size = len(asked.body)
    prompt = size // 4 if size < _ESTIMATED_BY_SIZE else asked.estimate_input()
    if asked.dialect == "gemini":
        return prompt + gemini_native.output_limit(asked.document)
    wanted = 0
    for name in _OUTPUT_LIMITS:
        limit = asked.document.get(name)
        if type(limit) is int and limit > wanted:
            wanted = limit
    return prompt + wanted


def fallbacks(gateway: Gateway, key: Key, route: Route) -> list[Route]:
    """Return the routes of the model's fallbacks that ``key`` may call."""
    if not route.fallbacks:
        return []
    routes = [gateway.catalog.resolve(name) for name in route.fallbacks]
    return [one for one in routes if one is not None and one.is_open_to(key.models)]


_ESTIMATED_BY_SIZE = 64 * 1024
"""Bytes up to which a quarter of the body's size is a good enough guess; a larger one may hold an image."""
_OUTPUT_LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens")


def _model_name(document: dict[str, Any]) -> str:
    name = needed_string(document, "model")
    if not name:
        raise invalid("model", "`model` is empty, expected the name of a model.")
    return name


def _apply(document: dict[str, Any], route: Route) -> bool:
    """Fill in the model's defaults and set its overrides; tell whether that changed anything."""
    edited = False
    for name, value in route.defaults.items():
        if document.get(name) is None:
            document[name] = value
            edited = True
    for name, value in route.override.items():
        if document.get(name) != value:
            document[name] = value
            edited = True
    return edited


def _recall(gateway: Gateway, key: Key, conversation: Conversation) -> None:
    gateway.memory.recall(key.hash, conversation, gateway.now())


def _remember(gateway: Gateway, key: Key, call_id: str, seals: tuple[Sealed, ...]) -> None:
    gateway.memory.keep(key.hash, call_id, seals, gateway.now())
