"""``/api/v1/requests``: the calls that run, and how an operator ends one."""

from __future__ import annotations

from proxy.relay.call import Call
from proxy.server.admin_call import AdminCall, AdminError, Document, listing
from proxy.server.gateway import Gateway

_LISTED = 1000
"""Running calls that are listed, the oldest: who looks for one that hangs finds it, and the loop is not held up by the rest."""


def listed(gateway: Gateway, call: AdminCall) -> Document:
    """GET requests?in_flight=true: the running ones, the oldest first."""
    if not call.flag("in_flight"):
        raise AdminError(
            400, "expected in_flight=true: only running requests are listed", param="in_flight"
        )
    now = gateway.now()
    running = sorted(gateway.calls, key=lambda one: one.record.started)
    rows = [render(one, now) for one in running[:_LISTED]]
    return listing(rows, has_more=len(running) > _LISTED)


def cancel(gateway: Gateway, call: AdminCall) -> Document:
    """POST requests/ID/cancel: the upstream is dropped at once, and the client told."""
    call.only()
    for one in gateway.calls:
        if one.record.request_id == call.name and one.cancel():
            return {"request_id": call.name, "cancelled": True}
    raise AdminError(404, f"found no running request {call.name[:64]!r}; it may just have ended")


def render(call: Call, now: float) -> Document:
    """Return a running call as JSON."""
    record = call.record
    return {
        "request_id": record.request_id,
        "client_request_id": record.client_request_id,
        "age_s": round(now - record.started, 3),
        "phase": call.phase,
        "key": record.key,
        "team": record.team,
        "route": record.route,
        "stream": record.stream,
        "model": record.model,
        "account": record.account,
        "provider": record.provider,
        "upstream_model": record.upstream_model,
        "attempts": record.attempts,
        "output_tokens": call.output_so_far,
    }
