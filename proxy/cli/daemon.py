"""The running daemon as a command talks to it: HTTP over its admin socket."""

from __future__ import annotations

import argparse
import http.client
import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson

from proxy.config import admin_sockets, find, state_directory

PATIENCE = 15.0
"""Seconds for an answer that the daemon knows."""


class DaemonError(Exception):
    """Nobody there, nobody who may be asked, or a refusal: one line for whoever typed the command."""


class NoDaemon(DaemonError):
    """No daemon runs, as far as its socket tells."""


class Daemon:
    """The daemon of a configuration."""

    def __init__(self, args: argparse.Namespace) -> None:
        """Find out where its socket is. Raises ConfigError."""
        config = find(args.config, os.environ)
        state = state_directory(config, os.environ)
        self._places = admin_sockets(config, state, os.environ)

    def get(self, path: str) -> Any:
        """Return the document at ``path``, which is below ``/api/v1/``. Raises DaemonError."""
        return self._ask("GET", path, PATIENCE)

    def post(self, path: str, patience: float = PATIENCE) -> Any:
        """Have something done; return the document that says what. Raises DaemonError."""
        return self._ask("POST", path, patience)

    def send(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        headers: Mapping[str, str],
    ) -> Any:
        """Ask for something with what it takes along. Raises DaemonError; NoDaemon if there is none."""
        return self._ask(method, path, PATIENCE, body, headers)

    def _ask(
        self,
        method: str,
        path: str,
        patience: float,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        connected, place = _connect(self._places)
        connected.settimeout(patience)
        connection = http.client.HTTPConnection("localhost")
        connection.sock = connected
        try:
            # There is no host to name, and "localhost" need not be one of [admin] hosts.
            sent = None if body is None else orjson.dumps(body)
            connection.request(method, f"/api/v1/{path}", sent, {"Host": "", **(headers or {})})
            answer = connection.getresponse()
            told = answer.read()
        except TimeoutError as error:
            raise DaemonError(
                f"found a daemon at {place} that does not answer within {patience:g} s"
            ) from error
        except (OSError, http.client.HTTPException) as error:
            raise DaemonError(
                f"found something at {place} that broke off ({error!r}), expected the daemon's answer"
            ) from error
        finally:
            connection.close()
        return _document(answer.status, told, place)


def segment(name: str) -> str:
    """``name`` as it stands in a path."""
    return quote(name, safe="")


def _connect(places: Sequence[Path]) -> tuple[socket.socket, Path]:
    """A connection to the first of ``places`` where a daemon listens, and which that is."""
    closed: Path | None = None
    for place in places:
        one = socket.socket(socket.AF_UNIX)
        try:
            one.settimeout(PATIENCE)
            one.connect(str(place))
        except (FileNotFoundError, ConnectionRefusedError):
            one.close()
        except PermissionError:
            # It may stand for a directory that only the daemon may enter, and the socket be at the next place.
            one.close()
            closed = closed or place
        except OSError as error:
            one.close()
            raise DaemonError(f"cannot open the daemon's socket {place}: {error}") from error
        else:
            return one, place
    if closed is not None:
        raise DaemonError(
            f"may not open the daemon's socket {closed}; run this as the daemon's user or in its group"
        )
    raise NoDaemon(
        f"found no daemon at {' or '.join(map(str, places))}, expected `splice serve` to run; "
        "start it or name its config with -c"
    )


def _document(status: int, body: bytes, place: Path) -> Any:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise DaemonError(f"found no JSON in the answer from {place}: is it a daemon?") from error
    if status != http.client.OK:
        told = document.get("error") if isinstance(document, dict) else None
        message = told.get("message") if isinstance(told, dict) else None
        raise DaemonError(str(message or f"the daemon answered with status {status}"))
    return document
