"""How commands reach keys, teams and credits: through the daemon if it runs, else on its database, under its lock."""

from __future__ import annotations

import argparse
import asyncio
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from inspect import isawaitable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from proxy.billing import database, state
from proxy.billing.directory import Directory
from proxy.billing.keys import Keyring
from proxy.billing.ledger import Ledger, ReadTooLong
from proxy.billing.options import Refused
from proxy.billing.state import Unusable
from proxy.cli.daemon import Daemon, DaemonError, NoDaemon, segment
from proxy.config import Local, find, local
from proxy.server import directory_api
from proxy.server.admin_call import AdminCall, AdminError

PATIENCE = 5.0
"""Seconds for which a state directory that is held is tried again: by another command, or by a daemon that is about to listen."""
_AGAIN = 0.05
_PAGE = "1000"


def ask(
    args: argparse.Namespace,
    method: str,
    row: str,
    name: str = "",
    *,
    query: Mapping[str, str] | None = None,
    body: Mapping[str, Any] | None = None,
    ref: str | None = None,
) -> Any:
    """Return what ``method`` on the ``row`` of the admin API answers for ``name``. Raises ConfigError, DaemonError, Unusable."""
    call = AdminCall(name, query or {}, body or {}, ref, f"command of uid {os.getuid()}")
    path = row.replace("*", segment(name)) + (f"?{urlencode(query)}" if query else "")
    headers = {} if ref is None else {"Idempotency-Key": ref}
    daemon = Daemon(args)
    given_up = time.monotonic() + PATIENCE
    while True:
        try:
            return daemon.send(method, path, body, headers)
        except NoDaemon:
            found = local(find(args.config, os.environ), os.environ)
        with as_owner(found.directory):
            if method == "GET":
                must_exist(found.directory / database.NAME)
            state.prepare(found.directory)
            try:
                lock = state.lock(found.directory)
            except Unusable:
                if time.monotonic() >= given_up:
                    raise
            else:
                try:
                    return asyncio.run(_on_database(found, method, row, call))
                finally:
                    os.close(lock)
        time.sleep(_AGAIN)


def pages(
    args: argparse.Namespace, row: str, cursor: str, **query: str | None
) -> Iterator[dict[str, Any]]:
    """Yield every row of a list, page by page; ``cursor`` is the parameter that asks for the next one."""
    wanted = {name: value for name, value in query.items() if value is not None}
    at: dict[str, str] = {}
    while True:
        page = ask(args, "GET", row, query={**wanted, "limit": _PAGE, **at})
        yield from page["data"]
        if not page["has_more"]:
            return
        at = {cursor: str(page["next"])}


@contextmanager
def as_owner(directory: Path) -> Iterator[None]:
    """As root, be whoever the state directory belongs to meanwhile, so that what is made there is theirs."""
    owner = directory.stat() if os.geteuid() == 0 and directory.exists() else None
    if owner is None or owner.st_uid == 0:
        yield
        return
    group, groups = os.getegid(), os.getgroups()
    os.setgroups([])
    os.setegid(owner.st_gid)
    os.seteuid(owner.st_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)
        os.setgroups(groups)


def must_exist(path: Path) -> None:
    """Raise Unusable unless there is a ledger at ``path``: looking makes none."""
    try:
        path.stat()
    except OSError as error:
        raise Unusable(
            f"found no daemon and no ledger at {path}, expected one that `splice serve` has made; "
            "is this its configuration, and may this user read the directory?"
        ) from error


async def _on_database(found: Local, method: str, row: str, call: AdminCall) -> Any:
    path = found.directory / database.NAME
    database.prepare(path)
    try:
        ledger = await Ledger.open(path)
        try:
            directory = await Directory.open(ledger, Keyring(), wall=time.time)
            directory.roster.adopt(found.keys, found.prefix)
            answer = directory_api.ROUTES[row][method](directory, call)
            return await answer if isawaitable(answer) else answer
        finally:
            await ledger.close()
    except (Refused, AdminError) as error:
        raise DaemonError(error.message) from error
    except ReadTooLong as error:
        raise Unusable(f"found {path} too large to add this up in a second") from error
    except sqlite3.Error as error:
        raise database.unusable(path, error) from error
