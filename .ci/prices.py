"""Writes proxy/billing/prices.json from the prices that the package genai-prices has collected.

Run before a release by ``make prices``; nothing else imports it, and the gateway does not need the package. The same release
of the package gives the same file, byte for byte: ``date`` is the day on which that release was first taken, and what held
only before that day is left out, since no call is older than the program that prices it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from importlib import metadata
from pathlib import Path
from typing import Any

from genai_prices import types
from genai_prices.data import providers

OUT = Path(__file__).parent.parent / "proxy" / "billing" / "prices.json"
PACKAGE = "genai-prices"

NAMES = {"azure": "azure-openai", "google": "gemini", "moonshotai": "moonshot", "x-ai": "xai"}
"""What we call a provider, where that is something else."""
RATES = {
    "input_mtok": "input",
    "output_mtok": "output",
    "cache_read_mtok": "cache_read",
    "cache_write_mtok": "cache_write",
    "cache_write_1h_mtok": "cache_write_1h",
    "input_audio_mtok": "audio_input",
    "output_audio_mtok": "audio_output",
    "web_searches_kcount": "searches_kcount",
    "requests_kcount": "requests_kcount",
}
"""What a call's usage can be multiplied with. Pages, characters, hours and stored files are no part of one."""
SERVICES = ("service_tier", "processing", "speed")
"""The conditions under which a service tier goes; a route or a search type is nothing that an answer tells."""

Json = dict[str, Any]


def main() -> int:
    source = f"{PACKAGE} {metadata.version(PACKAGE)}"
    told = json.loads(OUT.read_bytes()) if OUT.exists() else {}
    today = datetime.now(UTC).date()
    day = date.fromisoformat(told["date"]) if told.get("source") == source else today
    text = render(source, day)
    OUT.write_text(text, "utf-8")
    models = sum(line.startswith('{"id"') for line in text.splitlines())
    sys.stderr.write(f"{OUT.name}: {models} models of {source}, {len(text.encode())} bytes\n")
    return 0


def render(source: str, day: date) -> str:
    """The file: what holds on ``day`` and later, a line for each model."""
    listed = {NAMES.get(one.id, one.id): one for one in providers}
    lines = [
        "{",
        f'"notice": {_dump(_notice())},',
        f'"source": {_dump(source)},',
        f'"date": {_dump(day.isoformat())},',
        '"providers": {',
    ]
    blocks = [_provider(name, listed[name], day) for name in sorted(listed)]
    lines.append(",\n".join(block for block in blocks if block))
    return "\n".join([*lines, "}", "}"]) + "\n"


def _notice() -> str:
    """The licence, which asks to be kept, in one string."""
    found = metadata.files(PACKAGE) or []
    path = next(one for one in found if one.name == "LICENSE")
    paragraphs = path.read_text("utf-8").strip().split("\n\n")
    return "\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def _provider(name: str, provider: types.Provider, day: date) -> str:
    """One provider: what it falls back to, and a line for each model."""
    models = [_dump(model) for one in provider.models if (model := _model(one, day))]
    fallback = [NAMES.get(one, one) for one in provider.fallback_model_providers or ()]
    if not models and not fallback:
        return ""
    head = f'"fallback": {_dump(fallback)}, ' if fallback else ""
    return f'{_dump(name)}: {{{head}"models": [\n' + ",\n".join(models) + "\n]}"


def _model(model: types.ModelInfo, day: date) -> Json | None:
    rows = list(_rows(model, day))
    if not any(rate in row for row in rows for rate in ("input", "output", "requests_kcount")):
        return None
    identity: Json = {"id": model.id.lower()}
    match = _pattern(model.match)
    if match != identity["id"]:
        identity["match"] = match
    return identity | (rows[0] if len(rows) == 1 else {"prices": rows})


# Which names it goes by: "*" at an end stands for anything, "^" begins a regular expression, any entry of a list is enough
# and all of a list within it are needed.


def _pattern(clause: Any) -> Any:
    match clause:
        case types.ClauseEquals(equals=text):
            return _literal(text)
        case types.ClauseStartsWith(starts_with=text):
            return _literal(text) + "*"
        case types.ClauseEndsWith(ends_with=text):
            return "*" + _literal(text)
        case types.ClauseContains(contains=text):
            return "*" + _literal(text) + "*"
        case types.ClauseRegex(regex=text):
            if not text.startswith("^"):
                raise ValueError(f"an expression without its anchor: {text}")
            return text
        case types.ClauseOr(or_=clauses):
            found = [_pattern(one) for one in clauses]
            flat = [one for some in found for one in (some if isinstance(some, list) else [some])]
            once = list(dict.fromkeys(flat))
            return once[0] if len(once) == 1 and isinstance(once[0], str) else once
        case types.ClauseAnd(and_=clauses):
            found = [_pattern(one) for one in clauses]
            if not all(isinstance(one, str) for one in found):
                raise ValueError(f"a choice within a conjunction: {clause}")
            return [tuple(found)]
    raise ValueError(f"an unknown clause: {clause}")


def _literal(text: str) -> str:
    if "*" in text or text.startswith("^"):
        raise ValueError(f"a name that reads as a pattern: {text}")
    return text.lower()


# What it costs.


def _rows(model: types.ModelInfo, day: date) -> Iterator[Json]:
    """The price that holds on ``day``, those that begin later, and those of hours of each day."""
    conditions = (
        model.prices
        if isinstance(model.prices, list)
        else [types.ConditionalPrice(prices=model.prices)]
    )
    starts = [_start(one.constraint) for one in (*conditions, *(model.price_variants or ()))]
    later = sorted({start for start in starts if start is not None and start > day})
    at = max(
        (n for n, one in enumerate(conditions) if _holds(one.constraint, day)),
        default=0,
    )
    yield _row(model, conditions[at].prices, day)
    for start in later:
        now = max(n for n, one in enumerate(conditions) if _holds(one.constraint, start))
        yield {"from": start.isoformat(), **_row(model, conditions[now].prices, start)}
    for one in conditions[at + 1 :]:
        if isinstance(one.constraint, types.TimeOfDateConstraint):
            if later:
                raise ValueError(f"{model.id}: hours and a later date")
            hours = [f"{end:%H:%M}" for end in (one.constraint.start_time, one.constraint.end_time)]
            yield {"hours": hours, **_row(model, one.prices, day)}


def _start(constraint: Any) -> date | None:
    return constraint.start_date if isinstance(constraint, types.StartDateConstraint) else None


def _holds(constraint: Any, day: date) -> bool:
    if isinstance(constraint, types.TimeOfDateConstraint):
        return False
    return constraint is None or constraint.start_date <= day


def _row(model: types.ModelInfo, prices: types.ModelPrice, day: date) -> Json:
    standard = {name: value for name, value in prices.__dict__.items() if value is not None}
    # A price that states nothing is the package's way to say that the model is free.
    row = _table(standard) if standard else {"input": 0, "output": 0}
    services: Json = {}
    changes: dict[str, Json] = {}
    for variant in model.price_variants or ():
        (kind, name), *more = variant.when.items()
        if kind in SERVICES and not more and _holds(variant.constraint, day):
            stated = {
                key: value for key, value in variant.prices.__dict__.items() if value is not None
            }
            # The first that states a rate counts.
            changes[name] = {**stated, **changes.get(name, {})}
    for name in sorted(changes):
        table = _table({**standard, **changes[name]})
        if table != row:
            services[name] = table
    return row | {"service_tiers": services} if services else row


def _table(prices: Json) -> Json:
    """Rates and tiers; a tier states what is different in it."""
    rates: Json = {}
    tiers: dict[int, Json] = {}
    for key, name in RATES.items():
        price = prices.get(key)
        if price is None:
            continue
        if not isinstance(price, types.TieredPrices):
            rates[name] = _number(price)
            continue
        rates[name] = _number(price.base)
        for tier in price.tiers:
            tiers.setdefault(tier.start, {})[name] = _number(tier.price)
    _fill(prices, tiers)
    if tiers:
        rates["tiers"] = [{"above": above, **tiers[above]} for above in sorted(tiers)]
    return rates


def _fill(prices: Json, tiers: dict[int, Json]) -> None:
    """State a rate in every tier from its own first one up: another rate's threshold is not the end of it."""
    for key, name in RATES.items():
        price = prices.get(key)
        if isinstance(price, types.TieredPrices):
            for above, table in tiers.items():
                reached = [tier for tier in price.tiers if tier.start <= above]
                if reached:
                    table[name] = _number(reached[-1].price)


def _number(price: Decimal) -> int | float:
    """A JSON number that reads back as the very same amount."""
    number = int(price) if price == price.to_integral_value() else float(price)
    if Decimal(str(number)) != price:
        raise ValueError(f"{price} has no exact JSON number")
    return number


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


if __name__ == "__main__":
    sys.exit(main())
