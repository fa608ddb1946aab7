"""The processes of a run: on which core each works, what it has used, and how it ends."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
"""The checkout: what is started here imports ``proxy`` and ``bench`` from it."""


class Broken(Exception):
    """A process did not come up, or went away."""


@dataclass(frozen=True, slots=True)
class Cores:
    """Which core each part works on; None leaves it to the system."""

    measured: int | None
    upstream: int | None
    load: int | None


def shared_out() -> Cores:
    """Return a core for what is measured and another, or two others, for what only makes it work."""
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        return Cores(None, None, None)
    return Cores(allowed[0], allowed[1], allowed[2 if len(allowed) > 2 else 1])


@contextmanager
def pinned(core: int | None) -> Iterator[None]:
    """Work on ``core``; what is started meanwhile stays there, its own children too."""
    before = os.sched_getaffinity(0)
    if core is not None:
        os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def running(
    arguments: Sequence[str],
    core: int | None,
    log: Path,
    environ: Mapping[str, str] | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a process on ``core``; it is asked to end when the block does. What it prints goes to ``log``."""
    with pinned(core), log.open("wb") as out:
        process = subprocess.Popen(
            arguments, cwd=ROOT, env={**os.environ, **(environ or {})}, stdout=out, stderr=out
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Return when ``process`` accepts connections on ``port``. Raises Broken after 20 seconds, or when it has ended."""
    until = time.monotonic() + 20
    while time.monotonic() < until and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise Broken(f"nothing listens on port {port}; the process said:\n{log.read_text()[-2000:]}")


def free_ports(count: int) -> list[int]:
    """Return ports on which nobody listens."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports: list[int] = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def raise_file_limit() -> int:
    """Allow this process and those it starts as many open files as they may have; return how many that is."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def family(pid: int) -> tuple[int, ...]:
    """Return ``pid`` and its children (nginx works in one)."""
    children = [
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and _parent(entry) == pid
    ]
    return (pid, *sorted(children))


def _parent(entry: Path) -> int:
    try:
        status = (entry / "stat").read_text()
    except OSError:
        return 0  # it has ended since it was listed
    # The name in front may hold blanks and parentheses; the state and the parent follow its last one.
    return int(status.rpartition(")")[2].split()[1])


def cpu_seconds(pids: Sequence[int]) -> float:
    """Return the CPU time that these processes have used, user and system.

    It is what ``/proc/<pid>/stat`` tells in ticks of 10 ms, read from the clock of each process in nanoseconds: a window of
    two seconds would otherwise be off by several per cent. The clock's number is built as clock_getcpuclockid(3) does it.
    """
    return sum(time.clock_gettime((~pid << 3) | 2) for pid in pids)


def resident_mib(pids: Sequence[int]) -> float:
    """Return the memory that these processes hold (VmRSS), in MiB."""
    pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids)
    return pages * resource.getpagesize() / 2**20
