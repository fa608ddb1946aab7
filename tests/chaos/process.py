"""What a gateway in a process of its own uses, as the kernel tells it."""

from __future__ import annotations

import os
from pathlib import Path

MIB = 1 << 20


class Usage:
    """Memory and sockets of a process."""

    def __init__(self, pid: int) -> None:
        self._proc = Path(f"/proc/{pid}")

    def resident(self) -> int:
        """Return the bytes in memory now."""
        return self._status("VmRSS")

    def peak(self) -> int:
        """Return the most bytes that were in memory since ``forget_peak``."""
        return self._status("VmHWM")

    def forget_peak(self) -> None:
        """Begin to look for the peak anew."""
        (self._proc / "clear_refs").write_text("5")

    def cpu(self) -> float:
        """Return the seconds of CPU used so far."""
        fields = (self._proc / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def descriptors(self) -> int:
        """Return how many descriptors are open."""
        return len(list((self._proc / "fd").iterdir()))

    def _status(self, name: str) -> int:
        for line in (self._proc / "status").read_text().splitlines():
            if line.startswith(name + ":"):
                return int(line.split()[1]) * 1024
        raise LookupError(name)
