"""How a command finds its daemon, and what it says when it may not."""

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.cli import daemon, main
from proxy.cli.daemon import DaemonError, _connect


@contextlib.contextmanager
def without_rights() -> Iterator[None]:
    """Be nobody in particular, for whom files have modes."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)


@pytest.fixture
def listening(tmp_path) -> Iterator[Path]:
    path = tmp_path / "admin.sock"
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(path))
        one.listen()
        yield path


def test_the_first_place_where_somebody_answers_counts(tmp_path, listening):
    dead = tmp_path / "dead.sock"
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(dead))
    connected, place = _connect([tmp_path / "missing.sock", dead, listening])
    connected.close()
    assert place == listening


def test_nobody_anywhere_names_every_place(tmp_path):
    with pytest.raises(DaemonError, match=r"found no daemon at .*/a or .*/b, expected"):
        _connect([tmp_path / "a", tmp_path / "b"])


def test_a_socket_that_may_not_be_opened_is_told_as_that(listening):
    listening.chmod(0)
    with without_rights(), pytest.raises(DaemonError, match=r"may not open .*; run this as"):
        _connect([listening])


def test_a_directory_that_may_not_be_entered_does_not_hide_the_next_place(listening, monkeypatch):
    shut = listening.parent / "shut"
    shut.mkdir(mode=0)
    listening.chmod(0o666)
    # By relative paths: the directories around this one may be shut as well.
    listening.parent.chmod(0o755)
    monkeypatch.chdir(listening.parent)
    with without_rights():
        connected, place = _connect([Path("shut/admin.sock"), Path(listening.name)])
    connected.close()
    assert place == Path(listening.name)


def test_a_path_that_no_socket_can_have_is_told(tmp_path):
    with pytest.raises(DaemonError, match=r"cannot open the daemon's socket .*too long"):
        _connect([tmp_path / ("s" * 120)])


def test_a_daemon_that_hangs_is_not_waited_for(listening, monkeypatch, capsys):
    monkeypatch.setattr(daemon, "PATIENCE", 0.1)
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    path = listening.with_name("config.toml")
    path.write_text('[state]\ndirectory = "."\n')
    assert main(["-c", str(path), "accounts"]) == 1
    assert capsys.readouterr().err == (
        f"splice: found a daemon at {listening} that does not answer within 0.1 s\n"
    )


def test_a_missing_configuration_is_told(capsys):
    assert main(["-c", "none.toml", "requests", "cancel", "x"]) == 1
    assert capsys.readouterr().err == (
        "splice: -c: found no file none.toml, expected a configuration file\n"
    )


@pytest.mark.parametrize(
    "line", ["accounts why", "accounts cure a", "accounts why a b", "requests cancel", "requests x"]
)
def test_bad_usage_is_2(line, capsys):
    with pytest.raises(SystemExit) as caught:
        main(line.split())
    assert caught.value.code == 2
