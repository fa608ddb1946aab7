"""Tasks are kept until they end, and none dies unheard."""

from __future__ import annotations

import asyncio
import gc

import pytest

from proxy.tasks import spawn


async def test_what_a_task_raises_is_heard():
    heard: list[BaseException] = []

    async def fails() -> None:
        raise ValueError("so")

    task = spawn(fails(), "failing", heard.append)
    with pytest.raises(ValueError, match="so"):
        await task
    await asyncio.sleep(0)
    assert [str(error) for error in heard] == ["so"]


async def test_a_cancelled_task_is_no_failure():
    heard: list[BaseException] = []
    task = spawn(asyncio.sleep(60), "sleeping", heard.append)
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert heard == []
    assert task.get_name() == "sleeping"


async def test_a_task_that_nobody_keeps_runs_to_its_end():
    ended = asyncio.Event()

    async def works() -> None:
        # A future that only the task itself refers to is what the collector would take with it.
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        loop.call_later(0.01, future.set_result, None)
        await future
        ended.set()

    spawn(works(), "kept", print)
    gc.collect()
    await asyncio.wait_for(ended.wait(), 5)
