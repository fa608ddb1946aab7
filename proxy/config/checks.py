"""What no section can see alone: names that must differ, and names that must exist."""

from __future__ import annotations

import stat
from collections.abc import Iterable
from dataclasses import replace
from fnmatch import fnmatchcase

from proxy.config import model
from proxy.config.errors import KeyPath, nearest
from proxy.config.reader import Document


def check(config: model.Config, document: Document) -> model.Config:
    """Notes every fault between the sections; fallbacks come back as names instead of aliases.

    Only for a document without faults so far: every entry is where the file has it.
    """
    _distinct(document, "accounts", [account.name for account in config.accounts])
    _distinct(document, "keys", [key.name for key in config.keys])
    _distinct(document, "keys", [key.hash for key in config.keys], "hash", shown=False)
    _listeners(config, document)
    names = _model_names(config, document)
    for index, entry in enumerate(config.models):
        _served(config, document, entry, ("models", index))
        _fallbacks_exist(document, entry, names, ("models", index))
    models = tuple(
        replace(entry, fallbacks=tuple(names.get(name, name) for name in entry.fallbacks))
        for entry in config.models
    )
    return replace(config, models=models, warnings=_warnings(document))


def _distinct(
    document: Document,
    section: str,
    names: Iterable[str],
    field: str = "name",
    *,
    shown: bool = True,
) -> None:
    first: dict[str, int] = {}
    for index, name in enumerate(names):
        if name in first:
            earlier = document.line((section, first[name], field))
            found = f'"{name}" again' if shown else "the same key again"
            document.wrong(
                (section, index, field), found, f"one of its own; line {earlier} has it already"
            )
        first.setdefault(name, index)


def _model_names(config: model.Config, document: Document) -> dict[str, str]:
    """Every public name and alias, and the model that it names."""
    names: dict[str, str] = {}
    for index, entry in enumerate(config.models):
        for name in (entry.name, *entry.aliases):
            if name in names:
                field = "name" if name == entry.name else "aliases"
                document.wrong(
                    ("models", index, field),
                    f'"{name}"',
                    "a name of its own",
                    f'the model "{names[name]}" has it already',
                )
            names.setdefault(name, entry.name)
    return names


def _listeners(config: model.Config, document: Document) -> None:
    for index, address in enumerate(config.admin.listen):
        # Port 0 asks the system for a free one, each time another.
        anew = isinstance(address, model.TcpAddress) and address.port == 0
        if address in config.server.listen and not anew:
            document.wrong(
                ("admin", "listen", index), f'"{address}"', "an address that [server] has not"
            )


def _served(config: model.Config, document: Document, entry: model.Model, path: KeyPath) -> None:
    """Every target has an account of its provider that serves its model."""
    for target in entry.targets:
        globs = [
            glob
            for account in config.accounts
            if account.provider == target.provider
            for glob in account.models
        ]
        name = f"{target.provider}/{target.model}"
        if not globs:
            hint = f'add one with provider = "{target.provider}"'
            document.wrong((*path, "targets"), f'"{name}"', "a provider that has an account", hint)
        elif not any(fnmatchcase(target.model, glob) for glob in globs):
            hint = f"the globs of its accounts are {', '.join(globs)}"
            document.wrong((*path, "targets"), f'"{name}"', "a model that an account serves", hint)


def _fallbacks_exist(
    document: Document, entry: model.Model, names: dict[str, str], path: KeyPath
) -> None:
    for name in entry.fallbacks:
        if name not in names:
            hint = nearest(name, names)
            document.wrong((*path, "fallbacks"), f'"{name}"', "the name of a model", hint)
        elif names[name] == entry.name:
            document.wrong((*path, "fallbacks"), f'"{name}"', "another model", "it names itself")


def _warnings(document: Document) -> tuple[str, ...]:
    readable = stat.S_IRGRP | stat.S_IROTH
    if not document.literal_secrets or not document.path.exists():
        return ()
    if not document.path.stat().st_mode & readable:
        return ()
    lines = sorted({document.line(path) for path in document.literal_secrets})
    listed = ", ".join(map(str, lines))
    place = f"{document.path}: others can read the secrets on line {listed}"
    return (f"{place}; use {{ env = … }} or {{ file = … }}, or chmod 600 {document.path}",)
