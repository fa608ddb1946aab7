"""Where the calls to an account go, and what is the same at the head of all of them."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import quote

from proxy.dialects.plan import Plan
from proxy.providers import DEPLOYMENTS
from proxy.routing.seat import Seat
from proxy.upstream.connections import Origin
from proxy.upstream.headers import account_lines, head_bytes, passed_lines

_PATH_SAFE = "/?&=:%@,+~!$'()*;-._"
_MAX_WAYS = 4096
"""Gemini has the model in the path, and a client may have made it up."""


class Way(NamedTuple):
    """``head`` begins a request: its first line, Host, and the header lines of the account, credential included."""

    origin: Origin
    head: bytes


class Ways:
    """The ways that have been gone; a call finds its own by three names instead of writing the same lines again."""

    def __init__(self, agent: bytes) -> None:
        self.agent = agent
        self._known: dict[tuple[str, str, bool, str], Way] = {}

    def of(self, seat: Seat, plan: Plan) -> Way:
        """Return the way of ``plan`` to the account of ``seat``."""
        if plan.passing is not None:
            # Its headers are of its own.
            return self._find(seat, plan)
        address = seat.account.base_url
        model = plan.model if address is not None and DEPLOYMENTS in address else ""
        named = (seat.name, plan.path, plan.stream, model)
        way = self._known.get(named)
        if way is None:
            way = self._find(seat, plan)
            if len(self._known) < _MAX_WAYS:
                self._known[named] = way
        return way

    def _find(self, seat: Seat, plan: Plan) -> Way:
        account, provider = seat.account, seat.provider
        url = provider.url(plan.dialect, plan.path, account.base_url, plan.model)
        start = url.find("/", url.find("://") + 3)
        target = quote(url[start:] if start >= 0 else "/", safe=_PATH_SAFE).encode()
        secret = account.api_key.reveal() if account.api_key is not None else None
        passing = plan.passing
        if passing is None:
            made = account_lines(provider.auth, secret, stream=plan.stream, agent=self.agent)
        else:
            kind, accept = passing.content_type, passing.accept
            made = passed_lines(
                provider.auth, secret, content_type=kind, accept=accept, agent=self.agent
            )
            made += passing.lines
        lines = head_bytes(made)
        origin = Origin.of(url, account.proxy)
        asked = plan.method.encode(), target, origin.host_header, lines
        return Way(origin, b"%b %b HTTP/1.1\r\nHost: %b\r\n%b" % asked)
