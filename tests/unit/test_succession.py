"""What starts the next process, and what that is given."""

from __future__ import annotations

import json
import socket
import sys

import pytest

from proxy.app.succession import VARIABLE, CannotUpgrade, Estate, Word, fail
from proxy.app.successor import command


def test_a_script_is_started_by_its_own_path(tmp_path):
    script = tmp_path / "splice"
    script.touch(mode=0o755)
    argv = [str(script), "-c", "config.toml", "serve"]
    assert command(argv, ["/some/release/bin/python", *argv]) == argv


@pytest.mark.parametrize(
    ("argv", "original"),
    [
        (["/lib/proxy/__main__.py", "serve"], ["python3", "-W", "error", "-m", "proxy", "serve"]),
        (["-c", "serve"], ["python3", "-c", "import proxy", "serve"]),
        # It cannot be run by its path alone.
        (["/no/such/script", "serve"], ["python3", "/no/such/script", "serve"]),
    ],
)
def test_all_else_is_started_as_it_was(argv, original):
    assert command(argv, original) == [sys.executable, *original[1:]]


def test_what_systemd_has_said_to_the_old_process_is_not_the_new_ones():
    environ = {
        "PATH": "/bin",
        "NOTIFY_SOCKET": "/run/notify",
        "WATCHDOG_USEC": "15000000",
        "WATCHDOG_PID": "1",
        "LISTEN_PID": "1",
        "LISTEN_FDS": "1",
        "LISTEN_FDNAMES": "public",
        VARIABLE: "of the last time",
    }
    estate = Estate(7, {"server systemd:public": [3]}, "/var/lib/splice")
    given = estate.environment(environ)
    assert given.keys() == {"PATH", "NOTIFY_SOCKET", "WATCHDOG_USEC", VARIABLE}
    assert Estate.of(given) == estate
    assert Estate.of(environ | {VARIABLE: given[VARIABLE]}) == estate
    assert Estate.of({}) is None


def test_an_upgrade_in_a_manner_that_is_not_known_is_refused():
    told = json.dumps({"protocol": 2, "channel": 3, "listeners": {}, "state": "/s"})
    with pytest.raises(CannotUpgrade, match="restart instead"):
        Estate.of({VARIABLE: told})


def test_whoever_fails_says_why_if_there_is_somebody_to_tell():
    fail({}, "nobody hears it")
    fail({VARIABLE: '{"protocol": 2, "channel": 3, "listeners": {}, "state": "/s"}'}, "nor this")
    ours, theirs = socket.socketpair()
    with ours, theirs:
        given = Estate(theirs.fileno(), {}, "/s").environment({})
        fail(given, "no room")
        assert json.loads(ours.recv(4096)) == {"word": Word.FAILED, "why": "no room"}
    # Its number is nobody's any more.
    fail(given, "nor this")
