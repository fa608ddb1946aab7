"""Who waits for an account, and who looks next."""

from __future__ import annotations

import asyncio

import pytest

from proxy.relay.queue import Queue
from proxy.tasks import spawn


class Waiting:
    """Calls that stand in a queue; ``woken`` are those that were called, in that order. They stay or go as told."""

    def __init__(self, queue: Queue) -> None:
        self.queue = queue
        self.woken: list[str] = []
        self.failures: list[BaseException] = []
        self.staying: set[str] = set()
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def join(self, *names: str, wanted: str = "model", seconds: float = 60.0) -> None:
        """Let calls join in this order; the first letter of a name is its key."""
        for name in names:
            self.tasks[name] = spawn(self._wait(name, wanted, seconds), name, self.failures.append)
            await turns()

    async def _wait(self, name: str, wanted: str, seconds: float) -> None:
        with self.queue.turn(wanted, name[0]) as turn:
            while True:
                await turn.wait(seconds)
                self.woken.append(name)
                if name not in self.staying:
                    return

    async def end(self) -> None:
        for task in self.tasks.values():
            task.cancel()
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)


async def turns() -> None:
    """Let everything run that can."""
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.fixture
async def waiting():
    found = Waiting(Queue())
    yield found
    await found.end()
    assert not found.failures
    assert len(found.queue) == 0


async def test_within_a_key_it_is_first_come_first_served(waiting):
    waiting.staying = {"a1", "a2", "a3"}
    await waiting.join("a1", "a2", "a3")
    waiting.queue.wake()
    waiting.queue.wake()
    await turns()
    assert waiting.woken == ["a1", "a2"]


async def test_the_keys_take_turns(waiting):
    waiting.staying = {"a1", "a2", "a3", "b1", "b2"}
    await waiting.join("a1", "a2", "a3", "b1", "b2")
    for _ in range(4):
        waiting.queue.wake()
    await turns()
    assert waiting.woken == ["a1", "b1", "a2", "b2"]


async def test_whoever_leaves_lets_the_next_one_look(waiting):
    waiting.staying = {"a3"}
    await waiting.join("a1", "a2", "a3", "a4")
    waiting.queue.wake()
    await turns()
    assert waiting.woken == ["a1", "a2", "a3"]
    assert len(waiting.queue) == 2


async def test_whoever_finds_nothing_keeps_its_place(waiting):
    waiting.staying = {"a1"}
    await waiting.join("a1", "a2")
    waiting.queue.wake()
    await turns()
    waiting.queue.wake()
    await turns()
    assert waiting.woken == ["a1", "a1"]


async def test_every_line_has_one_that_looks(waiting):
    waiting.staying = {"a1", "a2", "b1"}
    await waiting.join("a1", "a2", wanted="one")
    await waiting.join("b1", wanted="another")
    waiting.queue.wake()
    await turns()
    assert waiting.woken == ["a1", "b1"]


async def test_a_wait_ends_by_itself(waiting):
    await waiting.join("a1", seconds=0.001)
    await waiting.tasks["a1"]
    assert waiting.woken == ["a1"]


async def test_a_call_that_is_cancelled_as_it_is_woken_stays_cancelled_and_the_next_one_looks(
    waiting,
):
    await waiting.join("a1", "a2")
    waiting.queue.wake()
    waiting.tasks["a1"].cancel()
    await turns()
    assert waiting.tasks["a1"].cancelled()
    assert waiting.woken == ["a2"]


async def test_a_call_that_leaves_is_not_waited_for(waiting):
    waiting.staying = {"a2", "b1"}
    await waiting.join("a1", "a2", "b1")
    waiting.tasks["a1"].cancel()
    await turns()
    assert len(waiting.queue) == 2
    waiting.woken.clear()
    waiting.queue.wake()
    waiting.queue.wake()
    await turns()
    assert sorted(waiting.woken) == ["a2", "b1"]


async def test_an_empty_queue_may_be_woken():
    queue = Queue()
    queue.wake()
    assert len(queue) == 0
