"""``/api/v1/reload``: the configuration is read again."""

from __future__ import annotations

from proxy.config import ConfigError
from proxy.server.admin_call import AdminCall, AdminError, Document
from proxy.server.gateway import Gateway


async def reload(gateway: Gateway, call: AdminCall) -> Document:
    """POST reload: go by the file as it is now, or by the old one if anything is wrong with it."""
    call.only()
    try:
        found = await gateway.reload()
    except ConfigError as error:
        raise AdminError(
            409,
            "the configuration was not reloaded, and stays as it was:\n" + "\n".join(error.faults),
        ) from error
    return {"changes": [{"key": change.key, "what": change.what} for change in found]}
