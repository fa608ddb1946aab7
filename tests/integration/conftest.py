"""The gateway runs on uvloop; where the order of callbacks matters, its tests run on both loops."""

from __future__ import annotations

import asyncio

import uvloop

_BOTH = {"test_commit.py", "test_cut.py", "test_disconnect.py", "test_back_pressure.py"}


def pytest_asyncio_loop_factories(config, item):
    if item.path.name in _BOTH:
        return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
    return {"uvloop": uvloop.new_event_loop}
