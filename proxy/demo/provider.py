"""The demo provider as an HTTP server on loopback."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

from aiohttp import web

from proxy.demo import chat, embeddings, gemini, messages, model_list, openai, responses
from proxy.demo.accepted import Accepted, Identity
from proxy.demo.brain import decide
from proxy.demo.models import Dialect
from proxy.demo.plan import Broken, Cut, Page, Plan, Wait
from proxy.demo.refusal import RETRY_AFTER_SECONDS, Refused

# About what a person reads, and a hosted model writes.
WORDS_PER_SECOND = 30.0
# A whole answer is not worth waiting for longer than this, unless the prompt orders a wait.
_MAX_PAUSE_SECONDS = 1.0
# More than any real provider takes, so that the gateway's limit is the one that is seen.
_MAX_BODY = 64 * 1024 * 1024
# Streams that still run when the provider is closed are cut. (To aiohttp, 0 would mean for ever.)
_SHUTDOWN_SECONDS = 0.1

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Running:
    """The started provider; ``url`` has no path and no slash at its end."""

    url: str
    _runner: web.AppRunner = field(repr=False)

    async def close(self) -> None:
        """Stop listening and drop the connections that are left."""
        await self._runner.cleanup()


async def start(
    host: str = "127.0.0.1", port: int = 0, *, words_per_second: float = WORDS_PER_SECOND
) -> Running:
    """Start the provider; port 0 takes a free one, and 0 words per second means without any wait."""
    runner = web.AppRunner(
        _application(words_per_second),
        access_log=None,
        handle_signals=False,
        shutdown_timeout=_SHUTDOWN_SECONDS,
    )
    await runner.setup()
    site = web.TCPSite(runner, host, port)
    try:
        await site.start()
    except OSError:
        await runner.cleanup()
        raise
    bound_port = runner.addresses[0][1]
    return Running(f"http://{f'[{host}]' if ':' in host else host}:{bound_port}", runner)


# A route reads its request into a call of the model, or straight into the JSON that answers it.
_Reader = Callable[[web.Request, bytes, Identity], Accepted | bytes]


def _application(words_per_second: float) -> web.Application:
    provider = _Provider(1 / words_per_second if words_per_second else 0.0)
    app = web.Application(client_max_size=_MAX_BODY)
    for path, dialect, reader in _POST:
        app.router.add_post(path, provider.handler(dialect, reader))
    for version in ("v1", "v1beta"):
        models = f"/{version}/models"
        app.router.add_get(models, provider.handler(None, _list_models))
        app.router.add_get(f"{models}/{{model:[^:]+}}", provider.handler(None, _show_model))
        gemini_call = provider.handler(Dialect.GEMINI, _read_gemini)
        app.router.add_post(f"{models}/{{model:[^:]+}}:{{method}}", gemini_call)
    return app


def _read_chat(_: web.Request, body: bytes, identity: Identity) -> Accepted:
    return chat.read(body, identity)


def _read_responses(_: web.Request, body: bytes, identity: Identity) -> Accepted:
    return responses.read(body, identity)


def _count_responses(_: web.Request, body: bytes, __: Identity) -> bytes:
    return responses.count(body)


def _read_messages(request: web.Request, body: bytes, identity: Identity) -> Accepted:
    return messages.read(body, _version(request), identity)


def _count_messages(request: web.Request, body: bytes, _: Identity) -> bytes:
    return messages.count(body, _version(request))


def _embed(_: web.Request, body: bytes, __: Identity) -> bytes:
    return embeddings.openai_embeddings(body)


def _read_gemini(request: web.Request, body: bytes, identity: Identity) -> Accepted | bytes:
    model = request.match_info["model"]
    match request.match_info["method"]:
        case "generateContent" | "streamGenerateContent" as method:
            stream, sse = method == "streamGenerateContent", request.query.get("alt") == "sse"
            return gemini.read(body, model, identity, stream=stream, sse=sse)
        case "countTokens":
            return gemini.count(body, model)
        case "embedContent":
            return embeddings.gemini_embedding(body, model)
        case "batchEmbedContents":
            return embeddings.gemini_embeddings(body, model)
        case method:
            raise Refused(404, f"Method not found: {method}.")


def _list_models(request: web.Request, _: bytes, __: Identity) -> bytes:
    return model_list.all_models(_caller(request))


def _show_model(request: web.Request, _: bytes, __: Identity) -> bytes:
    return model_list.one_model(_caller(request), request.match_info["model"])


_POST: tuple[tuple[str, Dialect, _Reader], ...] = (
    ("/v1/chat/completions", Dialect.CHAT, _read_chat),
    ("/v1/responses", Dialect.RESPONSES, _read_responses),
    ("/v1/responses/input_tokens", Dialect.RESPONSES, _count_responses),
    ("/v1/messages", Dialect.MESSAGES, _read_messages),
    ("/v1/messages/count_tokens", Dialect.MESSAGES, _count_messages),
    ("/v1/embeddings", Dialect.CHAT, _embed),
)


class _Provider:
    """Answers at the pace it was given."""

    def __init__(self, seconds_per_word: float) -> None:
        self._seconds_per_word = seconds_per_word

    def handler(self, of_route: Dialect | None, reader: _Reader) -> Handler:
        """A handler that answers or refuses in the dialect of the route, else of the caller."""

        async def handle(request: web.Request) -> web.StreamResponse:
            dialect = of_route or _caller(request)
            identity = Identity(secrets.token_hex(12), int(time.time()))
            try:
                _authenticate(request, dialect)
                read = reader(request, await request.read(), identity)
                return _json(read) if isinstance(read, bytes) else await self._answer(request, read)
            except Refused as refused:
                return _refusal(refused, dialect, identity)

        return handle

    async def _answer(self, request: web.Request, call: Accepted) -> web.StreamResponse:
        plan = decide(call.prompt)
        if isinstance(plan, Page):
            return web.Response(text=plan.html, content_type="text/html")
        if call.stream:
            return await self._stream(request, call, plan)
        return await self._whole(request, call, plan)

    async def _whole(self, request: web.Request, call: Accepted, plan: Plan) -> web.StreamResponse:
        ordered = sum(step.seconds for step in plan.steps if isinstance(step, Wait))
        await asyncio.sleep(ordered + min(plan.output * self._seconds_per_word, _MAX_PAUSE_SECONDS))
        if isinstance(plan.last, Broken):
            raise Refused(500, "The model failed midway.")
        document = call.document(plan)
        if not isinstance(plan.last, Cut):
            return _json(document)
        response = web.StreamResponse(headers={"content-type": "application/json"})
        response.content_length = len(document)
        await response.prepare(request)
        await response.write(document[: len(document) // 2])
        _hang_up(request)
        return response

    async def _stream(self, request: web.Request, call: Accepted, plan: Plan) -> web.StreamResponse:
        response = web.StreamResponse(
            headers={"content-type": call.content_type, "cache-control": "no-cache"}
        )
        try:
            await response.prepare(request)
            for frame in call.frames(plan):
                match frame:
                    case Wait(seconds):
                        await asyncio.sleep(seconds)
                    case Cut():
                        _hang_up(request)
                        break
                    case _:
                        await response.write(frame)
                        await asyncio.sleep(self._seconds_per_word)
            else:
                await response.write_eof()
        except ConnectionError:
            pass  # the caller has left; there is nobody to tell
        return response


# Around every answer

# The header that each dialect's provider wants, and what it says when no credential is there.
_CREDENTIALS: Mapping[Dialect, tuple[str, Refused]] = {
    Dialect.CHAT: ("authorization", Refused(401, "You didn't provide an API key.")),
    Dialect.RESPONSES: ("authorization", Refused(401, "You didn't provide an API key.")),
    Dialect.MESSAGES: ("x-api-key", Refused(401, "x-api-key header is required")),
    Dialect.GEMINI: (
        "x-goog-api-key",
        Refused(403, "Method doesn't allow unregistered callers. Please use an API Key."),
    ),
}


def _authenticate(request: web.Request, dialect: Dialect) -> None:
    """Any credential will do, but it must be where the dialect has it."""
    header, refused = _CREDENTIALS[dialect]
    value = request.headers.get(header, "")
    bearer = request.headers.get("authorization", "").removeprefix("Bearer ").strip()
    if header != "authorization":
        # Both Anthropic and Google take a bearer token beside their own header.
        if value or bearer or (dialect is Dialect.GEMINI and request.query.get("key")):
            return
    elif bearer and value.startswith("Bearer "):
        return
    raise Refused(refused.status, refused.message)


def _refusal(refused: Refused, dialect: Dialect, identity: Identity) -> web.Response:
    response = _json(_error_body(refused, dialect, identity), refused.status)
    if refused.status == HTTPStatus.TOO_MANY_REQUESTS and dialect is not Dialect.GEMINI:
        response.headers["retry-after"] = str(RETRY_AFTER_SECONDS)
    return response


def _error_body(refused: Refused, dialect: Dialect, identity: Identity) -> bytes:
    match dialect:
        case Dialect.CHAT | Dialect.RESPONSES:
            return openai.error_body(refused)
        case Dialect.MESSAGES:
            return messages.error_body(refused, f"req_{identity.id}")
        case Dialect.GEMINI:
            return gemini.error_body(refused)


def _json(body: bytes, status: int = 200) -> web.Response:
    return web.Response(body=body, status=status, content_type="application/json")


def _hang_up(request: web.Request) -> None:
    """End the connection after what was written, but without the end of the body."""
    if request.transport is not None:
        request.transport.close()


def _version(request: web.Request) -> str:
    version = request.headers.get("anthropic-version")
    if not version:
        raise Refused(400, "anthropic-version: header is required")
    return version


def _caller(request: web.Request) -> Dialect:
    """Whose list of models is meant: three dialects share the path."""
    if request.path.startswith("/v1beta/") or "x-goog-api-key" in request.headers:
        return Dialect.GEMINI
    return Dialect.MESSAGES if "anthropic-version" in request.headers else Dialect.CHAT
