"""How much chaos: a little with every run of the tests, and with ``make chaos`` as much as it is told to make.

``SPLICE_CHAOS_REQUESTS`` is the requests of each cell of the fault matrix, a tenth of those of the storm, half of those of a tenant,
and five times those of a bad network; ``SPLICE_CHAOS_MUTATIONS`` is how many requests have their bytes changed;
``SPLICE_CHAOS_VARIANTS`` how many hide another one, ``SPLICE_CHAOS_CROWD`` how many slow clients there are at once;
``SPLICE_CHAOS_SEED`` is what all choices are drawn from. The seed and the figures stand at the end of pytest's output.
"""

from __future__ import annotations

import uvloop

from tests.chaos.amount import AMOUNT, FIGURES


def pytest_asyncio_loop_factories(config, item):
    return {"uvloop": uvloop.new_event_loop}


def pytest_terminal_summary(terminalreporter):
    terminalreporter.section(f"chaos: {AMOUNT}")
    for line in FIGURES:
        terminalreporter.write_line(line)
