"""What a gateway knows of the process whose place it took, and of the one that takes its own."""

from __future__ import annotations

from dataclasses import dataclass

PATIENCE = 120.0
"""Seconds for a new process to be ready: a large ledger takes some, if it has to be checked or brought to another schema."""


@dataclass(slots=True)
class Before:
    """The process that served before and still drains."""

    pid: int
    in_flight: int = 0
    """How many requests still run there."""


@dataclass(frozen=True, slots=True)
class Upgraded:
    """Who served, and who serves now."""

    from_version: str
    from_pid: int
    to_version: str
    to_pid: int


class NotUpgraded(Exception):
    """Everything is as it was; the message says why."""
