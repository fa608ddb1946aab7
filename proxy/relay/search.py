"""Who takes a call: its targets in turn and whoever is free there, else whoever is free first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain

from proxy.config.model import Target
from proxy.dialects.asked import Asked
from proxy.errors import GatewayError, Kind
from proxy.relay.means import Means
from proxy.relay.record import Record
from proxy.routing.affinity import session_of
from proxy.routing.catalog import Route
from proxy.routing.pool import Lease, in_turn

_LEAST_WAIT = 0.05
"""Seconds: an account that is back at this very moment is looked at again, but not in a busy loop."""

Picked = tuple[Lease, Target]


class Search:
    """The search of one call for an account. ``tried`` are the accounts that it has had; none is picked twice."""

    def __init__(
        self,
        means: Means,
        asked: Asked,
        record: Record,
        routes: Sequence[Route],
        headers: Mapping[str, str],
        *,
        draw: float,
        key: str,
        tokens: int,
    ) -> None:
        """``routes`` are the model's own and those of its fallbacks; ``draw`` is a random number in [0, 1)."""
        self._means = means
        self._asked = asked
        self._record = record
        self._routes = routes
        self._headers = headers
        self._key = key
        self._tokens = tokens
        self.targets = [*chain.from_iterable(in_turn(route.targets, draw) for route in routes)]
        self.tried: set[str] = set()

    def name_of(self, target: Target) -> str:
        """Return the public name that ``target`` was found under."""
        for route in self._routes:
            if target in route.targets:
                return route.name
        return self._routes[0].name

    def drop_unpriced(self) -> None:
        """Forget the targets that may not be asked because nobody knows what they cost; raise if those are all."""
        tariff = self._means.tariff
        if not tariff.refuses_some:
            return
        self.targets = [
            one
            for one in self.targets
            if not tariff.refuses(one.provider, one.model, self.name_of(one))
        ]
        if not self.targets:
            raise GatewayError(
                Kind.MODEL_NOT_ALLOWED,
                f"The model `{self._routes[0].name}` has no price here, and calls without one are refused.",
                param="model",
            )

    def pick(self) -> Picked | None:
        """Return a place at the first target that has one, or None."""
        now = self._means.loop.time()
        pool = self._means.pool
        for target in self.targets:
            session = self._session(target)
            lease = pool.pick(target, self.tried, now, tokens=self._tokens, session=session)
            if lease is not None:
                self.tried.add(lease.seat.name)
                return lease, target
        return None

    async def wait(self) -> Picked | None:
        """Wait in the queue for a place at an account that was not tried.

        If none comes in time, return None if an account has said already what the client is told, else raise it.
        """
        means, record, now = self._means, self._record, self._means.loop.time
        started = now() - record.queue
        until = started + means.retry.queue_timeout
        # Those behind a call can use what it cannot if it has tried that already: it stands in another line.
        wanted = "\n".join((self._routes[0].name, *sorted(self.tried)))
        with means.queue.turn(wanted, self._key) as turn:
            while True:
                at = now()
                outlook = means.pool.outlook(self.targets, at, self._tokens, self.tried)
                in_time = outlook.at is not None and outlook.at <= until
                if at >= until or not (in_time or outlook.sooner):
                    if self.tried:
                        return None
                    raise self._nobody(outlook.error(at))
                back = outlook.at if outlook.at is not None and in_time else until
                await turn.wait(max(back - at, _LEAST_WAIT))
                record.queue = now() - started
                picked = self.pick()
                if picked is not None:
                    return picked

    def _nobody(self, error: GatewayError) -> GatewayError:
        """Return what a client is told whom ``error`` leaves without an account."""
        if self.targets and self.targets[0].account is None:
            return error
        away = GatewayError(Kind.HOLDER_AWAY, retry_after=error.retry_after)
        # 429 where it is only limited, as for anybody.
        away.status = error.status
        return away

    def date(self, refused: GatewayError) -> None:
        """Let a limit that was met say when somebody is back, which need not be who said no last."""
        if refused.kind not in (Kind.RATE_LIMIT, Kind.UPSTREAM_QUOTA):
            return
        now = self._means.loop.time()
        outlook = self._means.pool.outlook(self.targets, now, self._tokens)
        if outlook.at is not None:
            refused.retry_after = outlook.wait(now)

    def _session(self, target: Target) -> bytes | None:
        """Return what the conversation is known by, where there is more than one account that could know it."""
        if len(self._means.pool.serving(target)) < 2:
            return None
        return session_of(self._key, self._headers, self._asked.document)
