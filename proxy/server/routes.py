"""Which endpoint answers a path, and what is told to whom knocks at the wrong one."""

from __future__ import annotations

from collections.abc import Mapping

from proxy.errors import GatewayError, Kind
from proxy.metrics import OTHER
from proxy.server import (
    endpoints,
    front,
    gemini_path,
    media,
    models,
    native,
    passthrough,
    stored,
    usage,
)
from proxy.server.exchange import Exchange
from proxy.server.gateway import Endpoint

TABLE: Mapping[str, Mapping[str, Endpoint]] = {
    "/v1/chat/completions": {"POST": endpoints.chat_completions},
    "/v1/messages": {"POST": endpoints.messages},
    "/v1/messages/count_tokens": {"POST": endpoints.count_tokens},
    "/v1/responses": {"POST": endpoints.responses},
    "/v1/responses/input_tokens": {"POST": endpoints.count_input_tokens},
    "/v1/embeddings": {"POST": endpoints.embeddings},
    **{path: passthrough.methods(path) for path in media.PATHS if "{id}" not in path},
    "/v1/models": {"GET": models.every},
    "/v1beta/models": {"GET": models.every},
    "/v1/usage": {"GET": usage.period},
    "/v1/usage/requests": {"GET": usage.history},
    "/v1/key": {"GET": usage.key},
    "/": {"GET": front.front_page},
    "/openapi.json": {"GET": front.document},
    "/llms.txt": {"GET": front.document},
    "/llms-full.txt": {"GET": front.document},
    "/api/hello": {"GET": endpoints.hello},
    "/healthz": {"GET": endpoints.healthz},
    "/readyz": {"GET": endpoints.readyz},
}

_NAMED: Mapping[str, Mapping[str, Endpoint]] = {
    "/v1/models/": {"GET": models.one},
    "/v1beta/models/": {"GET": models.one},
    "/v1/usage/": {"GET": usage.request},
    "/docs/": {"GET": front.document},
}
"""Beginnings of paths that end in somebody's name."""

_GEMINI: Mapping[str, Mapping[str, Endpoint]] = {
    "generateContent": {"POST": endpoints.generate_content},
    "streamGenerateContent": {"POST": endpoints.generate_content},
    "countTokens": {"POST": endpoints.count_gemini_tokens},
    "embedContent": {"POST": endpoints.embed_content},
    "batchEmbedContents": {"POST": endpoints.embed_content},
}
"""What can be done with a model whose name stands in the path."""


_LONGEST_WORD = 24
"""Characters of the longest word in a path that are shown where the path is nobody's: keys are longer."""
_LONGEST_PATH = 100
_NOBODY: Mapping[str, str] = {}


def find(exchange: Exchange, providers: Mapping[str, str] = _NOBODY) -> Endpoint:
    """Return the endpoint of a request, or raise the 404 that names the right path, or the 405."""
    path = exchange.path
    method = exchange.request.method
    # Of refusals too: a client would read their bodies as its next answer.
    exchange.delivery.bodiless = method == "HEAD"
    methods = TABLE.get(path)
    if methods is None:
        exchange.record.route = _shown(path)
        methods = _named(path)
    if methods is None:
        if native.provider_in(path, providers) is not None:
            if exchange.request.method == "OPTIONS":
                return endpoints.options(native.METHODS)
            exchange.delivery.bodiless = exchange.request.method == "HEAD"
            return native.serve
        raise _unknown(path)
    found = methods.get("GET" if method == "HEAD" else method)
    if found is None:
        if method == "POST" and path.startswith(gemini_path.BEGINNINGS):
            raise _unknown_method(path)
        allowed = ", ".join([*methods, *(("HEAD",) if "GET" in methods else ()), "OPTIONS"])
        if method == "OPTIONS":
            return endpoints.options(allowed)
        upgrade = exchange.request.headers.get("upgrade", "")
        if upgrade.lower() == "websocket" and "POST" in methods:
            # Codex asks for a WebSocket first, and falls back to POST at once when it is told this.
            raise GatewayError(Kind.UPGRADE, f"WebSockets are not served here: POST to {path}.")
        raise GatewayError(
            Kind.METHOD, f"{path} takes {allowed}, not {method[:16]}.", allow=allowed
        )
    return found


def template(path: str) -> str:
    """Return the route of a path as metrics tell it: what stands in it for a name is not the client's."""
    if path in TABLE or path == native.TEMPLATE:
        return path
    passed = media.template(path)
    if passed is not None:
        return passed
    for beginning in _NAMED:
        if path.startswith(beginning):
            return gemini_path.template(path) or beginning + "{id}"
    return stored.template(path) or OTHER


def _shown(path: str) -> str:
    """Return what the log tells of a path. What is long in one of nobody's may be a key that strayed into it."""
    known = template(path)
    if known != OTHER:
        return known
    words = (word if len(word) <= _LONGEST_WORD else "…" for word in path.split("/"))
    return "/".join(words)[:_LONGEST_PATH]


def _named(path: str) -> Mapping[str, Endpoint] | None:
    method = gemini_path.method_of(path)
    if method is not None:
        return _GEMINI[method]
    passed = media.template(path)
    if passed is not None:
        return passthrough.methods(passed)
    for beginning, methods in _NAMED.items():
        if path.startswith(beginning) and path != beginning:
            return methods
    taken = stored.methods_of(path)
    return dict.fromkeys(taken, stored.response) if taken else None


def _unknown_method(path: str) -> GatewayError:
    """Return the 404 of a POST to a model that says nothing, or nothing known, of what is to be done with it."""
    return GatewayError(
        Kind.UNKNOWN_OBJECT,
        f"There is nothing at {path[:128]}. A model takes {', '.join(f':{name}' for name in _GEMINI)}.",
    )


def _unknown(path: str) -> GatewayError:
    """Return the 404 of a path, with the right one where the base URL was set with or without /v1 by mistake."""
    wanted = path
    while wanted.startswith(("/v1/v1/", "//")):
        wanted = wanted[3:] if wanted.startswith("/v1/v1/") else wanted[1:]
    if wanted.startswith("/v1/v1beta/"):
        wanted = wanted[3:]
    wanted = wanted.rstrip("/") or "/"
    candidates = [wanted, f"/v1{wanted}", f"/v1/{wanted.rpartition('/v1/')[2]}"]
    for candidate in candidates:
        if (
            candidate != path
            and (candidate in TABLE or _named(candidate) is not None)
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
    if gemini_path.is_geminis(candidate):
        return f"The path is {candidate}: Google's SDKs add the version themselves, so leave it out of the base URL."
    if "/v1/v1/" in path:
        return f"The path is {candidate}: the base URL names /v1 twice."
    if not path.startswith("/v1/") and "/messages" not in candidate:
        return f"The path is {candidate}: OpenAI's SDKs want a base URL that ends in /v1."
    return f"The path is {candidate}."
