"""What the service manager is told: that the daemon is ready, reloads, stops, and is alive (sd_notify(3))."""

from __future__ import annotations

import math
import os
import socket
import time
from collections.abc import Mapping

STATUS_EVERY = 3.0
"""Seconds between two lines of status: they are for a person's eyes, and each wakes the service manager."""


class Notifier:
    """Sends datagrams to the socket that ``NOTIFY_SOCKET`` names; without one, nothing.

    No method blocks or raises: a service manager that is busy or gone is no reason to stop serving. What it had no room for
    is sent with the next ``beat``.
    """

    __slots__ = (
        "_address", "_beat_at", "_half", "_replaced", "_silent", "_socket", "_status", "_status_at", "_unsent",
    )  # fmt: skip

    def __init__(self, environ: Mapping[str, str], *, silent: bool = False) -> None:
        """``silent``: another process is the main one, and nobody listens to this one until it says that it is ``ready``."""
        self._silent = silent
        self._replaced = False
        self._address = _address(environ.get("NOTIFY_SOCKET", ""))
        self._half = _half_of_watchdog(environ)
        self._beat_at = 0.0 if self._half else math.inf
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) if self._address else None
        self._unsent: list[bytes] = []
        self._status = ""
        self._status_at = -math.inf

    def ready(self) -> None:
        """Tell that requests are accepted: once at the start, and after each ``reloading``."""
        self._silent = self._replaced
        self._announce(b"READY=1")

    def reloading(self) -> None:
        """Tell that the configuration is being read again; ``ready`` ends it, whatever came of it."""
        microseconds = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._announce(b"RELOADING=1\nMONOTONIC_USEC=%d" % microseconds)

    def stopping(self) -> None:
        """Tell that the daemon ends."""
        self._announce(b"STOPPING=1")

    def replaced_by(self, pid: int) -> None:
        """Tell that another process is the main one now; nobody listens to this one any more."""
        self._announce(b"MAINPID=%d" % pid)
        self._silent = self._replaced = True

    def beat(self, now: float, status: str) -> None:
        """Tell that the event loop turns, as often as the watchdog wants it, and ``status``, when it is another.

        ``now`` is the loop's time. Whoever calls this does so from the loop, several times a second: a thread of its own
        would go on while the loop hangs.
        """
        if self._socket is None:
            return
        self._send_late()
        if self._silent:
            return
        if now >= self._beat_at and self._send(b"WATCHDOG=1"):
            self._beat_at = now + self._half
        if (
            status != self._status
            and now - self._status_at >= STATUS_EVERY
            and self._send(b"STATUS=" + status.replace("\n", " ").encode())
        ):
            self._status, self._status_at = status, now

    def close(self) -> None:
        if self._socket is not None:
            self._send_late()
            self._socket.close()
            self._socket = None

    def _announce(self, message: bytes) -> None:
        # A change of state is worth a line of status at once.
        self._status_at = -math.inf
        if self._socket is not None and not self._silent:
            self._unsent.append(message)
            self._send_late()

    def _send_late(self) -> None:
        while self._unsent and self._send(self._unsent[0]):
            del self._unsent[0]

    def _send(self, message: bytes) -> bool:
        """Send ``message``, or return False if there was no room for it."""
        if self._socket is not None:
            try:
                self._socket.sendto(message, socket.MSG_DONTWAIT, self._address)
            except BlockingIOError:
                return False
            except OSError:
                # Nobody is there to be told; the next message finds out again.
                return True
        return True


def _address(name: str) -> str:
    """Return the address of a socket in the file system or, written with an @, in the abstract namespace; "" for any other."""
    if name.startswith("@"):
        return "\0" + name[1:]
    return name if name.startswith("/") else ""


def _half_of_watchdog(environ: Mapping[str, str]) -> float:
    """Return the seconds between two signs of life, 0 if nobody waits for one."""
    microseconds = environ.get("WATCHDOG_USEC", "")
    own = str(os.getpid())
    if not microseconds.isdecimal() or environ.get("WATCHDOG_PID", own) != own:
        return 0.0
    return int(microseconds) / 2e6
