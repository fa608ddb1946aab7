"""Four alike accounts behind one gateway, each with an upstream that can fall ill, and what must hold of them at any time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from proxy.config.model import Cooldown
from proxy.routing.cooldown import cap
from proxy.routing.pool import Pool
from proxy.routing.seat import Why
from tests.chaos.amount import AMOUNT
from tests.chaos.upstreams import Upstream
from tests.integration.gateway import Gateway, account, config_text, gateway
from tests.integration.scripted import settled

NAMES = "abcd"
_AUTH = {"anthropic": "x-api-key"}

# Times so short that a test sees an account benched, probed and back; the daemon's are five seconds to fifteen minutes.
_QUICK = 'base = "30ms"\nmax_burst = "90ms"\nmax_quota = "120ms"\nprobe_interval = "60ms"'
_THOROUGH = 'base = "200ms"\nmax_burst = "1s"\nmax_quota = "1500ms"\nprobe_interval = "500ms"'
COOLDOWN = _QUICK if AMOUNT.is_short else _THOROUGH


@dataclass(slots=True)
class Four:
    """``deadlines`` are the latest ones that ``watch`` has seen, ``longest`` the longest bench."""

    front: Gateway
    upstreams: Sequence[Upstream]
    deadlines: dict[str, float] = field(default_factory=dict)
    longest: float = 0.0

    @property
    def pool(self) -> Pool:
        return self.front.running.gateway.pool

    @property
    def times(self) -> Cooldown:
        return self.pool.times

    def why(self, one: Upstream) -> tuple[Why, ...]:
        """Return what is benched of an account now."""
        return self.pool.why(one.name, now())

    def watch(self) -> None:
        """Look at every bench, which must not be longer than its cap."""
        at = now()
        for one in self.upstreams:
            for why in self.pool.why(one.name, at):
                assert why.until <= at + cap(why.cause, self.times), (one.name, why)
                self.longest = max(self.longest, why.until - at)
                self.deadlines[one.name] = max(self.deadlines.get(one.name, 0.0), why.until)

    async def clear(self) -> None:
        """Make everybody well, and forget that they were not."""
        await settled(lambda: not leaks(self.front))
        for one in self.upstreams:
            await one.recover()
            one.forget()
            seat = self.pool.seat(one.name)
            assert seat is not None
            seat.clear()
        self.deadlines.clear()
        self.longest = 0.0


def now() -> float:
    return asyncio.get_running_loop().time()


@contextlib.asynccontextmanager
async def four(
    dialect: str, *tables: str, options: dict[str, str] | None = None, **sections: str
) -> AsyncIterator[Four]:
    """Run a gateway in front of four accounts that speak ``dialect``; nothing may be held when it ends."""
    async with contextlib.AsyncExitStack() as stack:
        upstreams = [await stack.enter_async_context(Upstream(name, dialect)) for name in NAMES]
        accounts = [
            account(one.name, "up", base_url=f'"{one.url}"', **(options or {})) for one in upstreams
        ]
        provider = (
            f'[providers.up]\ndialects = ["{dialect}"]\nbase_url = "http://127.0.0.1:9"\n'
            f'auth = "{_AUTH.get(dialect, "bearer")}"\n'
        )
        sections.setdefault("cooldown", COOLDOWN)
        text = config_text(provider, *accounts, *tables, server='expose = ["attempts"]', **sections)
        front = await stack.enter_async_context(gateway(text))
        found = Four(front, upstreams)
        yield found
        await settled(lambda: not leaks(front))


def leaks(front: Gateway) -> dict[str, int]:
    """Return what is held though nothing may run any more; empty if nothing is."""
    inside = front.running.gateway
    counts = inside.means.connections.counts().values()
    wallets = inside.means.wallets
    held = {
        "calls": len(inside.calls),
        "in flight": sum(one.in_flight for one in inside.pool.accounts(now())),
        "running": inside.pool.retries.running,
        "retrying": inside.pool.retries.retrying,
        "key slots": sum(inside.key_limits.running(key) for key in inside.config.keys),
        "waiting": len(inside.means.queue),
        "busy connections": sum(one.open - one.idle for one in counts),
        "holds": len(wallets.holds),
        "held": sum(wallet.held for wallet in wallets),
    }
    return {name: count for name, count in held.items() if count}
