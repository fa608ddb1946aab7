"""Writes proxy/billing/prices.json from the prices that the package genai-prices has collected.

Run before a release by ``make prices``; nothing else imports it, and the gateway does not need the package. The same release
of the package gives the same file, byte for byte: ``date`` is the day on which that release was first taken.
"""

from __future__ import annotations

import json
import sys
from dataclasses import fields, is_dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from importlib import metadata
from pathlib import Path
from typing import Any

from genai_prices import types
from genai_prices.data import providers

from proxy.billing.imported import from_genai_prices

OUT = Path(__file__).parent.parent / "proxy" / "billing" / "prices.json"
PACKAGE = "genai-prices"


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
    found = from_genai_prices([raw(provider) for provider in providers], day)
    lines = [
        "{",
        f'"notice": {_dump(_notice())},',
        f'"source": {_dump(source)},',
        f'"date": {_dump(day.isoformat())},',
        '"providers": {',
        ",\n".join(_block(name, provider) for name, provider in found.items()),
        "}",
        "}",
    ]
    return "\n".join(lines) + "\n"


def _block(name: str, provider: dict[str, Any]) -> str:
    fallback = provider.get("fallback")
    head = f'"fallback": {_dump(fallback)}, ' if fallback else ""
    models = ",\n".join(map(_dump, provider["models"]))
    return f'{_dump(name)}: {{{head}"models": [\n{models}\n]}}'


def _notice() -> str:
    """The licence, which asks to be kept, in one string."""
    found = metadata.files(PACKAGE) or []
    path = next(one for one in found if one.name == "LICENSE")
    paragraphs = path.read_text("utf-8").strip().split("\n\n")
    return "\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def raw(value: Any) -> Any:
    """One of the package's objects as it stands in the package's own ``data.json``."""
    match value:
        case types.ModelPrice():
            return {name: raw(price) for name, price in value.__dict__.items()}
        case list() | tuple():
            return [raw(one) for one in value]
        case dict():
            return {name: raw(one) for name, one in value.items()}
        case date() | time():
            return value.isoformat()
        case Decimal():
            return str(value)
        case _ if is_dataclass(value):
            told = {
                one.name.rstrip("_"): raw(getattr(value, one.name))
                for one in fields(value)
                if one.init
            }
            return {name: one for name, one in told.items() if one is not None}
    return value


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


if __name__ == "__main__":
    sys.exit(main())
