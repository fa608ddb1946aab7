"""``[providers.NAME]`` and ``[[accounts]]``: where calls go, and with whose credential."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from decimal import Decimal
from types import MappingProxyType
from typing import get_args

from proxy.config import model, values
from proxy.config.errors import Wrong, nearest
from proxy.config.reader import Table
from proxy.config.sections import ON_DISCONNECT
from proxy.config.values import choice, many, word
from proxy.money import Period
from proxy.providers import (
    ALIASES,
    AUTHS,
    BUILTIN,
    DIALECTS,
    RESERVED,
    Auth,
    Dialect,
    Flags,
    MaxTokensField,
    Provider,
)

PROVIDER_NAME = word("lower-case letters, digits, . _ and -", r"[a-z0-9][a-z0-9._-]{0,63}")
DIALECT = choice(DIALECTS)
AUTH = choice(AUTHS)
MAX_TOKENS_FIELD = choice(get_args(MaxTokensField))
PERIOD = choice(get_args(Period))

# How the dialect's reference is called, for a table that does not say.
_USUAL_AUTH: Mapping[Dialect, Auth] = {"anthropic": "x-api-key", "gemini": "x-goog-api-key"}


def providers(table: Table) -> Mapping[str, Provider]:
    """The built-in rows, with the fields that the file gives in place of theirs, and new ones."""
    merged = dict(BUILTIN)
    for name in table.names():
        entry = table.table(name)
        if _may_be_called(name, entry):
            row = merged.get(name)
            merged[name] = _changed(row, entry) if row else _new(name, entry)
            entry.finish()
    return MappingProxyType(merged)


def _may_be_called(name: str, entry: Table) -> bool:
    wrong = entry.document.wrong
    if name in RESERVED:
        reserved = ", ".join(sorted(RESERVED))
        wrong(entry.path, "a name that is a path of ours", f"any but {reserved}")
    elif name in ALIASES:
        wrong(entry.path, f"an alias of {ALIASES[name]}", f"[providers.{ALIASES[name]}]")
    else:
        try:
            PROVIDER_NAME.parse(name)
        except Wrong as error:
            wrong(entry.path, f'"{name}"', error.expected)
        else:
            return True
    return False


def _changed(row: Provider, entry: Table) -> Provider:
    base_url = entry.optional("base_url", values.BASE_URL)
    base_urls = _base_urls(entry)
    if base_url and not base_urls:
        changed_urls: Mapping[Dialect, str] = {}
    else:
        changed_urls = base_urls or row.base_urls
    return replace(
        row,
        base_url=base_url or row.base_url,
        base_urls=changed_urls,
        dialects=entry.optional("dialects", many(DIALECT, at_least=1)) or row.dialects,
        auth=entry.optional("auth", AUTH) or row.auth,
        families=_families(entry, row.families),
        flags=_flags(row.flags, entry.table("flags")),
    )


def _new(name: str, entry: Table) -> Provider:
    dialects = entry.required("dialects", many(DIALECT, at_least=1)) or ("openai-chat",)
    usual = _USUAL_AUTH.get(dialects[0], "bearer")
    return Provider(
        name=name,
        base_url=entry.required("base_url", values.BASE_URL) or "",
        base_urls=_base_urls(entry),
        dialects=dialects,
        auth=entry.get("auth", AUTH, usual),
        families=_families(entry, ()),
        flags=_flags(Flags(), entry.table("flags")),
    )


def _base_urls(entry: Table) -> Mapping[Dialect, str]:
    table = entry.table("base_urls")
    found = {dialect: table.optional(dialect, values.BASE_URL) for dialect in DIALECTS}
    table.finish()
    return {dialect: url for dialect, url in found.items() if url}


def _families(entry: Table, default: tuple[str, ...]) -> tuple[str, ...]:
    found = entry.optional("families", many(values.MODEL_NAME))
    return default if found is None else found


def _flags(default: Flags, table: Table) -> Flags:
    given = {}
    for flag in fields(Flags):
        kind = MAX_TOKENS_FIELD if flag.name == "max_tokens_field" else values.BOOLEAN
        value = table.optional(flag.name, kind)
        if value is not None:
            given[flag.name] = value
    table.finish()
    return replace(default, **given)


def accounts(tables: list[Table], known: Mapping[str, Provider]) -> tuple[model.Account, ...]:
    found = []
    for table in tables:
        account = _account(table, known)
        if account:
            found.append(account)
        table.finish()
    return tuple(found)


def _account(table: Table, known: Mapping[str, Provider]) -> model.Account | None:
    name = table.required("name", values.NAME)
    provider = _provider(table, known)
    api_key = table.secret("api_key")
    base_url = table.optional("base_url", values.BASE_URL)
    if provider:
        _complete(table, provider, base_url)
    account = model.Account(
        name=name or "",
        provider=provider.name if provider else "",
        api_key=api_key,
        base_url=base_url,
        models=table.get("models", many(values.GLOB, at_least=1), ("*",)),
        weight=table.get("weight", values.WEIGHT, 1),
        priority=table.get("priority", values.PRIORITY, 0),
        rpm=table.optional("rpm", values.COUNT),
        tpm=table.optional("tpm", values.COUNT),
        concurrency=table.optional("concurrency", values.COUNT),
        budget_usd=table.optional("budget_usd", values.LIMIT_USD),
        budget_period=table.optional("budget_period", PERIOD),
        cost_multiplier=table.get("cost_multiplier", values.USD, Decimal(1)),
        proxy=table.optional("proxy", values.EGRESS),
        on_disconnect=table.optional("on_disconnect", ON_DISCONNECT),
    )
    check_budget(table)
    return account if name and provider else None


def _provider(table: Table, known: Mapping[str, Provider]) -> Provider | None:
    name = table.required("provider", values.STRING)
    if not name:
        return None
    provider = known.get(ALIASES.get(name, name))
    if not provider:
        hint = nearest(name, [*known, *ALIASES])
        table.document.wrong(table.at("provider"), f'"{name}"', "a provider", hint)
    return provider


def _complete(table: Table, provider: Provider, base_url: str | None) -> None:
    """Notes what this provider needs and the account does not give."""
    wrong = table.document.wrong
    if table.raw("api_key") in (None, "") and provider.auth != "none" and not provider.keyless:
        hint = f'or auth = "none" in [providers.{provider.name}]'
        wrong(table.at("api_key"), "nothing", '{ env = "…" } or another secret', hint)
    if not provider.base_url and not base_url and "base_url" not in table:
        hint = "for example https://RESOURCE.openai.azure.com/openai/v1"
        wrong(table.at("base_url"), "nothing", f"the address of your {provider.name}", hint)


def check_budget(table: Table) -> None:
    """A budget needs its period and a period its budget."""
    wrong = table.document.wrong
    if "budget_usd" in table and "budget_period" not in table:
        wrong(table.at("budget_period"), "nothing", "day, week, month or total")
    if "budget_period" in table and "budget_usd" not in table:
        wrong(table.at("budget_usd"), "nothing", "the amount of the budget")
