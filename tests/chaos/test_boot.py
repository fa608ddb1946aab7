"""The installed service under a real systemd: booted as the first process of a container without a network."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "install.md"

# In a mount namespace of its own: whatever becomes of this, nothing stays mounted.
_BOOT = """
set -e
mount -t tmpfs tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/machine"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/machine"
cp -a "$2/." "$1/machine/"
cp "$3"/*.sh "$1/machine/"
: >"$1/machine/etc/machine-id"
cat >"$1/machine/etc/systemd/system/boot-test.service" <<UNIT
[Unit]
After=basic.target
[Service]
Type=oneshot
ExecStart=/bin/sh /boot.sh
UNIT
systemd-nspawn --quiet -D "$1/machine" --register=no --keep-unit --private-network --boot -- \\
    --unit=boot-test.service </dev/null >"$4/console" 2>&1 || true
for one in report journal errors; do cp "$1/machine/$one" "$4/" || true; done
"""

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        os.geteuid() != 0 or shutil.which("systemd-nspawn") is None,
        reason="needs root and systemd-nspawn (Debian: apt install systemd-container)",
    ),
]


@pytest.fixture(scope="module")
def booted(tmp_path_factory):
    """What the machine reported, by name, and what its journal and console say."""
    directory = tmp_path_factory.mktemp("boot")
    for name in ("installed", "mount", "out"):
        (directory / name).mkdir()
    installed, mount, out = (str(directory / name) for name in ("installed", "mount", "out"))
    subprocess.run(["make", "install", f"DESTDIR={installed}"], check=True, cwd=ROOT)
    scripts = directory / "scripts"
    scripts.mkdir()
    shutil.copy(Path(__file__).with_name("boot.sh"), scripts)
    configure, call = re.findall(r"^```sh\n(.*?)^```$", GUIDE.read_text(), re.MULTILINE | re.DOTALL)
    (scripts / "guide.sh").write_text(configure)
    (scripts / "call.sh").write_text(call)
    command = ["unshare", "-m", "sh", "-c", _BOOT, "sh", mount, installed, str(scripts), out]
    subprocess.run(command, check=True)
    told = {name: directory / "out" / name for name in ("report", "journal", "console", "errors")}
    found = {
        name: path.read_text("utf-8", "replace") for name, path in told.items() if path.exists()
    }
    assert "journal" in found, found
    lines = (line.partition(": ") for line in found["report"].splitlines())
    return {name: value for name, _, value in lines}, found["journal"]


def test_the_service_lives_up_to_its_unit(booted):
    report, journal = booted
    assert report == {
        # The guide, followed to the letter.
        "guide": "ok",
        "first-call": "1",
        "units": "enabled enabled",
        "config": "root:splice 640",
        "secret": "root:splice 640",
        "start": "ok",
        "call": "200",
        "status": "serving, 0 in flight",
        "user": "splice",
        "capabilities": "0000000000000000",
        "seccomp": "2",
        "new-privileges": "1",
        "state": "splice 700",
        "runtime": "splice 750",
        # The watchdog found the loop hanging; a client that calls meanwhile waits.
        "restarts-after-hanging": "1",
        "call-after-hanging": "200",
        "call-after-kill": "200",
        "restart": "ok",
        "call-after-restart": "200",
        "streamed": "200 1",
        "upgrade": "upgraded: 0.1.0 (process N) -> 0.1.0 (process N)",
        "main-is-another": "yes",
        "streamed-over-the-upgrade": "200 1",
        "call-after-upgrade": "200",
        "old-has-ended": "yes",
        "state-after-upgrade": "active 0",
        "call-after-upgrade-and-kill": "200",
        # It is not tried again until somebody calls or starts it.
        "faulty": "failed 78 0",
        "call-after-repair": "200",
        "stop": "success",
    }
    assert "Watchdog timeout" in journal
    assert "Fatal Python error: Aborted" in journal
    assert "did you mean listen?" in journal
    assert '"msg":"drained","ended_early":0' in journal
