"""The units of systemd/, as `make install` puts them in place and as systemd's own tools judge them."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from proxy.cli import EX_CONFIG, _parser
from proxy.config.model import Server
from proxy.server.drain import _LAST_WORDS

ROOT = Path(__file__).parents[2]
ANALYZE = shutil.which("systemd-analyze") or ""
needs_systemd = pytest.mark.skipif(
    not ANALYZE, reason="there is no systemd-analyze here (Debian: apt install systemd)"
)


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """What `make install` puts beside the venv; the prefix is one where the command exists."""
    into = tmp_path_factory.mktemp("installed")
    prefix = into / "prefix"
    made(into, prefix)
    (prefix / "current" / "bin").mkdir(parents=True)
    (prefix / "current" / "bin" / "splice").symlink_to(Path(sys.executable).with_name("splice"))
    return into, prefix


def made(into, prefix, target="install-files"):
    command = ["make", "--no-print-directory", target, f"DESTDIR={into}", f"PREFIX={prefix}"]
    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def tree(into):
    return {str(path.relative_to(into)) for path in into.rglob("*") if not path.is_dir()}


def settings(unit):
    """Return the assignments of a unit, a list for each name."""
    found: dict[str, list[str]] = {}
    for line in (ROOT / "systemd" / unit).read_text().splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


def seconds(text):
    assert re.fullmatch(r"\d+s", text)
    return int(text[:-1])


def default(name):
    (found,) = (field.default for field in fields(Server) if field.name == name)
    return found


def test_what_is_installed_and_removed_again(tmp_path):
    made(tmp_path, "/opt/splice")
    assert tree(tmp_path) == {
        "etc/splice/config.toml",
        "opt/splice/share/doc/splice/config.example.toml",
        "opt/splice/share/doc/splice/install.md",
        "opt/splice/share/doc/splice/monitoring/alerts.yml",
        "opt/splice/share/doc/splice/monitoring/alerts_test.yml",
        "opt/splice/share/doc/splice/monitoring/dashboard.json",
        "opt/splice/share/doc/splice/monitoring/prometheus.yml",
        "opt/splice/share/doc/splice/runbook.md",
        "usr/local/bin/splice",
        "usr/local/lib/systemd/system/splice-backup.service",
        "usr/local/lib/systemd/system/splice-backup.timer",
        "usr/local/lib/systemd/system/splice.service",
        "usr/local/lib/systemd/system/splice.socket",
        "usr/local/lib/sysusers.d/splice.conf",
        "usr/local/lib/tmpfiles.d/splice.conf",
    }
    assert (tmp_path / "usr/local/bin/splice").readlink() == Path("/opt/splice/current/bin/splice")
    (tmp_path / "opt/splice/releases").mkdir()
    made(tmp_path, "/opt/splice", "uninstall")
    assert tree(tmp_path) == {"etc/splice/config.toml"}


def test_an_existing_configuration_is_kept(tmp_path):
    config = tmp_path / "etc/splice/config.toml"
    config.parent.mkdir(parents=True)
    config.write_text("# mine\n")
    made(tmp_path, "/opt/splice")
    assert config.read_text() == "# mine\n"


def test_units_name_the_prefix_that_was_chosen(installed):
    into, prefix = installed
    service = (into / "usr/local/lib/systemd/system/splice.service").read_text()
    assert f"ExecStart={prefix}/current/bin/splice -c /etc/splice/config.toml serve\n" in service
    assert "/opt/splice" not in service


def test_the_service_starts_a_command_that_there_is():
    (command,) = settings("splice.service")["ExecStart"]
    program, *arguments = command.split()
    assert Path(program).name == "splice"
    assert _parser().parse_args(arguments).command == "serve"


def test_the_service_knows_the_daemons_exit_code_and_leaves_it_time_to_drain():
    service = settings("splice.service")
    assert service["RestartPreventExitStatus"] == [str(EX_CONFIG)]
    (stop,) = service["TimeoutStopSec"]
    assert seconds(stop) >= default("grace_period") + _LAST_WORDS + 10


def test_the_sockets_name_is_the_one_that_the_documents_use():
    socket = settings("splice.socket")
    assert socket["FileDescriptorName"] == ["public"]
    assert socket["ListenStream"] == [str(default("listen")[0])]


def test_the_backup_is_the_command_with_a_file_of_its_own_and_old_ones_go(installed, tmp_path):
    _, prefix = installed
    config = tmp_path / "config.toml"
    config.write_text(
        '[server]\nlisten = ["127.0.0.1:0"]\n[admin]\nlisten = []\n[state]\ndirectory = "state"\n'
    )
    daemon = subprocess.Popen(
        [prefix / "current/bin/splice", "-c", config, "serve"], stderr=subprocess.PIPE
    )
    assert any(b'"ready"' in line for line in daemon.stderr or ())
    daemon.terminate()
    daemon.communicate()
    backups = tmp_path / "backups"
    backups.mkdir()
    old = backups / "ledger-20200101T000000Z.db"
    old.touch()
    os.utime(old, (0, 0))
    service = settings("splice-backup.service")
    for command in (*service["ExecStart"], *service["ExecStartPost"]):
        # What systemd makes of it before it runs it.
        line = command.replace("$$", "$").replace("%%", "%").replace("/opt/splice", str(prefix))
        line = line.replace("/etc/splice/config.toml", str(config))
        arguments = [one.replace("${STATE_DIRECTORY}", str(backups)) for one in shlex.split(line)]
        done = subprocess.run(
            arguments,
            env={**os.environ, "STATE_DIRECTORY": str(backups)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    (made_now,) = backups.iterdir()
    assert re.fullmatch(r"ledger-\d{8}T\d{6}Z\.db", made_now.name)


@needs_systemd
@pytest.mark.parametrize(
    "unit", ["splice.service", "splice.socket", "splice-backup.service", "splice-backup.timer"]
)
def test_systemd_finds_nothing_wrong(installed, unit):
    into, _ = installed
    path = into / "usr/local/lib/systemd/system" / unit
    done = subprocess.run(
        [ANALYZE, "verify", "--man=no", "--recursive-errors=no", path],
        check=False,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")


@needs_systemd
@pytest.mark.parametrize("unit", ["splice.service", "splice-backup.service"])
def test_the_services_are_exposed_to_little(installed, unit):
    into, _ = installed
    path = into / "usr/local/lib/systemd/system" / unit
    done = subprocess.run(
        [ANALYZE, "security", "--offline=true", "--no-pager", "--threshold=13", path],
        check=False,
        capture_output=True,
        text=True,
    )
    # The threshold is in tenths: 1.3. Of a bare service it says 9.6.
    assert done.returncode == 0, done.stdout
