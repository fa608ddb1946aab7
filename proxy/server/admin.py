"""The admin listeners: what an operator asks. Never on the public one.

The daemon's own socket is for whoever its file's mode lets in, and lets them do everything. Over ``[admin] listen`` the
API wants a token, also from loopback: every local process can call there, and so can a page that a browser shows.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Mapping, Sequence
from inspect import isawaitable
from urllib.parse import parse_qsl, unquote

import orjson
from aiohttp import hdrs, web

from proxy.config.model import Admin as Settings
from proxy.config.secrets import Secret
from proxy.errors import GatewayError
from proxy.server import (
    accounts_api,
    audit_api,
    keys_api,
    reload_api,
    requests_api,
    status_api,
    upgrade_api,
)
from proxy.server.admin_call import AdminCall, AdminError, Document
from proxy.server.body import parse_object, read_body
from proxy.server.exchange import address_of
from proxy.server.failures import Failures
from proxy.server.gateway import Gateway
from proxy.server.scrape import Scrape

Handler = Callable[[Gateway, AdminCall], Document | Awaitable[Document]]

_API = "/api/v1/"
_MAX_BODY = 1 << 16
ROUTES: Mapping[str, Mapping[str, Handler]] = {
    "accounts": {"GET": accounts_api.listed},
    "accounts/*": {"GET": accounts_api.shown},
    "accounts/*/disable": {"POST": accounts_api.disable},
    "accounts/*/enable": {"POST": accounts_api.enable},
    "accounts/*/clear": {"POST": accounts_api.clear},
    "accounts/*/test": {"POST": accounts_api.test},
    "audit": {"GET": audit_api.shown},
    "requests": {"GET": requests_api.listed},
    "requests/*/cancel": {"POST": requests_api.cancel},
    "reload": {"POST": reload_api.reload},
    "status": {"GET": status_api.shown},
    "upgrade": {"POST": upgrade_api.upgrade},
    **keys_api.ROUTES,
}
"""Below ``/api/v1/``; ``*`` is a name."""


class Admin:
    """Answers an operator's requests, and Prometheus'."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._scrape = Scrape(gateway)
        self._failures = Failures()

    async def over_socket(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request that came over the daemon's own socket."""
        return await self._handle(request, trusted=True)

    async def over_network(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request that came over ``[admin] listen``."""
        if hdrs.AUTHORIZATION not in request.headers:
            return await self._handle(request, trusted=False)
        address, now = address_of(request, ()), self._gateway.now()
        if self._failures.is_spent(address, now):
            # The right token too: unlike a key, it may be one that can be guessed.
            return _refusal(AdminError(429, "Too many wrong tokens; wait a second.", _LATER))
        answer = await self._handle(request, trusted=False)
        if answer.status == 401:
            self._failures.allows(address, now)
        return answer

    async def _handle(self, request: web.BaseRequest, *, trusted: bool) -> web.StreamResponse:
        answer = await self._answer(request, trusted=trusted)
        if self._gateway.draining:
            # Whoever asks again, Prometheus above all, means the process that comes next, if that is there already.
            answer.force_close()
        return answer

    async def _answer(self, request: web.BaseRequest, *, trusted: bool) -> web.StreamResponse:
        settings = self._gateway.config.admin
        try:
            _check_host(request.headers.get("host", ""), settings.hosts)
            path, _, query = request.raw_path.partition("?")
            match path:
                case "/healthz":
                    return _json({"status": "ok", "version": self._gateway.version})
                case "/readyz":
                    ready = not self._gateway.draining and bool(len(self._gateway.pool))
                    return _json(
                        {"status": "ready" if ready else "not ready"}, 200 if ready else 503
                    )
                case "/metrics":
                    return await self._scrape.answer(request)
                case _ if path.startswith(_API):
                    if not trusted:
                        changes = request.method not in ("GET", "HEAD")
                        check_token(
                            request.headers.getall("authorization", ()), settings, changes=changes
                        )
                    through = "admin socket" if trusted else "admin token"
                    return _json(await self._ask(request, path, query, through))
                case _:
                    raise AdminError(404, f"The paths are /healthz, /readyz, /metrics and {_API}….")
        except AdminError as error:
            return _refusal(error)

    async def _ask(self, request: web.BaseRequest, path: str, query: str, through: str) -> Document:
        route, name = _route(path.removeprefix(_API))
        method = request.method
        methods = ROUTES[route]
        handler = methods.get("GET" if method == "HEAD" else method)
        if handler is None:
            allowed = ", ".join(methods)
            raise AdminError(
                405, f"{_API}{route} takes {allowed}, not {method[:16]}.", {"Allow": allowed}
            )
        call = AdminCall(
            name,
            dict(parse_qsl(query, keep_blank_values=True)),
            await _body(request),
            request.headers.get("idempotency-key"),
            through,
        )
        answer = handler(self._gateway, call)
        return await answer if isawaitable(answer) else answer


async def _body(request: web.BaseRequest) -> Document:
    """Return the JSON object that was sent, or raise what is wrong with it; no body is an empty one."""
    if not request.can_read_body:
        return {}
    try:
        return parse_object(await read_body(request, _MAX_BODY))
    except GatewayError as error:
        raise AdminError(error.status, error.message) from error


def check_token(presented: Sequence[str], settings: Settings, *, changes: bool) -> None:
    """Raise the 401 or 403 unless the ``Authorization`` headers of a request allow it."""
    scheme, _, given = (presented[0] if len(presented) == 1 else "").partition(" ")
    given = given.strip() if scheme.lower() == "bearer" else ""
    # Both are always compared, each in a time that does not depend on where it differs.
    may_change = _is(given, settings.token)
    may_read = _is(given, settings.read_token)
    if may_change or (may_read and not changes):
        return
    if may_read:
        raise AdminError(403, "The read token changes nothing: use [admin] token.")
    if settings.token is None and (changes or settings.read_token is None):
        raise AdminError(
            401,
            "No token is set that allows it: set [admin] token, or use the `splice` commands on this machine.",
            _CHALLENGE,
        )
    wanted = "[admin] token" if changes else "[admin] token or read_token"
    raise AdminError(401, f"Send the {wanted} as `Authorization: Bearer TOKEN`.", _CHALLENGE)


_CHALLENGE = {"WWW-Authenticate": "Bearer"}
_LATER = {"Retry-After": "1"}


def _is(given: str, secret: Secret | None) -> bool:
    expected = "" if secret is None else secret.reveal()
    # Headers and the environment both show bytes that are no UTF-8 as surrogates.
    same = hmac.compare_digest(
        given.encode("utf-8", "surrogateescape"), expected.encode("utf-8", "surrogateescape")
    )
    return same and bool(expected)


def _check_host(host: str, allowed: Sequence[str]) -> None:
    """Raise the 403 of a Host that is not on the list: a page may have given its own name this address."""
    head, _, port = host.rpartition(":")
    name = (head if head and port.isdigit() else host).strip("[]")
    if name and name not in allowed:
        raise AdminError(403, f"The Host {name[:64]!r} is not one of [admin] hosts.")


def _route(path: str) -> tuple[str, str]:
    """Return the row of ROUTES for ``path``, and the name that stands where the row has its star."""
    noun, *rest = path.split("/")
    row = "/".join([noun, "*", *rest[1:]] if rest else [noun])
    if row in ROUTES:
        return row, unquote(rest[0]) if rest else ""
    known = ", ".join(_API + one for one in ROUTES)
    raise AdminError(404, f"There is nothing at {_API + path[:128]!r}. The paths are {known}.")


def _json(
    document: Document, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    return web.Response(
        status=status,
        body=orjson.dumps(document),
        content_type="application/json",
        headers={"Cache-Control": "no-store", **(headers or {})},
    )


def _refusal(error: AdminError) -> web.Response:
    told = {
        "message": error.message,
        "type": "invalid_request_error",
        "param": error.param,
        "code": None,
    }
    return _json({"error": told}, error.status, error.headers)
