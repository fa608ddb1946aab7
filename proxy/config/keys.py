"""``[[keys]]``: keys that are configuration; the others live in the database."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import get_args

from proxy.config import model, values
from proxy.config.errors import Wrong
from proxy.config.reader import Table
from proxy.config.secrets import key_hash
from proxy.config.upstreams import PERIOD, check_budget
from proxy.config.values import Kind, choice, many

_HASH = re.compile(r"(?:sha256:)?([0-9a-f]{64})")


def _hash(value: object) -> str:
    match = _HASH.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        # Not shown: it may be the key itself, put in the wrong place.
        raise Wrong('"sha256:" and 64 hex digits', "a key itself goes in key", "something else")
    return match[1]


NATIVE: Kind[model.Native] = choice(get_args(model.Native))
HASH: Kind[str] = Kind(_hash, lambda digest: f"sha256:{digest}")


def keys(tables: list[Table]) -> tuple[model.Key, ...]:
    found = []
    for table in tables:
        key = _key(table)
        if key:
            found.append(key)
        table.finish()
    return tuple(found)


def names(tables: list[Table]) -> dict[str, str]:
    """The names of the keys with their digests; "" for one whose text is a secret."""
    found = {}
    for table in tables:
        name = table.required("name", values.NAME)
        if name:
            found[name] = table.optional("hash", HASH) or ""
    return found


def _key(table: Table) -> model.Key | None:
    name = table.required("name", values.NAME)
    digest = _digest(table)
    key = model.Key(
        name=name or "",
        hash=digest or "",
        team=table.optional("team", values.NAME),
        models=table.get("models", many(values.GLOB, at_least=1), ("*",)),
        rpm=table.optional("rpm", values.COUNT),
        tpm=table.optional("tpm", values.COUNT),
        concurrency=table.optional("concurrency", values.COUNT),
        budget_usd=table.optional("budget_usd", values.LIMIT_USD),
        budget_period=table.optional("budget_period", PERIOD),
        prepaid=table.get("prepaid", values.BOOLEAN, default=False),
        credit_usd=table.optional("credit_usd", values.USD),
        allowance_usd=table.optional("allowance_usd", values.LIMIT_USD),
        price_multiplier=table.get("price_multiplier", values.USD, Decimal(1)),
        expires=table.optional("expires", values.MOMENT),
        allow_ip=table.get("allow_ip", many(values.NETWORK), ()),
        enabled=table.get("enabled", values.BOOLEAN, default=True),
        native=table.get("native", NATIVE, "calls"),
    )
    check_budget(table)
    return key if name and digest else None


def _digest(table: Table) -> str | None:
    """The hash that the file gives, or that of the key that it gives."""
    if "hash" in table and "key" in table:
        table.document.wrong(table.at("key"), "both key and hash", "one of them")
    if "key" in table:
        secret = table.secret("key")
        table.raw("hash")
        return key_hash(secret.reveal()) if secret else None
    return table.required("hash", HASH)
