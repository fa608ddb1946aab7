"""Where tasks are born and faults are kept: each task has a name and a strong reference until it ends, and none dies unheard."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

_running: set[asyncio.Task[Any]] = set()


def spawn(
    coroutine: Coroutine[Any, Any, None], name: str, on_error: Callable[[BaseException], None]
) -> asyncio.Task[None]:
    """Start ``coroutine`` as a task; what it raises, cancellation apart, goes to ``on_error``.

    The loop holds tasks only weakly, so a task that nobody keeps may vanish in the middle.
    """
    task = asyncio.get_running_loop().create_task(coroutine, name=name)
    _running.add(task)

    def ended(task: asyncio.Task[None]) -> None:
        _running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            on_error(error)

    task.add_done_callback(ended)
    return task


def contained(work: Callable[..., object], *arguments: object) -> Exception | None:
    """Call ``work``; return what it raised, if anything: a fault of one exchange must not become that of its neighbours."""
    try:
        work(*arguments)
    except Exception as error:  # noqa: BLE001 - the boundary of an exchange, for whoever looks after many of them
        return error
    return None
