"""The admin listener: what an operator asks. Never on the public one."""

from __future__ import annotations

from aiohttp import web

from proxy.server.gateway import Gateway
from proxy.server.scrape import Scrape


class Admin:
    """Answers on the admin listener: that the process lives, whether it takes requests, and the metrics."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._scrape = Scrape(gateway)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request. A Host that is not on the list is refused: a browser may have been led here."""
        host = request.headers.get("host", "").rpartition(":")
        name = (host[0] if host[2].isdigit() and host[0] else "".join(host)).strip("[]")
        hosts = self._gateway.config.admin.hosts
        if name and name not in hosts:
            return _error(403, f"The Host {name[:64]!r} is not one of [admin] hosts.")
        match request.path:
            case "/healthz":
                return web.json_response({"status": "ok", "version": self._gateway.version})
            case "/readyz":
                ready = not self._gateway.draining and bool(len(self._gateway.pool))
                return web.json_response(
                    {"status": "ready" if ready else "not ready"}, status=200 if ready else 503
                )
            case "/metrics":
                return await self._scrape.answer(request)
            case _:
                pass
        return _error(404, "The paths are /healthz, /readyz and /metrics.")


def _error(status: int, message: str) -> web.Response:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
    return web.json_response({"error": error}, status=status)
