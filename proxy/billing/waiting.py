"""What the ledger does not have yet, as of one moment."""

from __future__ import annotations

from proxy.billing.entry import Row


class Waiting:
    """What the ledger did not have at one moment, while ``booked`` rows had been given to it."""

    def __init__(self, rows: list[Row], booked: int) -> None:
        self._rows = rows
        self._booked = booked

    @property
    def begins(self) -> int:
        """How many rows had been given to the ledger before the first of these."""
        return self._booked

    @property
    def ends(self) -> int:
        """How many there are up to the last of these."""
        return self._booked + len(self._rows)

    def since(self, serial: int) -> list[Row]:
        """Return what it still did not have when it had been given ``serial`` rows."""
        return self._rows[max(serial - self._booked, 0) :]
