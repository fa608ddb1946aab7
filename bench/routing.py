"""What letting a call in and finding an account for it cost by themselves: µs a request.

``python -m bench.routing``. A call is let in by its key's limits, placed at one of so many accounts, all of them limited by
requests, tokens and concurrency, succeeds, and gives its places back; every fourth conversation has a session of its own.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from proxy.config import Config, loads
from proxy.config.model import Target
from proxy.routing.limits import Grant, Limiter, Quota, admit, standing
from proxy.routing.pool import Pool

ACCOUNTS = (1, 4, 40)
_CALLS = 5_000
_ROUNDS = 9
_TOKENS = 500
_MANY = 10**9
_TARGET = Target(provider="openai", model="gpt-4o", order=1)
_HEADERS = {b"content-type": b"application/json", b"date": b"Thu, 01 Jan 2026 00:00:00 GMT"}


def configuration(accounts: int) -> Config:
    """Return a configuration with so many accounts of one provider."""
    tables = "".join(
        f'[[accounts]]\nname = "a{number}"\nprovider = "openai"\napi_key = "none"\n'
        f"rpm = {_MANY}\ntpm = {_MANY}\nconcurrency = 100\n"
        for number in range(accounts)
    )
    return loads(tables, Path("bench.toml"), os.environ)


def selection(accounts: int) -> float:
    """Return the µs in which one of ``accounts`` is picked, has succeeded and is free again."""
    pool = Pool(configuration(accounts))
    sessions = (None, None, None, b"a conversation")

    def calls(now: float) -> None:
        for number in range(_CALLS):
            lease = pool.pick(
                _TARGET, (), now, tokens=_TOKENS, session=sessions[number % len(sessions)]
            )
            if lease is None:
                raise RuntimeError("the pool is empty, expected room for one call at a time")
            lease.succeed()
            lease.learn(_HEADERS, now, now)
            lease.release(now, _TOKENS)

    return _timed(calls)


def admission() -> float:
    """Return the µs in which a key's limits let a call in, are told to the client, and settled."""
    limiters = [Limiter(Quota(_MANY, _MANY, 100), 0.0)]

    def calls(now: float) -> None:
        for _ in range(_CALLS):
            grant = admit(limiters, _TOKENS, now)
            standing(limiters, now)
            if not isinstance(grant, Grant):
                raise TypeError("a limit was hit, expected none to be near")
            grant.release(_TOKENS, now)

    return _timed(calls)


def _timed(calls: Callable[[float], None]) -> float:
    """Return the median of several rounds of CPU time, in µs a call."""
    spent = []
    for turn in range(_ROUNDS):
        started = time.process_time()
        calls(float(turn))
        spent.append((time.process_time() - started) / _CALLS * 1e6)
    return median(spent)


def rows() -> list[tuple[str, float]]:
    """Return what was measured, as name and µs a request."""
    named = [("a key's limits", admission())]
    named += [
        (f"the pool, {number} account{'s' * (number > 1)}", selection(number))
        for number in ACCOUNTS
    ]
    return named


def main() -> None:
    for name, micros in rows():
        print(f"{name:24} {micros:6.2f} us a request")


if __name__ == "__main__":
    main()
