"""Who is asked for what is passed on."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import parse_qsl

from proxy.billing.objects import Object
from proxy.config.model import Key, Target
from proxy.errors import GatewayError, Kind, invalid
from proxy.providers import ALIASES, Dialect, Offer
from proxy.routing.catalog import Route
from proxy.server.endpoints import fallbacks
from proxy.server.exchange import Exchange
from proxy.server.gateway import Gateway
from proxy.server.media import Surface
from proxy.server.ownership import kept_to
from proxy.server.passed_request import Request

DIALECT: Dialect = "openai-chat"
"""Whoever speaks it may have the rest of OpenAI's paths."""


def check_batch(gateway: Gateway, key: Key) -> None:
    """Raise the 403 of a key whose spending is limited: what a batch costs is known when it is done."""
    if gateway.means.wallets.of(key):
        raise GatewayError(
            Kind.MODEL_NOT_ALLOWED,
            "A batch is paid for when it is done, so a key with a budget or a credit may not start one.",
        )


def check_inherited(gateway: Gateway, key: Key) -> None:
    """Raise the 403 of such a key where nothing but a video says of which model another is made: nobody knows what it costs."""
    if gateway.means.wallets.of(key):
        raise GatewayError(
            Kind.MODEL_NOT_ALLOWED,
            "What a video costs that is made of another is not known, so a key with a budget or a credit may not make one.",
        )


def route_of(
    gateway: Gateway,
    exchange: Exchange,
    key: Key,
    surface: Surface,
    request: Request,
    about: Object | None,
) -> Route:
    """Return who can be asked: by the model, else by the object, else by the provider."""
    model = _model(surface, request, about)
    if model is not None:
        route = _by_model(gateway, exchange, key, model)
        return route if about is None else kept_to(route, about)
    if about is not None:
        if gateway.pool.seat(about.account) is None:
            raise GatewayError(Kind.HOLDER_AWAY, retry_after=60)
        target = Target(provider=about.provider, model="", order=1, account=about.account)
    else:
        target = Target(provider=_provider(gateway, exchange, surface.offer), model="", order=1)
    route = Route("", (target,), gateway.config.timeouts)
    if surface.named and not route.is_open_to(key.models):
        raise invalid("model", "`model` is missing: this key may not call every model.")
    return route


def route_within(
    gateway: Gateway,
    exchange: Exchange,
    key: Key,
    surface: Surface,
    request: Request,
    about: Object | None,
    provider: str,
) -> Route:
    """The same where a provider is called by its own paths, and the model is its own name for it."""
    model = _model(surface, request, about)
    account = about.account if about is not None else None
    target = Target(provider=provider, model=model or "", order=1, account=account)
    route = own_route(gateway, target)
    if surface.named:
        check_allowed(key, route)
    exchange.record.model_asked, exchange.record.model = model, route.name or None
    return route


def own_route(gateway: Gateway, target: Target) -> Route:
    """Return the route of a provider's own model by the provider's name for it, or raise the 404."""
    name = f"{target.provider}/{target.model}" if target.model else ""
    parts = target.model.split("/")
    if not {".", ".."}.isdisjoint(parts) or not gateway.pool.serving(target):
        raise GatewayError(
            Kind.UNKNOWN_MODEL, f"The model `{name[:128]}` does not exist here.", param="model"
        )
    return Route(name, (target,), gateway.config.timeouts)


def check_allowed(key: Key, route: Route) -> None:
    """Raise the 403 of a key that may not call the model of ``route``."""
    if not route.is_open_to(key.models):
        raise GatewayError(
            Kind.MODEL_NOT_ALLOWED,
            f"This key may not call the model `{route.name[:128]}`.",
            param="model",
        )


def _model(surface: Surface, request: Request, about: Object | None) -> str | None:
    """Return the model that the request names; None where it need not: it is free, or ``about`` says of which model it is made.

    Raises the 400 of one that is missing: a provider's own default has no price here.
    """
    if not surface.named:
        return None
    name = request.document.get("model")
    if name is None:
        if not surface.free and not (surface.inherits and about is not None):
            raise invalid("model", "`model` is missing.")
        return None
    if not isinstance(name, str) or not name:
        raise invalid("model", "`model` must be the name of a model.")
    return name


def _by_model(gateway: Gateway, exchange: Exchange, key: Key, name: str) -> Route:
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
    able = [name for name in ours if DIALECT in providers[name].dialects]
    known = [name for name in able if offer in (providers[name].offers or ())]
    return known or [name for name in able if providers[name].offers is None]


def _told(names: Sequence[str]) -> str:
    return ", ".join(sorted(names))


def fallback_routes(gateway: Gateway, key: Key, route: Route) -> list[Route]:
    """Return the routes of the model's fallbacks, as far as their providers can be asked for this."""
    found = []
    for one in fallbacks(gateway, key, route):
        targets = _able(gateway, one)
        if targets:
            found.append(Route(one.name, targets, one.timeouts))
    return found


def _able(gateway: Gateway, route: Route) -> tuple[Target, ...]:
    providers = gateway.config.providers
    return tuple(one for one in route.targets if DIALECT in providers[one.provider].dialects)
