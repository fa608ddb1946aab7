"""Which models a key may call, and what is known of each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

from proxy.config.model import Key, Target
from proxy.dialects import capabilities
from proxy.routing.catalog import Route
from proxy.server import gemini_path, listing
from proxy.server.exchange import Exchange
from proxy.server.gateway import Gateway

_AT_ONCE = 32
"""Models."""


async def every(gateway: Gateway, exchange: Exchange) -> None:
    """GET /v1/models and /v1beta/models."""
    key = gateway.identify(exchange)
    shape = listing.shape_of(exchange.path, exchange.request.headers)
    page = listing.page_of(shape, exchange.query)
    names, more = listing.cut([name async for name in _callable(gateway, key)], page)
    entries: list[listing.Entry] = []
    for name in names:
        await _in_turn(len(entries))
        entries.append(describe(gateway, key, name, gateway.catalog.resolve(name)))
    exchange.json(200, listing.render(entries, shape, int(gateway.clock()), more=more))


async def one(gateway: Gateway, exchange: Exchange) -> None:
    """GET /v1/models/{id} and /v1beta/models/{id}, whose id may hold slashes."""
    key = gateway.identify(exchange)
    name = gemini_path.name_in(exchange.path)
    route = gateway.route(key, name, param="model")
    shape = listing.shape_of(exchange.path, exchange.request.headers)
    entry = describe(gateway, key, name, route)
    exchange.json(200, listing.render_one(entry, shape, int(gateway.clock())))


def describe(gateway: Gateway, key: Key, name: str, route: Route | None) -> listing.Entry:
    """Return what is known of ``name``, where its first target answers."""
    if route is None:
        return listing.Entry(name=name)
    target = route.targets[0]
    provider = gateway.config.providers[target.provider]
    tariff = gateway.means.tariff
    context, max_output = _limits(gateway, target)
    return listing.Entry(
        name=name,
        pricing=tariff.pricing(
            target.provider, target.model, route.name, key.price_multiplier, gateway.clock()
        ),
        context=context,
        max_output=max_output,
        dialects=provider.dialects,
    )


async def _callable(gateway: Gateway, key: Key) -> AsyncIterator[str]:
    """Yield the names that are listed for ``key``: those of the configuration, then what its providers serve."""
    for number, name in enumerate(dict.fromkeys((*gateway.catalog.listed(), *_served(gateway)))):
        await _in_turn(number)
        route = gateway.catalog.resolve(name)
        if route is not None and route.is_open_to(key.models):
            yield name


async def _in_turn(number: int) -> None:
    """Let others have the loop now and then: a reseller's thousand models take a tenth of a second the first time."""
    if number % _AT_ONCE == _AT_ONCE - 1:
        await asyncio.sleep(0)


def _served(gateway: Gateway) -> Iterator[str]:
    """Yield what the providers of accounts serve, as ``provider/model``: their own lists, else what the price list knows.

    A model that has a public name of the very same spelling is not listed twice.
    """
    public = {
        f"{target.provider}/{target.model}"
        for model in gateway.config.models
        for target in model.targets
        if target.model == model.name
    }
    for name in dict.fromkeys(account.provider for account in gateway.config.accounts):
        offered = gateway.offers.of(name)
        models = offered if offered is not None else _known(gateway, name)
        yield from (full for model in models if (full := f"{name}/{model}") not in public)


def _known(gateway: Gateway, provider: str) -> list[str]:
    if not gateway.config.providers[provider].lists_models:
        return []
    return gateway.means.tariff.listed.names(provider)


def _limits(gateway: Gateway, target: Target) -> tuple[int | None, int | None]:
    """Return the context and the longest output of a target: as its provider tells it, else as the price list or our own table."""
    offered = gateway.offers.find(target.provider, target.model)
    context = offered.context if offered is not None else None
    max_output = offered.max_output if offered is not None else None
    if context is None or max_output is None:
        listed = gateway.means.tariff.find(target.provider, target.model)
        if listed is not None:
            context = context or listed.context
            max_output = max_output or listed.max_output
    if max_output is None and target.model.rpartition("/")[2].startswith("claude-"):
        max_output = capabilities.claude(target.model).max_output
    return context, max_output
