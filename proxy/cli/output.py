"""What commands print: tables for people, tabs for pipes, JSON for programs."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import orjson


def complain(message: str) -> None:
    """An error or a warning, on the error stream; several lines are several of them."""
    for line in message.splitlines():
        print(f"splice: {line}", file=sys.stderr)


def print_json(value: object) -> None:
    print(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())


def span(seconds: float) -> str:
    """A length of time in its two largest units: ``4m12s``."""
    left = round(seconds)
    for unit, size, smaller, step in (
        ("d", 86_400, "h", 3600),
        ("h", 3600, "m", 60),
        ("m", 60, "s", 1),
    ):
        if left >= size:
            return f"{left // size}{unit}{left % size // step:02}{smaller}"
    return f"{left}s"


def shown(text: str) -> str:
    """``text`` from elsewhere as it may stand in a line: no line end, no tab, nothing that a terminal obeys."""
    return "".join(one if one.isprintable() else "?" for one in text)


def print_table(
    rows: Sequence[Sequence[str]], *, head: Sequence[str] = (), aligned: bool | None = None
) -> None:
    """Columns under their names on a terminal; elsewhere one tab between cells, which cut and awk understand."""
    if aligned is None:
        aligned = sys.stdout.isatty()
    rows = [[shown(cell) for cell in row] for row in rows]
    if not aligned:
        for row in rows:
            print("\t".join(row))
        return
    if head:
        rows = [head, *rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())
