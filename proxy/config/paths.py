"""Where a daemon opens its admin socket, and where commands look for it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

SYSTEM_CONFIG = Path("/etc/splice/config.toml")
_SYSTEM_RUNTIME = Path("/run/splice")
"""What the system's unit has as RuntimeDirectory. Only it knows: nobody's shell has its $RUNTIME_DIRECTORY."""
_NAME = "admin.sock"


def admin_socket(state: Path, environ: Mapping[str, str]) -> Path:
    """The path of the socket that a daemon opens: in $RUNTIME_DIRECTORY, else in its state directory."""
    # systemd lists several with colons when the unit has several; ours is the first.
    runtime = environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]
    return Path(runtime or state, _NAME)


def admin_sockets(config: Path, state: Path, environ: Mapping[str, str]) -> list[Path]:
    """The paths at which the daemon of the file ``config`` may have its socket, likeliest first."""
    places = [admin_socket(state, environ), state / _NAME]
    if config == SYSTEM_CONFIG:
        places.append(_SYSTEM_RUNTIME / _NAME)
    return list(dict.fromkeys(places))
