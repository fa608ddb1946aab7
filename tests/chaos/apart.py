"""A network of a test's own, for addresses that are not loopback's and for packets that are lost: ``python -m tests.chaos.apart WHAT``.

It prints a line of JSON. ``inside`` runs it in a network namespace, where nothing that it does is seen by anybody else.
"""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.chaos.load import asks, got
from tests.chaos.upstreams import Upstream
from tests.integration import spoken
from tests.integration.gateway import account, config_text, gateway, upstream
from tests.integration.scripted import Scripted, settled
from tests.integration.wire import Wire, request

ROOT = Path(__file__).parents[2]
US, THEM, OTHERS = "198.51.100.1", "198.51.100.2", "198.51.100.3"
# Loss in both directions, of whatever is TCP: a request, an answer, an acknowledgement, a handshake.
_LOSS = """
nft add table ip lossy
nft 'add chain ip lossy input { type filter hook input priority 0; }'
nft add rule ip lossy input meta l4proto tcp numgen random mod 100 \\< $LOSS drop
"""
_UP = """
set -e
ip link set lo up
for one in 1 2 3; do ip address add 198.51.100.$one/32 dev lo; done
"""


def missing(*tools: str) -> str | None:
    """Return why there can be no network of our own here, or None."""
    for tool in ("unshare", "ip", *tools):
        if shutil.which(tool) is None:
            return f"there is no {tool} here"
    found = subprocess.run(["unshare", "-n", "true"], check=False, capture_output=True)
    return None if found.returncode == 0 else "network namespaces are not allowed here"


def inside(*arguments: str, loss: int = 0) -> Any:
    """Run ``python -m tests.chaos.apart`` with ``arguments`` in a namespace where ``loss`` of 100 packets are lost; return what it prints."""
    script = _UP + (_LOSS.replace("$LOSS", str(loss)) if loss else "") + 'exec "$@"'
    command = [
        "unshare",
        "-n",
        "sh",
        "-c",
        script,
        "sh",
        sys.executable,
        "-m",
        __name__,
        *arguments,
    ]
    ended = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr[-2000:] + ended.stdout[-2000:]
    return json.loads(ended.stdout.splitlines()[-1])


async def one_address(count: int) -> dict[str, object]:
    """Open ``count`` connections from one address and a few from another; count who is let in."""
    async with (
        Scripted([spoken.told("openai-chat")]) as up,
        gateway(config_text(upstream(up.url), server=f'listen = ["{US}:8080"]')) as front,
    ):
        let_in: Counter[str] = Counter()
        for _ in range(count):
            wire = front.keep(await Wire.open((US, 8080), local_addr=(THEM, 0)))
            wire.send(request("GET", "/healthz"))
            status, _ = await wire.head()
            let_in[f"them {status}"] += 1
        for _ in range(50):
            wire = front.keep(await Wire.open((US, 8080), local_addr=(OTHERS, 0)))
            wire.send(request("GET", "/healthz"))
            status, _ = await wire.head()
            let_in[f"others {status}"] += 1
    return dict(let_in)


async def lossy(count: int) -> dict[str, object]:
    """Have twenty clients ask ``count`` times over a network that loses packets on either side of the gateway."""
    async with Upstream("a", "openai-chat") as one, Upstream("b", "openai-chat") as other:
        provider = f'[providers.up]\ndialects = ["openai-chat"]\nbase_url = "{one.url}"\n'
        accounts = [account(up.name, "up", base_url=f'"{up.url}"') for up in (one, other)]
        async with gateway(config_text(provider, *accounts)) as front:
            seen: Counter[str] = Counter()
            times: list[float] = []
            wanted = asks(random.Random(count))

            async def client() -> None:
                for ask in wanted:
                    if sum(seen.values()) >= count:
                        return
                    start = time.perf_counter()
                    wire = await Wire.open(front.address)
                    wire.send(ask.bytes)
                    said = got(await wire.answer())
                    wire.leave()
                    times.append(time.perf_counter() - start)
                    whole = said.text in (one.said_to(ask.marker), other.said_to(ask.marker))
                    seen[str(said.status) if whole else f"{said.status} broken"] += 1

            await asyncio.gather(*(client() for _ in range(20)))
            await settled(lambda: not front.running.gateway.calls)
    times.sort()
    p50, p99 = times[len(times) // 2], times[int(0.99 * (len(times) - 1))]
    return {"seen": dict(seen), "p50": p50, "p99": p99}


if __name__ == "__main__":
    what = {"one_address": one_address, "lossy": lossy}[sys.argv[1]]
    print(json.dumps(asyncio.run(what(int(sys.argv[2])))))  # noqa: T201 - what it is for
