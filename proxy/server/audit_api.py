"""``/api/v1/audit``: whether the books agree with themselves, proved anew."""

from __future__ import annotations

import asyncio

from proxy.billing import audit, audited, database
from proxy.billing.state import Unusable
from proxy.server.admin_call import AdminCall, AdminError, Document, moment
from proxy.server.gateway import Gateway


async def shown(gateway: Gateway, call: AdminCall) -> Document:
    """GET audit."""
    call.only()
    directory = gateway.books.directory
    try:
        found = await asyncio.to_thread(audit.audit, directory / database.NAME)
    except Unusable as error:
        raise AdminError(503, str(error)) from error
    noted = audited.note(directory, found, gateway.clock())
    return {**found.told(), "audited_at": moment(noted.at)}
