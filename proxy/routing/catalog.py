"""Which upstream models a name stands for.

A name is looked for in this order: a configured model, one of its aliases, ``provider/model``, an account's own list, and the
families of names that a configured provider owns, so that a model that is released tomorrow can be called tomorrow.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import lru_cache

from proxy.config.model import Account, Config, Json, Model, Target, Timeouts
from proxy.providers import ALIASES, Provider

_NEAREST = 3
LONGEST_NAME = 256
"""Characters: what a configuration may name, and what the ledger keeps."""


@dataclass(frozen=True, slots=True)
class Route:
    """What a name stands for.

    ``name`` is the public name, which limits and metrics go by. ``targets`` ascend by their order. ``fallbacks`` are the
    public names to try when no target has anybody available.
    """

    name: str
    targets: tuple[Target, ...]
    timeouts: Timeouts
    fallbacks: tuple[str, ...] = ()
    defaults: Mapping[str, Json] = field(default_factory=dict)
    override: Mapping[str, Json] = field(default_factory=dict)

    def is_open_to(self, globs: Sequence[str]) -> bool:
        """Tell whether a key with these globs may call it: by its public name, or by a ``provider/model`` of it."""
        if "*" in globs:
            return True
        return matches(
            globs, (self.name, *(f"{target.provider}/{target.model}" for target in self.targets))
        )


class Catalog:
    """The names of one configuration. ``resolve`` is memoised for names that lead somewhere."""

    def __init__(self, config: Config) -> None:
        self._timeouts = config.timeouts
        self._models = {model.name: model for model in config.models}
        self._aliases = {alias: model.name for model in config.models for alias in model.aliases}
        self._providers: dict[str, Provider] = {
            account.provider: config.providers[account.provider] for account in config.accounts
        }
        self._accounts: dict[str, list[Account]] = {}
        for account in config.accounts:
            self._accounts.setdefault(account.provider, []).append(account)
        self.called = {
            **{alias: name for alias, name in ALIASES.items() if name in self._accounts},
            **{name: name for name in self._accounts},
        }
        """What the providers that have an account are called, and which each is."""
        self._families = sorted(
            (
                (prefix, name)
                for name, provider in self._providers.items()
                for prefix in provider.families
            ),
            key=lambda family: -len(family[0]),
        )
        self._known: dict[str, Route] = {}

    def resolve(self, name: str) -> Route | None:
        """Return the route of ``name``, or None if nobody serves it.

        No model has a name that is longer than ``LONGEST_NAME`` or that cannot be printed, whatever its provider would take.
        """
        route = self._known.get(name)
        if route is None:
            if not _is_name(name):
                return None
            route = self._find(name)
            # Family prefixes make the names endless; the memo is not.
            if route is not None and len(self._known) < 10_000:
                self._known[name] = route
        return route

    def listed(self) -> list[str]:
        """Return the public names: configured models, and the models that accounts list by name."""
        names = list(self._models)
        for provider, accounts in self._accounts.items():
            for account in accounts:
                names += [f"{provider}/{model}" for model in account.models if not _is_glob(model)]
        return list(dict.fromkeys(names))

    def named(self) -> list[str]:
        """Return every name that the configuration itself spells out: those listed, and the targets of models."""
        targets = [
            f"{target.provider}/{target.model}"
            for model in self._models.values()
            for target in model.targets
        ]
        return list(dict.fromkeys([*self.listed(), *targets]))

    def nearest(self, name: str, allowed: Iterable[str] = ("*",)) -> list[str]:
        """Return up to three names like ``name`` that match one of the ``allowed`` globs."""
        if not _is_name(name):
            return []
        globs = tuple(allowed)
        candidates = [
            known for known in (*self.listed(), *self._aliases) if matches(globs, (known,))
        ]
        by_tail = {known.rpartition("/")[2]: known for known in reversed(candidates)}
        found = difflib.get_close_matches(name.rpartition("/")[2], by_tail, n=_NEAREST, cutoff=0.5)
        return [by_tail[tail] for tail in found]

    def _find(self, name: str) -> Route | None:
        model = self._models.get(name) or self._models.get(self._aliases.get(name, ""))
        if model is not None:
            targets = model.targets or self._targets(model.name)
            return self._route(model, targets) if targets else None
        targets = self._targets(name)
        return Route(name, targets, self._timeouts) if targets else None

    def _route(self, model: Model, targets: tuple[Target, ...]) -> Route:
        return Route(
            model.name,
            targets,
            model.timeouts or self._timeouts,
            model.fallbacks,
            model.defaults,
            model.override,
        )

    def _targets(self, name: str) -> tuple[Target, ...]:
        """Return the one target of a name that is no configured model's: ``provider/model`` or a plain upstream id."""
        if not {".", ".."}.isdisjoint(name.split("/")):
            # Gemini has the model in the path of the call, where such a name would lead elsewhere.
            return ()
        head, slash, rest = name.partition("/")
        if slash and rest:
            provider = self._provider(head)
            if provider is not None and self._serves(provider, rest):
                return (Target(provider=provider, model=rest, order=1),)
        for provider, accounts in self._accounts.items():
            if any(
                pattern != "*" and fnmatchcase(name, pattern)
                for a in accounts
                for pattern in a.models
            ):
                return (Target(provider=provider, model=name, order=1),)
        for prefix, provider in self._families:
            if name.startswith(prefix) and self._serves(provider, name):
                return (Target(provider=provider, model=name, order=1),)
        return ()

    def _provider(self, spelt: str) -> str | None:
        if spelt in self._accounts:
            return spelt
        aliased = ALIASES.get(spelt)
        return aliased if aliased in self._accounts else None

    def _serves(self, provider: str, model: str) -> bool:
        return any(serves(account.models, model) for account in self._accounts[provider])


@lru_cache(maxsize=8192)
def serves(globs: tuple[str, ...], model: str) -> bool:
    """Tell whether an account with these globs may be asked for the upstream id ``model``."""
    return any(fnmatchcase(model, pattern) for pattern in globs)


def _is_name(name: str) -> bool:
    return len(name) <= LONGEST_NAME and name.isprintable()


def matches(globs: Sequence[str], names: Iterable[str]) -> bool:
    """Tell whether any of ``names`` matches any of ``globs``."""
    return "*" in globs or any(fnmatchcase(name, glob) for name in names for glob in globs)


def _is_glob(pattern: str) -> bool:
    return any(character in pattern for character in "*?[")
