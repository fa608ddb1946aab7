"""Whose an object is: what a request refers to is its key's and on one account, or it is not there.

Another key's object, one that was deleted and one that never was are the same 404.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import replace

from proxy.billing.ledger import ReadTooLong
from proxy.billing.objects import Object
from proxy.config.model import Key
from proxy.dialects.asked import Asked
from proxy.dialects.references import Reference, in_call, replayed
from proxy.dialects.spoken import CLIENTS
from proxy.errors import GatewayError, Kind, invalid, unknown_object
from proxy.routing.catalog import Route
from proxy.server.gateway import Gateway


async def owned(
    gateway: Gateway,
    key: Key,
    name: str,
    kind: str | None = None,
    *,
    param: str | None = None,
    within: str | None = None,
) -> Object:
    """Return the object of ``key`` that is called ``name``, or raise the 404 of what never was.

    ``kind`` is what it must be, ``within`` the only provider that is meant.
    """
    try:
        found = await gateway.books.objects.owner(key.hash, name)
    except (ReadTooLong, sqlite3.Error) as error:
        raise GatewayError(Kind.LEDGER, retry_after=1, evidence=repr(error)) from error
    if found is None or kind not in (None, found.kind) or within not in (None, found.provider):
        raise unknown_object(name, param)
    return found


async def together(
    gateway: Gateway,
    key: Key,
    references: Iterable[Reference],
    *,
    about: Object | None = None,
    within: str | None = None,
) -> Object | None:
    """Return one of the objects of ``references``, ``about`` among them: one account has all of them. None: there are none.

    Raises the 404 for what is not this key's, and the 400 where no account could have all of it.
    """
    for param, name in references:
        one = await owned(gateway, key, name, param=param, within=within)
        about = about or one
        if one.account != about.account:
            raise invalid(
                param,
                f"`{name[:128]}` and `{about.id}` are with different accounts of the provider.",
            )
    return about


def kept_to(route: Route, held: Object) -> Route:
    """Return ``route`` with the one account that has ``held``, or raise the 400 of a model that its provider does not serve."""
    targets = tuple(
        replace(target, account=held.account)
        for target in route.targets
        if target.provider == held.provider
    )
    if not targets:
        raise invalid(
            "model",
            f"`{held.id}` was made with {held.provider}, which does not serve `{route.name[:128]}`.",
        )
    return replace(route, targets=targets, fallbacks=())


async def hold(gateway: Gateway, key: Key, asked: Asked, route: Route) -> Route:
    """Return ``route`` as it is, or with the one account that has what ``asked``, the call of a model, refers to.

    Raises the 404 for what is not this key's, and the 400 where no account could have all of it or serve the model.
    """
    referred = [
        one
        for one in in_call(asked.dialect, asked.body, asked.document)
        if not _is_ours(one.param, asked, route)
    ]
    said = replayed(asked.dialect, asked.body, asked.document)
    if not (referred or said) or not _is_kept_by_any(gateway, asked, route):
        return route
    await _refuse_anothers(gateway, key, said)
    if not referred:
        return route
    held = await together(gateway, key, referred)
    assert held is not None
    return kept_to(route, held)


async def _refuse_anothers(gateway: Gateway, key: Key, said: Sequence[Reference]) -> None:
    """Raise the 404 if any of ``said`` is another key's; what is nobody's goes on, and what is this key's wherever it is asked for."""
    try:
        found = await gateway.books.objects.of_others(key.hash, {one.id for one in said})
    except (ReadTooLong, sqlite3.Error) as error:
        raise GatewayError(Kind.LEDGER, retry_after=1, evidence=repr(error)) from error
    for param, name in said:
        if name in found:
            raise unknown_object(name, param)


def _is_kept_by_any(gateway: Gateway, asked: Asked, route: Route) -> bool:
    """Tell whether any target takes the request as it is; a translation refuses or drops what only a provider's store can do."""
    native = CLIENTS[asked.dialect].native
    providers = gateway.config.providers
    return any(native in providers[target.provider].dialects for target in route.targets)


def _is_ours(param: str, asked: Asked, route: Route) -> bool:
    """Tell whether the operator's own settings for the model say so: what they refer to is theirs to give."""
    name = re.split(r"[.[]", param)[0]
    ours = (route.override.get(name), route.defaults.get(name))
    return name in asked.document and asked.document[name] in ours
