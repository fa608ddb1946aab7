"""How often an address may fail to say who it is: ten times a second, and then it is told to wait.

On the public listener only failures are looked at. A key that is known passes at any time, so a stranger behind the same proxy
or on the same machine locks nobody out; keys are too long to be guessed, and a flood of wrong ones is what this is about.
"""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address

RATE = 10
"""A second."""
BURST = 10
_EACH = 1.0 / RATE
_MAX_ADDRESSES = 8192
"""Of which the one that has not failed for the longest time goes first; one that is forgotten starts afresh."""


class Failures:
    """The addresses that have failed within the last seconds. Times are seconds of any clock that only goes forward."""

    __slots__ = ("_clear_at",)

    def __init__(self) -> None:
        self._clear_at: dict[str, float] = {}
        """When all failures of an address will be forgiven; the last to fail is the last."""

    def __len__(self) -> int:
        return len(self._clear_at)

    def allows(self, address: str | None, now: float) -> bool:
        """Note that ``address`` has failed (None: a unix socket); return whether it may fail that often."""
        name = _name(address)
        table = self._clear_at
        clear_at = max(table.pop(name, now), now)
        allowed = clear_at - now <= (BURST - 1) * _EACH
        table[name] = clear_at + _EACH if allowed else clear_at
        if len(table) > _MAX_ADDRESSES:
            del table[next(iter(table))]
        return allowed

    def is_spent(self, address: str | None, now: float) -> bool:
        """Tell whether ``allows`` would say no."""
        return self._clear_at.get(_name(address), now) - now > (BURST - 1) * _EACH


def _name(address: str | None) -> str:
    """Return what stands for an address: of IPv6 its first 64 bits, since whoever has one has all that share them."""
    if address is None or ":" not in address:
        return address or ""
    ip = ip_address(address)
    if isinstance(ip, IPv6Address) and ip.ipv4_mapped is None:
        return str(int(ip) >> 64)
    return address
