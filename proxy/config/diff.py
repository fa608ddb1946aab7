"""What is different between two configurations, in the words of the file."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

import orjson

from proxy.config.model import Config, Setting
from proxy.config.secrets import Secret

AT_START = frozenset(("server.listen", "admin.listen", "state.directory", "logging.format"))
"""What a running daemon cannot change any more: it is noted, and has its effect when the daemon starts again."""
_TABLE = re.compile(r"(?:accounts|models|keys)\[\d+\]")


class Change(NamedTuple):
    """One setting, or one table, and what became of it."""

    key: str
    what: str

    def __str__(self) -> str:
        return f"{self.key}: {self.what}"


def changes(before: Config, after: Config) -> list[Change]:
    """Return what is different in ``after``. Tables go by their names, so moving one changes nothing; secrets are not shown."""
    was, now = _by_table(before.settings), _by_table(after.settings)
    found = [Change(table, "removed") for table in was if table not in now]
    for table, fields in now.items():
        old = was.get(table)
        if old is None:
            found.append(Change(table, "added"))
            continue
        for name in dict.fromkeys((*old, *fields)):
            if old.get(name) != fields.get(name):
                key = f"{table}.{name}" if table else name
                later = " (after a restart)" if key in AT_START else ""
                what = f"{old.get(name, 'none')} -> {fields.get(name, 'none')}{later}"
                found.append(Change(key, what))
    old_secrets = _secrets(before)
    found += [
        Change(key, "another secret")
        for key, secret in _secrets(after).items()
        if key in old_secrets and secret is not None and old_secrets[key] not in (None, secret)
    ]
    return found


def _by_table(settings: Iterable[Setting]) -> dict[str, dict[str, str]]:
    """Return the values as text: by the name of the table they stand in ("" outside of those), and by key."""
    names: dict[str, str] = {}
    tables: dict[str, dict[str, str]] = {"": {}}
    for setting in settings:
        place = _TABLE.match(setting.key)
        if place is None:
            table, key = "", setting.key
        else:
            at, key = place[0], setting.key[place.end() + 1 :]
            if key == "name":
                names[at] = str(setting.value)
            table = f"{at.partition('[')[0]}.{names[at]}"
        if setting.value is not None:
            tables.setdefault(table, {})[key] = _shown(setting.value)
    return tables


def _secrets(config: Config) -> dict[str, Secret | str | None]:
    """Return what is never shown, by the key under which it stands."""
    found: dict[str, Secret | str | None] = {
        "admin.token": config.admin.token,
        "admin.read_token": config.admin.read_token,
    }
    found |= {f"accounts.{one.name}.api_key": one.api_key for one in config.accounts}
    # A key that is written as its hash is among the settings.
    hashed = {setting.value for setting in config.settings if setting.key.endswith("].hash")}
    return found | {
        f"keys.{one.name}.key": one.hash
        for one in config.keys
        if f"sha256:{one.hash}" not in hashed
    }


def _shown(value: object) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()
