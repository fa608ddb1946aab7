"""The list prices of known models, as the bundled file and imported ones tell them.

A provider's models are looked through in the order of its list, and the first whose names match is meant, as in the package
that the file is made from. A name that nothing matches is tried again without what does not change a price: the ``models/``
in front, the date of a snapshot or ``latest`` behind. Where a provider sells another's models, that one's list comes next.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import orjson

from proxy.billing.prices import Price
from proxy.config.errors import ConfigError

BUNDLED = Path(__file__).with_name("prices.json")
"""The file that comes with the program; ``.ci/prices.py`` makes it."""
IMPORTED = "prices.json"
"""The file in the state directory that comes before it; ``splice prices import`` makes it."""

_SAME = {"gemini-openai": "gemini"}
"""Providers that are another one's second address."""
_COMPACT_DATE = re.compile(r"-(20\d\d)(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])(?=-|:|$)")
_SNAPSHOT = re.compile(r"[-@_](20\d\d-?(0[1-9]|1[0-2])-?(0[1-9]|[12]\d|3[01])|latest)$")

_DESCRIBING = frozenset(("id", "name", "match", "context", "max_output", "deprecated"))
"""What a model's table says beside its prices."""

Matches = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Listed:
    """What a list says of a model: under which provider and name, its prices, and how many tokens it takes and makes."""

    provider: str
    model: str
    prices: tuple[Price, ...]
    table: Any
    """The prices as the file states them: one table, or a list of them."""
    context: int | None = None
    max_output: int | None = None


def read(state: Path, providers: Collection[str] | None = None) -> PriceList:
    """Return the list that was imported into the state directory over the bundled one. Raises ConfigError."""
    bundled = PriceList(BUNDLED.read_bytes(), providers)
    path = state / IMPORTED
    try:
        return PriceList(path.read_bytes(), providers, bundled)
    except FileNotFoundError:
        return bundled
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ConfigError(
            f"{path}: found no price list, expected what `splice prices import` writes; "
            "import one again, or remove it"
        ) from error


class PriceList:
    """The prices of one file. ``find`` looks through a list; whoever asks often remembers the answer."""

    def __init__(
        self,
        data: bytes,
        providers: Collection[str] | None = None,
        under: PriceList | None = None,
    ) -> None:
        """Read a file. Of another provider than ``providers`` (None: all) and theirs nothing is kept.

        ``under`` is asked for what this one does not have. Raises ValueError or what else a file of another kind leads to.
        """
        document = orjson.loads(data)
        self.source = str(document.get("source", ""))
        self.date = date.fromisoformat(document["date"])
        """The day on which its prices held."""
        self._lists = {
            name: _List(name, told["models"], tuple(told.get("fallback", ())))
            for name, told in _wanted(document["providers"], providers).items()
        }
        self._under = under

    def find(self, provider: str, model: str) -> Listed | None:
        """Return what is known of the upstream id ``model`` of ``provider``, or None."""
        found = self._find(provider, model)
        if found is None and self._under is not None:
            found = self._under.find(provider, model)
        return found

    def names(self, provider: str) -> list[str]:
        """Return the upstream ids that are listed for ``provider``, spelt as it spells them, but for those on their way out."""
        listed = self._lists.get(_SAME.get(provider, provider))
        own = listed.names() if listed is not None else []
        return own + (self._under.names(provider) if self._under is not None else [])

    def _find(self, provider: str, model: str) -> Listed | None:
        name = _SAME.get(provider, provider)
        listed = self._lists.get(name)
        if listed is None:
            # Hugging Face names the one who serves behind the model: org/model:together.
            model, _, server = model.rpartition(":")
            listed = self._lists.get(f"{name}_{server}")
            if listed is None:
                return None
        others = [self._lists[other] for other in listed.fallback if other in self._lists]
        for name in _spellings(model):
            for one in (listed, *others):
                found = one.find(name)
                if found is not None:
                    return found
        return None


def stated(model: Mapping[str, Any]) -> Any:
    """Return the prices of a model of the file, as ``Price.parse`` takes them."""
    return model.get("prices") or {
        key: value for key, value in model.items() if key not in _DESCRIBING
    }


def _wanted(
    told: Mapping[str, Mapping[str, Any]], providers: Collection[str] | None
) -> Mapping[str, Mapping[str, Any]]:
    if providers is None:
        return told
    wanted = {_SAME.get(name, name) for name in providers}
    wanted |= {other for name in wanted if name in told for other in told[name].get("fallback", ())}
    return {
        name: table
        for name, table in told.items()
        if name in wanted or name.partition("_")[0] in wanted
    }


def _spellings(model: str) -> list[str]:
    """Return the names by which ``model`` may be listed, its own first."""
    name = model.lower()
    names = [name, name.removeprefix("models/")]
    names.append(_COMPACT_DATE.sub(r"-\1-\2-\3", names[1]))
    names.append(_SNAPSHOT.sub("", names[1]))
    return list(dict.fromkeys(names))


class _List:
    """One provider's models. Names are looked up; patterns, which are few, are tried in their order."""

    def __init__(
        self, provider: str, models: Sequence[Mapping[str, Any]], fallback: tuple[str, ...]
    ) -> None:
        self.fallback = fallback
        self._provider = provider
        self._models = models
        self._names: dict[str, int] | None = None
        self._patterns: list[tuple[int, Matches]] = []

    def find(self, name: str) -> Listed | None:
        names = self._index()
        last = names.get(name, len(self._models))
        for number, matches in self._patterns:
            if number >= last:
                break
            if matches(name):
                last = number
                break
        if last == len(self._models):
            return None
        table = self._models[last]
        rows = stated(table)
        return Listed(
            self._provider,
            table["id"],
            Price.parse(rows),
            rows,
            table.get("context"),
            table.get("max_output"),
        )

    def names(self) -> list[str]:
        return [one.get("name", one["id"]) for one in self._models if not one.get("deprecated")]

    def _index(self) -> dict[str, int]:
        """Return the place of each plain name; made at the first question, since most providers are never asked about."""
        if self._names is None:
            self._names = {}
            for number, table in enumerate(self._models):
                given = table.get("match", table["id"])
                for one in given if isinstance(given, list) else [given]:
                    if isinstance(one, str) and _is_plain(one):
                        self._names.setdefault(one, number)
                    else:
                        self._patterns.append((number, _pattern(one)))
        return self._names


# Names that are patterns.


def _is_plain(text: str) -> bool:
    return not text.startswith("^") and "*" not in (text[:1], text[-1:])


def _pattern(given: str | list[str]) -> Matches:
    """Return what tells whether a name matches: a star at an end is anything, ``^`` begins an expression, a list is all of it."""
    if isinstance(given, list):
        every = [_pattern(one) for one in given]
        return lambda name: all(matches(name) for matches in every)
    if given.startswith("^"):
        expression = re.compile(given)
        return lambda name: expression.search(name) is not None
    text = given.strip("*")
    if given.startswith("*"):
        if given.endswith("*"):
            return lambda name: text in name
        return lambda name: name.endswith(text)
    if given.endswith("*"):
        return lambda name: name.startswith(text)
    return lambda name: name == text
