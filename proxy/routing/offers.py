"""What the upstream accounts have said that they serve.

It is for lists and for whoever reads them: which names lead where is the configuration's business alone, so a provider that
lists a name takes no calls by it from anybody else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from proxy.config.model import Account, Config
from proxy.dialects.offered import Offered
from proxy.routing.catalog import serves


class Offers:
    """The lists of a configuration's accounts; an account that has told nothing yet has none."""

    def __init__(self) -> None:
        self._accounts: Mapping[str, Sequence[Account]] = {}
        self._told: dict[str, tuple[str, Mapping[str, Offered]]] = {}
        """By account: where it was asked, and its models."""

    def adopt(self, config: Config, urls: Mapping[str, str]) -> None:
        """Go by ``config``, whose accounts are asked at ``urls``; what was told elsewhere is forgotten."""
        accounts: dict[str, list[Account]] = {}
        for account in config.accounts:
            accounts.setdefault(account.provider, []).append(account)
        self._accounts = accounts
        self._told = {name: told for name, told in self._told.items() if told[0] == urls.get(name)}

    def note(self, account: str, url: str, models: Sequence[Offered]) -> None:
        """Take the list that ``account`` told at ``url`` in the place of its last one."""
        self._told[account] = (url, {one.model: one for one in models})

    def of(self, provider: str) -> dict[str, Offered] | None:
        """Return what accounts of ``provider`` have listed and may be asked for; None if none of them has listed anything."""
        found: dict[str, Offered] = {}
        told = False
        for account in self._accounts.get(provider, ()):
            if account.name in self._told:
                told = True
                for model, one in self._told[account.name][1].items():
                    if serves(account.models, model):
                        found.setdefault(model, one)
        return found if told else None

    def find(self, provider: str, model: str) -> Offered | None:
        """Return what is told of the upstream id ``model`` of ``provider``."""
        for account in self._accounts.get(provider, ()):
            told = self._told.get(account.name)
            if told is not None and model in told[1]:
                return told[1][model]
        return None
