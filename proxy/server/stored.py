"""Responses that a provider keeps: asked for by their ids, on the account that made them and by the key that did.

Another key's response, one that was deleted and one that never was are the same 404.
"""

from __future__ import annotations

import re

from proxy.billing.objects import Kind as What
from proxy.billing.objects import Object
from proxy.config.model import Key, Target
from proxy.dialects.responses.stored import make_stored_plan
from proxy.errors import GatewayError, Kind, invalid, unknown_object
from proxy.routing.catalog import Route
from proxy.server.endpoints import check_closing, start
from proxy.server.exchange import Exchange
from proxy.server.gateway import Gateway
from proxy.server.ownership import owned
from proxy.server.passed_request import opaque, passed_method

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
    if not _ID.fullmatch(name):
        raise unknown_object(name)
    one = await owned(gateway, key, name, What.response, within=within)
    check_closing(gateway)
    if exchange.request.method == "DELETE":
        await _settle(gateway, key, name)
    await _ask(gateway, exchange, key, one, rest)
    if exchange.request.method == "DELETE" and exchange.record.error is None:
        gateway.books.objects.forget(one)


async def _settle(gateway: Gateway, key: Key, name: str) -> None:
    """Close the books of a response that is looked after, since what it has used is gone with it. Raises the 400 of one that goes on."""
    for call in gateway.calls:
        watch = call.watch
        if watch is not None and watch.name == name and call.record.key_hash == key.hash:
            await watch.look()
            if not call.is_settled:
                raise invalid(
                    None, "The response is still being worked on: cancel it before you delete it."
                )
            return


async def _ask(gateway: Gateway, exchange: Exchange, key: Key, one: Object, rest: str) -> None:
    """Bring what ``one.account`` says about ``one`` to the client."""
    provider = gateway.config.providers.get(one.provider)
    if provider is None:
        raise GatewayError(Kind.HOLDER_AWAY, retry_after=60)
    plan = make_stored_plan(
        passed_method(exchange),
        one.id,
        rest,
        exchange.query,
        exchange.request_id,
    )
    asked = opaque(gateway, exchange, "responses")
    target = Target(provider=one.provider, model="", order=1, account=one.account)
    route = Route("", (target,), gateway.config.timeouts)
    tokens = None if passed_method(exchange) == "GET" else 0
    _, running = start(gateway, exchange, key, asked, route, plan, tokens=tokens, free=True)
    await running
