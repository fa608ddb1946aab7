"""``/api/v1/upgrade``: another process of the program as it is installed now takes this one's place."""

from __future__ import annotations

from proxy.server.admin_call import AdminCall, AdminError, Document
from proxy.server.gateway import Gateway
from proxy.server.handover import NotUpgraded


async def upgrade(gateway: Gateway, call: AdminCall) -> Document:
    """POST upgrade: answered when the new process accepts connections, or has failed."""
    call.only()
    try:
        found = await gateway.upgrade()
    except NotUpgraded as error:
        raise AdminError(409, f"not upgraded: {error}") from error
    return {
        "from": {"version": found.from_version, "pid": found.from_pid},
        "to": {"version": found.to_version, "pid": found.to_pid},
    }
