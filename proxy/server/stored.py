"""Responses that a provider keeps: asked for by their ids, on the account that made them and by the key that did.

Another key's response, one that was deleted and one that never was are the same 404.
"""

from __future__ import annotations

import asyncio
import re
import sqlite3
from dataclasses import replace

from proxy.billing.ledger import ReadTooLong
from proxy.billing.objects import Kind as What
from proxy.billing.objects import Object
from proxy.config.model import Key, Target
from proxy.dialects.plan import Asked
from proxy.dialects.referring import references
from proxy.dialects.responses.stored import make_stored_plan
from proxy.errors import GatewayError, Kind, invalid, unknown_object
from proxy.relay.call import Call
from proxy.routing.catalog import Route
from proxy.server.exchange import Exchange
from proxy.server.gateway import Gateway
from proxy.server.guard import Guard

_PATH = re.compile(r"/v1/responses/([^/]+)(/cancel|/input_items)?")
_ID = re.compile(r"[A-Za-z0-9_-]{1,256}")
_METHODS = {"": ("GET", "DELETE"), "/cancel": ("POST",), "/input_items": ("GET",)}


def methods_of(path: str) -> tuple[str, ...]:
    """Return what a path below /v1/responses takes; nothing if it is none of ours."""
    found = _PATH.fullmatch(path)
    return _METHODS[found[2] or ""] if found is not None else ()


def template(path: str) -> str | None:
    """Return the route of such a path, or None."""
    found = _PATH.fullmatch(path)
    return f"/v1/responses/{{id}}{found[2] or ''}" if found is not None else None


async def response(gateway: Gateway, exchange: Exchange, *, within: str | None = None) -> None:
    """GET and DELETE /v1/responses/{id}, POST …/cancel, GET …/input_items; ``within`` is the only provider that is meant."""
    key = gateway.identify(exchange)
    found = _PATH.fullmatch(exchange.path)
    assert found is not None
    name, rest = found[1], found[2] or ""
    one = await _owned(gateway, key, name) if _ID.fullmatch(name) else None
    if one is None or one.kind != What.response or within not in (None, one.provider):
        raise unknown_object(name)
    if gateway.closing:
        raise GatewayError(Kind.DRAINING, "The gateway is shutting down; try again.", retry_after=1)
    await _ask(gateway, exchange, key, one, rest)
    if exchange.request.method == "DELETE":
        gateway.books.objects.forget(one)


async def hold(gateway: Gateway, key: Key, asked: Asked, route: Route) -> Route:
    """Return ``route`` as it is, or with the one account that has what ``asked`` refers to.

    Raises the 404 for what is not this key's, and the 400 where no account could have all of it or serve the model.
    """
    referred = [
        one
        for one in references(asked.dialect, asked.body, asked.document)
        if not _is_ours(one.param, asked, route)
    ]
    if not referred or not _is_kept_by_any(gateway, asked, route):
        return route
    held: Object | None = None
    for param, name in referred:
        one = await _owned(gateway, key, name)
        if one is None:
            raise unknown_object(name, param)
        if held is not None and one.account != held.account:
            raise invalid(
                param, f"`{name}` and `{held.id}` are with different accounts of the provider."
            )
        held = held or one
    assert held is not None
    account = held.account
    targets = tuple(
        replace(target, account=account)
        for target in route.targets
        if target.provider == held.provider
    )
    if not targets:
        raise invalid(
            "model",
            f"`{held.id}` was made with {held.provider}, which does not serve `{route.name[:128]}`.",
        )
    return replace(route, targets=targets, fallbacks=())


_NATIVE = {
    "responses": "openai-responses",
    "chat": "openai-chat",
    "messages": "anthropic",
    "gemini": "gemini",
}


def _is_kept_by_any(gateway: Gateway, asked: Asked, route: Route) -> bool:
    """Tell whether any target takes the request as it is; a translation refuses or drops what only a provider's store can do."""
    native = _NATIVE[asked.dialect]
    providers = gateway.config.providers
    return any(native in providers[target.provider].dialects for target in route.targets)


def _is_ours(param: str, asked: Asked, route: Route) -> bool:
    """Tell whether the operator's own settings for the model say so: what they refer to is theirs to give."""
    name = re.split(r"[.[]", param)[0]
    ours = (route.override.get(name), route.defaults.get(name))
    return name in asked.document and asked.document[name] in ours


async def _owned(gateway: Gateway, key: Key, name: str) -> Object | None:
    try:
        return await gateway.books.objects.owner(key.hash, name)
    except (ReadTooLong, sqlite3.Error) as error:
        raise GatewayError(Kind.LEDGER, retry_after=1, evidence=repr(error)) from error


async def _ask(gateway: Gateway, exchange: Exchange, key: Key, one: Object, rest: str) -> None:
    """Bring what ``one.account`` says about ``one`` to the client."""
    provider = gateway.config.providers.get(one.provider)
    if provider is None:
        raise GatewayError(Kind.HOLDER_AWAY, retry_after=60)
    plan = make_stored_plan(
        exchange.request.method if exchange.request.method != "HEAD" else "GET",
        one.id,
        rest,
        exchange.query,
        exchange.request_id,
    )
    stream = plan(provider, "").stream
    exchange.record.stream = stream
    asked = Asked(
        dialect="responses",
        body=b"",
        document={},
        edited=False,
        model="",
        stream=stream,
        request_id=exchange.request_id,
        now=gateway.clock(),
        mint=str,
        recall=lambda _: None,
        remember=lambda *_: None,
    )
    target = Target(provider=one.provider, model="", order=1, account=one.account)
    call = Call(
        gateway.means,
        asked,
        Route("", (target,), gateway.config.timeouts),
        exchange.delivery,
        exchange.record,
        exchange.request.headers,
        0.0,
        plan,
        exchange.request.task,
        key=key.hash,
        tokens=0,
        quotes=None,
    )
    await _run(gateway, exchange, call)


async def _run(gateway: Gateway, exchange: Exchange, call: Call) -> None:
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
        call.settle_failed(GatewayError(Kind.CLIENT_CLOSED, evidence="the client left"), 499)
        raise
    finally:
        gateway.leave(call)
        call.release()
        if isinstance(guard, Guard):
            guard.flow = None
