"""The report of a replay, at the end of the run."""

from __future__ import annotations

import pytest

from tests.corpus import table


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    told = table.lines()
    if told:
        terminalreporter.section("recordings")
        for line in told:
            terminalreporter.write_line(line)
