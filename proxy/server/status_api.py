"""``/api/v1/status``: how the daemon is, in one document."""

from __future__ import annotations

import shutil

from proxy.routing.seat import Standing
from proxy.server.admin_call import AdminCall, Document, moment
from proxy.server.gateway import Gateway

_OUT = frozenset((Standing.COOLING, Standing.SPENT, Standing.DISABLED))
"""Accounts that take nothing now. One that is busy to its limit is well."""


def shown(gateway: Gateway, call: AdminCall) -> Document:
    """GET status."""
    call.only()
    now = gateway.now()
    states = gateway.pool.accounts(now)
    metrics = gateway.means.metrics
    return {
        "version": gateway.version,
        "state": "draining" if gateway.draining else "ready" if states else "no account",
        "uptime_s": round(now - gateway.started, 3),
        "accounts": len(states),
        "accounts_available": sum(one.standing not in _OUT for one in states),
        "requests_in_flight": len(gateway.calls),
        "process_before": None
        if gateway.before is None
        else {"pid": gateway.before.pid, "requests_in_flight": gateway.before.in_flight},
        "requests_queued": len(gateway.means.queue),
        "ledger_behind": gateway.books.behind,
        "ledger_takes_calls": gateway.books.open_for_calls,
        "state_free_bytes": shutil.disk_usage(gateway.config.state.directory).free,
        "configuration_read_at": moment(metrics.config_taken_at.values[()]),
        "last_reload_failed": not metrics.config_taken.values[()],
    }
