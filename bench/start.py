"""How long the gateway takes from its start to READY, and what memory it has then: ``python -m bench.start``.

READY is what systemd is told when the listeners accept; the configuration is that of ``bench.gateway``, and the ledger is new.
"""

from __future__ import annotations

import argparse
import resource
import socket
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from bench.processes import ROOT, resident_mib

_PATIENCE = 30.0
_CONFIG = """
[server]
listen = ["127.0.0.1:0"]
[admin]
listen = []
[state]
directory = "state"
[[accounts]]
name = "chat"
provider = "openai"
api_key = "sk-upstream"
"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.start", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    asked = parser.parse_args()
    rounds = [_start() for _ in range(asked.rounds)]
    took, cpu, memory = zip(*rounds, strict=True)
    print(
        f"\nstart to READY: {median(took):.2f} s, worst of {asked.rounds} {max(took):.2f} s (0.5 is asked for), "
        f"{median(cpu):.2f} s of CPU; memory (RSS) then {median(memory):.1f} MiB (60 is asked for)"
    )


def _start() -> tuple[float, float, float]:
    """Start and end it once; return the seconds to READY, those of CPU that it took in all, and the MiB at READY."""
    with (
        TemporaryDirectory() as directory,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear,
    ):
        config = Path(directory) / "config.toml"
        config.write_text(_CONFIG)
        ear.bind(f"{directory}/notify")
        ear.settimeout(_PATIENCE)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        began = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "proxy", "serve", "-c", str(config)],
            cwd=ROOT,
            env={"NOTIFY_SOCKET": ear.getsockname()},
            stderr=subprocess.DEVNULL,
        )
        try:
            while ear.recv(4096) != b"READY=1":
                pass
            took = time.perf_counter() - began
            memory = resident_mib([process.pid])
        finally:
            process.terminate()
            process.wait()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return took, cpu, memory


if __name__ == "__main__":
    main()
