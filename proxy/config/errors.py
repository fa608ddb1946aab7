"""What is wrong with a configuration, in the words of the person who has to mend it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

KeyPath = tuple[str | int, ...]
"""Where a value is: ``("accounts", 0, "api_key")``."""


class ConfigError(Exception):
    """Everything that is wrong with the configuration, one line for each fault."""

    def __init__(self, *faults: str) -> None:
        # What was found is shown, and may hold anything; a line of ours is one line, and orders no terminal about.
        self.faults = tuple(
            "".join(one if one.isprintable() else "?" for one in fault) for fault in faults
        )
        super().__init__("\n".join(self.faults))


class Wrong(Exception):
    """A value that cannot be taken; raised by whoever parses it, placed by whoever reads the table."""

    def __init__(self, expected: str, hint: str = "", found: str | None = None) -> None:
        super().__init__(expected)
        self.expected = expected
        self.hint = hint
        self.found = found
        """What to say instead of showing the value."""


def dotted(path: KeyPath) -> str:
    """``accounts[0].api_key``, as messages show it."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if text else part
    return text


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint naming the known name that was probably meant, or all of them when there are few."""
    names = sorted(known)
    matches = difflib.get_close_matches(name, names, n=1)
    if matches:
        return f"did you mean {matches[0]}?"
    return f"known: {', '.join(names)}" if names else ""
