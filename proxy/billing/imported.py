"""Price lists in other forms than ours: genai-prices' data and LiteLLM's table.

Both become the document that ``pricelist`` reads: by provider, in the order in which they are to be looked through, models
with the names that they go by and what holds on a day and later. What held before is left out, since no call is older than
the program that prices it; so is what a call's usage cannot be multiplied with, such as pages, hours and stored files.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import date
from decimal import Decimal
from typing import Any

from proxy.billing.pricelist import stated
from proxy.billing.prices import Price

Json = dict[str, Any]

_MILLION = 1_000_000


def converted(document: object, source: str, day: date) -> Json:
    """Return the list that ``document`` is, as of ``day``. Raises ValueError where it is neither of the two."""
    providers: dict[str, Json] = {}
    try:
        if isinstance(document, list):
            providers = from_genai_prices(document, day)
        elif isinstance(document, dict):
            providers = from_litellm(document)
        for provider in providers.values():
            for model in provider["models"]:
                Price.parse(stated(model))
    except (KeyError, TypeError, AttributeError, ArithmeticError, re.error) as error:
        raise ValueError(f"found prices that make no sense ({error!r})") from error
    if not providers:
        raise ValueError("found no prices, expected the data of genai-prices or of LiteLLM")
    return {"source": source, "date": day.isoformat(), "providers": providers}


# genai-prices.

GENAI_NAMES = {
    "azure": "azure-openai",
    "google": "gemini",
    "moonshotai": "moonshot",
    "x-ai": "xai",
}
"""What we call a provider, where that is something else."""
_GENAI_RATES = {
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
SERVICES = ("service_tier", "processing", "speed")
"""The conditions under which a service tier goes; a route or a search type is nothing that an answer tells."""


def from_genai_prices(providers: list[Json], day: date) -> dict[str, Json]:
    """Return the providers of genai-prices' ``data.json``, sorted by our names for them."""
    found: dict[str, Json] = {}
    for provider in providers:
        models = [model for one in provider["models"] if (model := _model(one, day))]
        fallback = [
            GENAI_NAMES.get(one, one) for one in provider.get("fallback_model_providers") or ()
        ]
        if models or fallback:
            name = str(GENAI_NAMES.get(provider["id"], provider["id"]))
            found[name] = ({"fallback": fallback} if fallback else {}) | {"models": models}
    return dict(sorted(found.items()))


def _model(model: Json, day: date) -> Json | None:
    rows = list(_rows(model, day))
    if not any(rate in row for row in rows for rate in ("input", "output", "requests_kcount")):
        return None
    identity: Json = {"id": model["id"].lower()}
    match = _pattern(model["match"])
    if match != identity["id"]:
        identity["match"] = match
    if model["id"] != identity["id"]:
        identity["name"] = model["id"]
    if model.get("context_window"):
        identity["context"] = model["context_window"]
    if model.get("deprecated"):
        identity["deprecated"] = True
    return identity | (rows[0] if len(rows) == 1 else {"prices": rows})


def _pattern(clause: Json) -> str | list[Any]:
    """Return which names a clause means, in the words of ``pricelist``."""
    ((kind, given),) = clause.items()
    match kind:
        case "equals":
            return _literal(given)
        case "starts_with":
            return f"{_literal(given)}*"
        case "ends_with":
            return f"*{_literal(given)}"
        case "contains":
            return f"*{_literal(given)}*"
        case "regex" if given.startswith("^"):
            re.compile(given)
            return str(given)
        case "or":
            found: list[Any] = []
            for one in map(_pattern, given):
                found += [
                    some for some in (one if isinstance(one, list) else [one]) if some not in found
                ]
            return found[0] if len(found) == 1 and isinstance(found[0], str) else found
        case "and":
            every = [_pattern(one) for one in given]
            if all(isinstance(one, str) for one in every):
                return [every]
        case _:
            pass
    raise ValueError(f"found the rule {clause}, which has no form here")


def _literal(text: str) -> str:
    if "*" in text or text.startswith("^"):
        raise ValueError(f"found the name {text!r}, which reads as a pattern here")
    return text.lower()


def _rows(model: Json, day: date) -> Iterator[Json]:
    """Yield the price that holds on ``day``, those that begin later, and those of hours of each day."""
    prices = model["prices"]
    conditions = prices if isinstance(prices, list) else [{"prices": prices}]
    variants = model.get("price_variants") or ()
    starts = [(one.get("constraint") or {}).get("start_date") for one in (*conditions, *variants)]
    later = sorted({start for start in starts if start is not None and start > day.isoformat()})
    at = _last(conditions, day.isoformat())
    yield _row(model, conditions[at]["prices"], day.isoformat())
    for start in later:
        row = _row(model, conditions[_last(conditions, start)]["prices"], start)
        yield {"from": start, **row}
    for one in conditions[at + 1 :]:
        constraint = one.get("constraint") or {}
        if "start_time" in constraint:
            hours = [constraint["start_time"][:5], constraint["end_time"][:5]]
            yield {"hours": hours, **_row(model, one["prices"], day.isoformat())}


def _last(conditions: list[Json], day: str) -> int:
    return max((n for n, one in enumerate(conditions) if _holds(one, day)), default=0)


def _holds(one: Json, day: str) -> bool:
    constraint = one.get("constraint") or {}
    return "start_time" not in constraint and constraint.get("start_date", day) <= day


def _row(model: Json, prices: Json, day: str) -> Json:
    standard = {name: value for name, value in prices.items() if value is not None}
    # A price that states nothing is the package's way to say that the model is free.
    row = _table(standard) if standard else {"input": 0, "output": 0}
    changes: dict[str, Json] = {}
    for variant in model.get("price_variants") or ():
        (kind, name), *more = variant["when"].items()
        if kind in SERVICES and not more and _holds(variant, day):
            told = {key: value for key, value in variant["prices"].items() if value is not None}
            # The first that states a rate counts.
            changes[name] = {**told, **changes.get(name, {})}
    services = {name: _table({**standard, **changes[name]}) for name in sorted(changes)}
    others = {name: table for name, table in services.items() if table != row}
    return row | {"service_tiers": others} if others else row


def _table(prices: Json) -> Json:
    """Return rates and tiers. A tier is for the whole call, so it has every rate that has changed by then."""
    known = [(ours, prices[theirs]) for theirs, ours in _GENAI_RATES.items() if theirs in prices]
    tiered = {name: price["tiers"] for name, price in known if isinstance(price, dict)}
    rates: Json = {
        name: _number(price["base"] if isinstance(price, dict) else price) for name, price in known
    }
    starts = sorted({tier["start"] for tiers in tiered.values() for tier in tiers})
    made = []
    for above in starts:
        reached = {
            name: [tier["price"] for tier in tiers if tier["start"] <= above]
            for name, tiers in tiered.items()
        }
        made.append(
            {"above": above, **{name: _number(some[-1]) for name, some in reached.items() if some}}
        )
    return rates | {"tiers": made} if made else rates


# LiteLLM.

_LITELLM_NAMES = {
    "azure": "azure-openai",
    "dashscope": "alibaba",
    "fireworks_ai": "fireworks",
    "together_ai": "together",
}
_LITELLM_RATES = {
    "input_cost_per_token": "input",
    "output_cost_per_token": "output",
    "cache_read_input_token_cost": "cache_read",
    "cache_creation_input_token_cost": "cache_write",
    "cache_creation_input_token_cost_above_1hr": "cache_write_1h",
    "input_cost_per_audio_token": "audio_input",
    "output_cost_per_audio_token": "audio_output",
}
_LITELLM_SERVICES = {"priority": "priority", "flex": "flex", "batches": "batch"}
_LITELLM_KEY = re.compile(r"(\w+?)(?:_above_(\d+)k_tokens)?(?:_(priority|flex|batches))?", re.ASCII)


def from_litellm(table: Mapping[str, Any]) -> dict[str, Json]:
    """Return the providers of LiteLLM's ``model_prices_and_context_window.json``, sorted by our names for them."""
    found: dict[str, dict[str, Json]] = {}
    for name, entry in table.items():
        provider = entry.get("litellm_provider") if isinstance(entry, dict) else None
        if not isinstance(provider, str) or name == "sample_spec":
            continue
        row = _litellm_row(entry)
        if "input" in row or "output" in row:
            ours = _LITELLM_NAMES.get(provider, provider)
            model = name.removeprefix(f"{provider}/").lower()
            if "*" not in model:
                described = {"id": model, **_litellm_limits(entry), **row}
                found.setdefault(ours, {}).setdefault(model, described)
    return {name: {"models": list(found[name].values())} for name in sorted(found)}


def _litellm_limits(entry: Json) -> Json:
    told = {"context": entry.get("max_input_tokens"), "max_output": entry.get("max_output_tokens")}
    return {name: limit for name, limit in told.items() if type(limit) is int and limit > 0}


def _litellm_row(entry: Json) -> Json:
    """Return an entry's rates by the service tier and the threshold that its keys name, 0 being none."""
    rates: dict[str, dict[int, Json]] = {"": {0: {}}}
    for key, value in entry.items():
        named = _LITELLM_KEY.fullmatch(key)
        if named is None or named[1] not in _LITELLM_RATES or not isinstance(value, int | float):
            continue
        above = int(named[2] or 0) * 1000
        service = _LITELLM_SERVICES.get(named[3], "")
        # Floats with the noise of a division; nobody charges less than a billionth of a dollar for a million.
        amount = round(Decimal(str(value)) * _MILLION, 9)
        rates.setdefault(service, {}).setdefault(above, {})[_LITELLM_RATES[named[1]]] = amount
    searches = entry.get("search_context_cost_per_query")
    if isinstance(searches, dict) and "search_context_size_medium" in searches:
        price = Decimal(str(searches["search_context_size_medium"])) * 1000
        rates[""][0]["searches_kcount"] = price
    standard = rates.pop("")
    row = _litellm_table(standard)
    services = {name: _litellm_table(_over(standard, rates[name])) for name in sorted(rates)}
    return row | {"service_tiers": services} if services and row else row


def _over(standard: dict[int, Json], service: dict[int, Json]) -> dict[int, Json]:
    """Return a service tier's rates: its own, and the standard ones that it says nothing of."""
    own = {name for rates in service.values() for name in rates}
    kept = {
        above: {name: rate for name, rate in rates.items() if above == 0 or name not in own}
        for above, rates in standard.items()
    }
    every = sorted({*kept, *service})
    return {above: {**kept.get(above, {}), **service.get(above, {})} for above in every}


def _litellm_table(rates: dict[int, Json]) -> Json:
    thresholds = sorted(above for above in rates if above and rates[above])
    table: Json = {name: _number(rate) for name, rate in rates.get(0, {}).items()}
    tiers = []
    reached: Json = {}
    for above in thresholds:
        reached |= {name: _number(rate) for name, rate in rates[above].items()}
        tiers.append({"above": above, **reached})
    return table | {"tiers": tiers} if tiers else table


def _number(price: object) -> int | float:
    """Return a JSON number that reads back as the very same amount."""
    exact = Decimal(str(price))
    number = int(exact) if exact == exact.to_integral_value() else float(exact)
    if not exact.is_finite() or exact < 0 or Decimal(str(number)) != exact:
        raise ValueError(f"found the price {price}, which has no exact JSON number")
    return number
