"""``/api/v1/status``: how the daemon is, in one document."""

from __future__ import annotations

from proxy.routing.seat import Standing
from proxy.server.admin_call import AdminCall, Document
from proxy.server.gateway import Gateway

_OUT = frozenset((Standing.COOLING, Standing.SPENT, Standing.DISABLED))
"""Accounts that take nothing now. One that is busy to its limit is well."""


def shown(gateway: Gateway, call: AdminCall) -> Document:
    """GET status."""
    call.only()
    now = gateway.now()
    states = gateway.pool.accounts(now)
    return {
        "version": gateway.version,
        "state": "draining" if gateway.draining else "ready" if states else "no account",
        "uptime_s": round(now - gateway.started, 3),
        "accounts": len(states),
        "accounts_available": sum(one.standing not in _OUT for one in states),
        "requests_in_flight": len(gateway.calls),
        "requests_queued": len(gateway.means.queue),
    }
