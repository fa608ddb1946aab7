"""Which endpoint answers a path, and what is told to whom knocks at the wrong one."""

from __future__ import annotations

from collections.abc import Mapping

from proxy.errors import GatewayError, Kind
from proxy.metrics import OTHER
from proxy.server import endpoints
from proxy.server.exchange import Exchange
from proxy.server.gateway import Endpoint

TABLE: Mapping[str, Mapping[str, Endpoint]] = {
    "/v1/chat/completions": {"POST": endpoints.chat_completions},
    "/v1/messages": {"POST": endpoints.messages},
    "/v1/messages/count_tokens": {"POST": endpoints.count_tokens},
    "/v1/responses": {"POST": endpoints.responses, "GET": endpoints.responses_socket},
    "/v1/models": {"GET": endpoints.models},
    "/": {"GET": endpoints.front_page},
    "/api/hello": {"GET": endpoints.hello},
    "/healthz": {"GET": endpoints.healthz},
    "/readyz": {"GET": endpoints.readyz},
}

_MODEL = "/v1/models/"
_ONE_MODEL: Mapping[str, Endpoint] = {"GET": endpoints.model}


def find(exchange: Exchange) -> Endpoint:
    """Return the endpoint of a request, or raise the 404 that names the right path, or the 405."""
    path = exchange.path
    methods = TABLE.get(path)
    if methods is None:
        if not path.startswith(_MODEL) or path == _MODEL:
            raise _unknown(path)
        methods = _ONE_MODEL
    method = exchange.request.method
    found = methods.get("GET" if method == "HEAD" else method)
    if found is None:
        allowed = ", ".join([*methods, *(("HEAD",) if "GET" in methods else ()), "OPTIONS"])
        if method == "OPTIONS":
            return endpoints.options(allowed)
        raise GatewayError(
            Kind.METHOD, f"{path} takes {allowed}, not {method[:16]}.", allow=allowed
        )
    exchange.delivery.bodiless = method == "HEAD"
    return found


def template(path: str) -> str:
    """Return the route of a path as metrics tell it: what stands in it for a name is not the client's."""
    if path in TABLE:
        return path
    return f"{_MODEL}{{id}}" if path.startswith(_MODEL) else OTHER


def _unknown(path: str) -> GatewayError:
    """Return the 404 of a path, with the right one where the base URL was set with or without /v1 by mistake."""
    wanted = path
    while wanted.startswith(("/v1/v1/", "//")):
        wanted = wanted[3:] if wanted.startswith("/v1/v1/") else wanted[1:]
    wanted = wanted.rstrip("/") or "/"
    candidates = [wanted, f"/v1{wanted}", f"/v1/{wanted.rpartition('/v1/')[2]}"]
    for candidate in candidates:
        if (
            candidate != path
            and (candidate in TABLE or candidate.startswith(_MODEL))
            and candidate != "/"
        ):
            return GatewayError(
                Kind.UNKNOWN_OBJECT, f"There is nothing at {path[:128]}. {_advice(path, candidate)}"
            )
    return GatewayError(
        Kind.UNKNOWN_OBJECT,
        f"There is nothing at {path[:128]}. The paths are {', '.join(p for p in TABLE if p.startswith('/v1'))}.",
    )


def _advice(path: str, candidate: str) -> str:
    if "/messages" in candidate and "/v1/v1/" in path:
        return f"The path is {candidate}: Anthropic's SDKs add /v1 themselves, so leave it out of the base URL."
    if "/v1/v1/" in path:
        return f"The path is {candidate}: the base URL names /v1 twice."
    if not path.startswith("/v1/") and "/messages" not in candidate:
        return f"The path is {candidate}: OpenAI's SDKs want a base URL that ends in /v1."
    return f"The path is {candidate}."
