"""``[[models]]``: public names, what they stand for, and what they cost."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime
from decimal import Decimal
from typing import get_args

from proxy.config import model, sections, values
from proxy.config.errors import Wrong, nearest
from proxy.config.model import Json, Prices, Rates, Target
from proxy.config.reader import Table
from proxy.config.values import Kind, choice, many, repr_toml
from proxy.providers import ALIASES, Provider

UNPRICED = choice(get_args(model.Unpriced))
RATES = tuple(rate.name for rate in fields(Rates))

# What decides where a call goes and in which form the answer comes back is not a default.
_NOT_SETTABLE = ("model", "stream", "messages", "input", "contents")


def models(
    tables: list[Table], known: Mapping[str, Provider], timeouts: model.Timeouts
) -> tuple[model.Model, ...]:
    found = []
    for table in tables:
        entry = _model(table, known, timeouts)
        if entry:
            found.append(entry)
        table.finish()
    return tuple(found)


def _model(
    table: Table, known: Mapping[str, Provider], timeouts: model.Timeouts
) -> model.Model | None:
    name = table.required("name", values.MODEL_NAME)
    entry = model.Model(
        name=name or "",
        aliases=table.get("aliases", many(values.MODEL_NAME), ()),
        targets=_targets(table, known),
        fallbacks=table.get("fallbacks", many(values.MODEL_NAME), ()),
        defaults=table.get("defaults", PARAMETERS, {}),
        override=table.get("override", PARAMETERS, {}),
        cost=_prices(table, "cost"),
        price=_prices(table, "price"),
        rpm=table.optional("rpm", values.COUNT),
        tpm=table.optional("tpm", values.COUNT),
        timeouts=sections.timeouts(table.table("timeouts"), timeouts)
        if "timeouts" in table
        else None,
        unpriced=table.get("unpriced", UNPRICED, "record"),
    )
    return entry if name else None


def _parameters(value: object) -> Mapping[str, Json]:
    if not isinstance(value, dict):
        raise Wrong("a table such as { temperature = 0.2 }")
    for name in _NOT_SETTABLE:
        if name in value:
            raise Wrong("parameters of the model", f"{name} is the request's own", name)
    return {name: values.parse_json(child) for name, child in value.items()}


PARAMETERS: Kind[Mapping[str, Json]] = Kind(_parameters, dict)


# Targets.


def _targets(table: Table, known: Mapping[str, Provider]) -> tuple[Target, ...]:
    raw = table.raw("targets")
    path = table.at("targets")
    if raw is None:
        return ()
    if not isinstance(raw, list) or not raw:
        table.document.wrong(path, repr_toml(raw), 'a list such as ["openai/gpt-5"]')
        return ()
    found = []
    for index, element in enumerate(raw):
        entry = element if isinstance(element, dict) else {"to": element}
        row = Table(table.document, (*path, index), entry)
        target = _target(row, index + 1, known)
        if target:
            found.append(target)
        row.finish()
    return tuple(sorted(found, key=lambda target: target.order))


def _target(row: Table, position: int, known: Mapping[str, Provider]) -> Target | None:
    order = row.get("order", values.PRIORITY, position)
    weight = row.get("weight", values.WEIGHT, 1)
    to = row.required("to", Kind(_provider_and_model, "/".join))
    if to is None:
        return None
    name, upstream_model = to
    provider = known.get(ALIASES.get(name, name))
    if provider is None:
        hint = nearest(name, [*known, *ALIASES])
        row.document.wrong(row.at("to"), f'"{name}"', "a provider before the slash", hint)
        return None
    return Target(provider=provider.name, model=upstream_model, order=order, weight=weight)


def _provider_and_model(value: object) -> tuple[str, str]:
    text = values.MODEL_NAME.parse(value) if isinstance(value, str) else ""
    provider, slash, upstream_model = text.partition("/")
    if not (provider and slash and upstream_model):
        raise Wrong('"provider/model"')
    return provider, upstream_model


# Prices.


def _prices(table: Table, key: str) -> Prices | None:
    raw = table.raw(key)
    if raw is None:
        return None
    if isinstance(raw, dict):
        entries = [_price_entry(table.table(key))]
    else:
        entries = [_price_entry(entry) for entry in table.tables(key)]
    starts = [(entry.since, entry.hours) for entry in entries]
    if len(set(starts)) < len(starts):
        table.document.wrong(table.at(key), "two prices from the same date", "one for each")
    if not entries:
        table.document.wrong(table.at(key), repr_toml(raw), "{ input = …, output = … }")
        return None
    return tuple(sorted(entries, key=_start))


def _start(entry: model.PriceEntry) -> tuple[datetime, bool]:
    # What holds at some hours only comes after what holds all day, which would hide it.
    return entry.since or datetime.min.replace(tzinfo=UTC), entry.hours is not None


def _price_entry(table: Table, *, service: bool = False) -> model.PriceEntry:
    tiers = []
    for row in table.tables("tiers"):
        above = row.required("above", values.COUNT)
        tiers.append(model.Tier(above=above or 0, rates=_rates(row)))
        row.finish()
    if len({tier.above for tier in tiers}) < len(tiers):
        table.document.wrong(table.at("tiers"), "two tiers above the same", "one for each")
    entry = model.PriceEntry(
        rates=_rates(table),
        tiers=tuple(sorted(tiers, key=lambda tier: tier.above)),
        since=None if service else table.optional("from", values.MOMENT),
        hours=None if service else table.optional("hours", HOURS),
        service_tiers={} if service else _service_tiers(table.table("service_tiers")),
    )
    table.finish()
    return entry


def _service_tiers(table: Table) -> Mapping[str, model.PriceEntry]:
    return {name: _price_entry(table.table(name), service=True) for name in table.names()}


def _hours(value: object) -> tuple[int, int]:
    if isinstance(value, list) and len(value) == 2:
        found = [_CLOCK.fullmatch(one) for one in value if isinstance(one, str)]
        minutes = [int(one[1]) * 60 + int(one[2]) for one in found if one is not None]
        if len(minutes) == 2:
            return minutes[0], minutes[1]
    raise Wrong('two times of the day in UTC such as ["16:30", "00:30"]')


def _show_hours(value: tuple[int, int]) -> object:
    return [f"{minutes // 60:02d}:{minutes % 60:02d}" for minutes in value]


_CLOCK = re.compile(r"([01]\d|2[0-3]):([0-5]\d)")
HOURS: Kind[tuple[int, int]] = Kind(_hours, _show_hours)


def _rates(table: Table) -> Rates:
    found: dict[str, Decimal | None] = {rate: table.optional(rate, values.USD) for rate in RATES}
    if not any(rate in table for rate in RATES):
        table.document.wrong(table.path, "no price", f"one of {', '.join(RATES)}")
    return Rates(**found)
