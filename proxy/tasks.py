"""Where tasks are born: each has a name and a strong reference until it ends, and none dies unheard."""

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
