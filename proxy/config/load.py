"""Finds the configuration file and reads it: everything that is wrong is told at once."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

from proxy.config import keys, model, models, sections, upstreams
from proxy.config.checks import check
from proxy.config.errors import ConfigError
from proxy.config.lines import key_lines
from proxy.config.paths import SYSTEM_CONFIG
from proxy.config.reader import Document


def find(explicit: str | None, environ: Mapping[str, str]) -> Path:
    """The file that a command uses.

    One that is named, by ``-c`` or ``$SPLICE_CONFIG``, is used and must exist; else the first that
    exists of ``./config.toml``, the user's and the system's. Raises ConfigError naming the places.
    """
    for name, source in ((explicit, "-c"), (environ.get("SPLICE_CONFIG"), "$SPLICE_CONFIG")):
        if name:
            path = Path(name)
            if not path.is_file():
                raise ConfigError(f"{source}: found no file {name}, expected a configuration file")
            return path
    home = environ.get("XDG_CONFIG_HOME") or f"{environ.get('HOME') or Path.home()}/.config"
    places = [
        Path("config.toml"),
        Path(home, "splice/config.toml"),
        SYSTEM_CONFIG,
    ]
    for place in places:
        if place.is_file():
            return place
    listed = ", ".join(map(str, places))
    raise ConfigError(f"found no configuration in {listed}; make one with `splice init`")


def load(path: Path, environ: Mapping[str, str]) -> model.Config:
    """The configuration in a file; raises ConfigError with every fault."""
    return loads(_text(path), path, environ)


def loads(text: str, path: Path, environ: Mapping[str, str]) -> model.Config:
    """The configuration in a text; *path* names it in messages and anchors relative paths."""
    return _read(text, path, environ)


def state_directory(path: Path, environ: Mapping[str, str]) -> Path:
    """Where the daemon of a configuration keeps its state.

    For commands that ask that daemon: its environment and secrets are not theirs, and the rest of
    the file may be in the middle of a change. Raises ConfigError.
    """
    document = _document(_text(path), path, environ)
    found = sections.state(document.root.table("state"))
    if document.faults:
        raise ConfigError(*(message for _, message in sorted(document.faults)))
    return found.directory


@dataclass(frozen=True, slots=True)
class Local:
    """What a command needs that works on the state of a daemon that does not run."""

    directory: Path
    prefix: str
    """Of new keys."""
    keys: Mapping[str, str]
    """The names of ``[[keys]]`` with their digests; "" where the file has a secret that only the daemon may read."""


def local(path: Path, environ: Mapping[str, str]) -> Local:
    """What a configuration says to commands that work beside it, without its secrets. Raises ConfigError."""
    document = _document(_text(path), path, environ)
    root = document.root
    state = sections.state(root.table("state"))
    policy = sections.keys_policy(root.table("keys_policy"))
    found = keys.names(root.tables("keys"))
    if document.faults:
        raise ConfigError(*(message for _, message in sorted(document.faults)))
    return Local(state.directory, policy.prefix, found)


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: found no file to read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: found bytes that are not UTF-8, expected text") from error


def _read(text: str, path: Path, environ: Mapping[str, str]) -> model.Config:
    document = _document(text, path, environ)
    config = _config(document)
    if not document.faults:
        config = check(config, document)
    if document.faults:
        raise ConfigError(*(message for _, message in sorted(document.faults)))
    return replace(config, settings=tuple(document.settings))


def _document(text: str, path: Path, environ: Mapping[str, str]) -> Document:
    try:
        values = tomllib.loads(text, parse_float=Decimal)
    except (ValueError, RecursionError) as error:
        # Not only its own error: a number of thousands of digits, or as many brackets, raise others.
        raise ConfigError(_syntax(str(error), text, path)) from error
    return Document(path, key_lines(text.replace("\r\n", "\n")), values, environ)


def _config(document: Document) -> model.Config:
    root = document.root
    config = model.Config(
        path=document.path,
        server=sections.server(root.table("server")),
        admin=sections.admin(root.table("admin")),
        state=sections.state(root.table("state")),
        logging=sections.logging(root.table("logging")),
        streaming=sections.streaming(root.table("streaming")),
        timeouts=(timeouts := sections.timeouts(root.table("timeouts"), model.Timeouts())),
        retry=sections.retry(root.table("retry")),
        cooldown=sections.cooldown(root.table("cooldown")),
        limits=sections.limits(root.table("limits")),
        translation=sections.translation(root.table("translation")),
        metrics=sections.metrics(root.table("metrics")),
        keys_policy=sections.keys_policy(root.table("keys_policy")),
        providers=(providers := upstreams.providers(root.table("providers"))),
        accounts=upstreams.accounts(root.tables("accounts"), providers),
        models=models.models(root.tables("models"), providers, timeouts),
        keys=keys.keys(root.tables("keys")),
    )
    root.finish()
    return config


_AT_LINE = re.compile(r"\(at line (\d+), column \d+\)")


def _syntax(message: str, text: str, path: Path) -> str:
    """The parser's complaint with its line in the place where ours have it."""
    match = _AT_LINE.search(message)
    line = int(match[1]) if match else text.count("\n") + 1
    said = message[: match.start()].strip() if match else message.partition(" (at ")[0]
    return f"{path}:{line}: found no valid TOML, expected key = value ({said.lower()})"
