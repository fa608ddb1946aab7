"""``/api/v1/keys``, ``teams`` and ``credits`` of a running gateway: the directory's answers, and what follows from them here."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable, Mapping
from inspect import isawaitable

from proxy.billing.ledger import ReadTooLong
from proxy.billing.options import Refused
from proxy.server import directory_api
from proxy.server.admin_call import AdminCall, AdminError, Document
from proxy.server.gateway import Gateway

Handler = Callable[[Gateway, AdminCall], Awaitable[Document]]


def _in_gateway(row: str, method: str, handler: directory_api.Handler) -> Handler:
    async def answer(gateway: Gateway, call: AdminCall) -> Document:
        try:
            found = handler(gateway.directory, call)
            document = await found if isawaitable(found) else found
        except Refused as error:
            raise directory_api.refusal(error) from error
        except ReadTooLong as error:
            raise AdminError(503, "This took too long to add up; try again later.") from error
        except sqlite3.Error as error:
            gateway.log.failure("the directory of keys cannot be read or written", error)
            raise AdminError(
                503, f"The database cannot be used ({error}); nothing has changed, try again."
            ) from error
        if method != "GET":
            gateway.log.info(
                "directory changed by an operator", path=row, name=document.get("name")
            )
            # Calls are estimated before they run as soon as one key has a limit by tokens.
            gateway.counts_tokens = gateway.counts_tokens or bool(document.get("tpm"))
        return document

    return answer


def _disable(disabled: Handler) -> Handler:
    async def answer(gateway: Gateway, call: AdminCall) -> Document:
        at_once = call.flag("now")
        document = await disabled(gateway, call)
        running = [one for one in gateway.calls if one.record.key_hash == document["id"]]
        ended = sum(one.cancel() for one in running) if at_once else 0
        return {**document, "in_flight": len(running) - ended, "ended": ended}

    return answer


def _routes() -> Mapping[str, Mapping[str, Handler]]:
    routes = {
        row: {method: _in_gateway(row, method, handler) for method, handler in methods.items()}
        for row, methods in directory_api.ROUTES.items()
    }
    disable = routes["keys/*/disable"]
    disable["POST"] = _disable(disable["POST"])
    return routes


ROUTES = _routes()
"""Below ``/api/v1/``; ``*`` is a name."""
