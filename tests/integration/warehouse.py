"""A provider of everything that is passed on: it keeps what it is sent and answers as OpenAI does, each account with its own things."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

AUDIO = bytes(range(256)) * 64
PICTURE = "aGVsbG8="


class Warehouse:
    """``seen`` is every request: method, path with query, credential, content type, and the body or its digest."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []
        self.files: dict[str, dict[str, Any]] = {}
        self.contents: dict[str, bytes] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self.videos: dict[str, dict[str, Any]] = {}
        self.url = ""
        self.refuse: list[int] = []
        """Statuses of the next answers."""
        self.speech_size = len(AUDIO)
        self.open = asyncio.Event()
        """While it is not set nobody is answered."""
        self.open.set()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        note: dict[str, Any] = {
            "method": request.method,
            "path": request.raw_path,
            "key": request.headers.get("authorization")
            or request.headers.get("api-key")
            or request.headers.get("x-api-key")
            or request.headers.get("x-goog-api-key"),
            "headers": dict(request.headers),
            "type": request.headers.get("content-type"),
        }
        self.seen.append(note)
        if self.refuse:
            status = self.refuse.pop(0)
            await _whole(request)
            return web.json_response(
                {"error": {"message": f"told {SECRET_WORDS}", "type": "x"}}, status=status
            )
        path = request.path.removeprefix("/openai").removeprefix("/v1")
        if path == "/files" and request.method == "POST":
            return await self._store(request, note)
        note["body"] = await _whole(request)
        await self.open.wait()
        return await self._answer(request, path, note)

    async def _store(self, request: web.BaseRequest, note: dict[str, Any]) -> web.StreamResponse:
        form = await request.multipart()
        digest, size, fields, content, name = hashlib.sha256(), 0, {}, b"", ""
        part: Any
        async for part in form:
            if part.filename is None:
                fields[part.name] = await part.text()
                continue
            name = part.filename
            while data := await part.read_chunk(1 << 16):
                digest.update(data)
                size += len(data)
                if size <= 1 << 20:
                    content += data
        number = f"file-{len(self.files)}"
        note.update(fields=fields, size=size, sha256=digest.hexdigest())
        self.files[number] = document = {
            "id": number,
            "object": "file",
            "bytes": size,
            "created_at": 1,
            "filename": name,
            "purpose": fields.get("purpose"),
            "status": "processed",
        }
        self.contents[number] = content
        return web.json_response(document)

    async def _answer(
        self, request: web.BaseRequest, path: str, note: dict[str, Any]
    ) -> web.StreamResponse:
        body = note["body"]
        parts = path.strip("/").split("/")
        document = json.loads(body) if body[:1] == b"{" else {}
        match [request.method, *parts]:
            case ["POST", "completions"] if document.get("stream"):
                return await _events(
                    request,
                    [
                        {
                            "id": "cmpl-1",
                            "choices": [{"text": "Hi", "index": 0, "finish_reason": None}],
                        },
                        {
                            "id": "cmpl-1",
                            "choices": [{"text": "!", "index": 0, "finish_reason": "stop"}],
                        },
                        {
                            "id": "cmpl-1",
                            "choices": [],
                            "usage": {
                                "prompt_tokens": 5,
                                "completion_tokens": 2,
                                "total_tokens": 7,
                            },
                        },
                        "[DONE]",
                    ],
                )
            case ["POST", "completions"]:
                return web.json_response(
                    {
                        "id": "cmpl-1",
                        "object": "text_completion",
                        "created": 1,
                        "model": document["model"],
                        "choices": [
                            {"text": "Hi!", "index": 0, "finish_reason": "stop", "logprobs": None}
                        ],
                        "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7},
                    }
                )
            case ["POST", "moderations"]:
                return web.json_response(
                    {
                        "id": "modr-1",
                        "model": "omni-moderation-latest",
                        "results": [
                            {
                                "flagged": False,
                                "categories": {},
                                "category_scores": {},
                                "category_applied_input_types": {},
                            }
                        ],
                    }
                )
            case ["POST", "rerank"]:
                return web.json_response(
                    {
                        "results": [{"index": 1, "relevance_score": 0.9}],
                        "usage": {"total_tokens": 9},
                    }
                )
            case ["POST", "images", "generations"] if document.get("stream"):
                return await _events(
                    request,
                    [
                        {
                            "type": "image_generation.partial_image",
                            "b64_json": PICTURE,
                            "partial_image_index": 0,
                            "background": "opaque",
                            "created_at": 1,
                            "output_format": "png",
                            "quality": "low",
                            "size": "1024x1024",
                        },
                        {
                            "type": "image_generation.completed",
                            "b64_json": PICTURE,
                            "background": "opaque",
                            "created_at": 1,
                            "output_format": "png",
                            "quality": "low",
                            "size": "1024x1024",
                            "usage": IMAGE_USAGE,
                        },
                    ],
                )
            case ["POST", "images", _]:
                return web.json_response(
                    {"created": 1, "data": [{"b64_json": PICTURE}], "usage": IMAGE_USAGE}
                )
            case ["POST", "audio", "speech"]:
                answer = web.StreamResponse(headers={"content-type": "audio/mpeg"})
                answer.content_length = self.speech_size
                await answer.prepare(request)
                left = self.speech_size
                while left:
                    await answer.write(AUDIO[: min(left, len(AUDIO))])
                    left -= min(left, len(AUDIO))
                return answer
            case ["POST", "audio", _] if b'name="stream"' in body:
                return await _events(
                    request,
                    [
                        {"type": "transcript.text.delta", "delta": "Hello"},
                        {"type": "transcript.text.done", "text": "Hello", "usage": HEARD},
                    ],
                )
            case ["POST", "audio", _] if b"srt" in body:
                return web.Response(text="1\n00:00 --> 00:01\nHello\n")
            case ["POST", "audio", _]:
                return web.json_response({"text": "Hello", "usage": HEARD})
            case ["POST", "batches"]:
                number = f"batch_{len(self.batches)}"
                self.batches[number] = made = {
                    "id": number, "object": "batch", "endpoint": document["endpoint"],
                    "input_file_id": document["input_file_id"], "completion_window": "24h",
                    "status": "in_progress", "created_at": 1,
                }  # fmt: skip
                return web.json_response(made)
            case ["POST", "videos", *_]:
                number = f"video_{len(self.videos)}"
                self.videos[number] = made = {
                    "id": number, "object": "video", "model": "sora-2", "status": "queued", "progress": 0,
                    "created_at": 1, "seconds": "4", "size": "720x1280", "error": None,
                }  # fmt: skip
                return web.json_response(made)
            case ["POST", "batches", number, "cancel"] if number in self.batches:
                self.batches[number]["status"] = "cancelling"
                return web.json_response(self.batches[number])
            case ["GET", "files" | "videos", number, "content"] if number in (
                self.contents | self.videos
            ):
                return web.Response(
                    body=self.contents.get(number, AUDIO),
                    headers={
                        "content-type": "application/json",
                        "content-disposition": 'attachment; filename="f"',
                    },
                )
            case ["GET", kind, number] if number in getattr(self, kind, {}):
                return web.json_response(getattr(self, kind)[number])
            case ["DELETE", kind, number] if number in getattr(self, kind, {}):
                del getattr(self, kind)[number]
                return web.json_response({"id": number, "object": kind[:-1], "deleted": True})
        return web.json_response(
            {"error": {"message": "No such thing", "type": "invalid_request_error"}}, status=404
        )


IMAGE_USAGE = {
    "input_tokens": 10,
    "input_tokens_details": {"text_tokens": 10, "image_tokens": 0},
    "output_tokens": 272,
    "total_tokens": 282,
}
HEARD = {
    "type": "tokens",
    "input_tokens": 14,
    "input_token_details": {"text_tokens": 4, "audio_tokens": 10},
    "output_tokens": 3,
    "total_tokens": 17,
}
SECRET_WORDS = "about our account"


async def _whole(request: web.BaseRequest) -> bytes:
    """Return a body of any size."""
    return b"".join([piece async for piece in request.content.iter_any()])


async def _events(request: web.BaseRequest, events: list[Any]) -> web.StreamResponse:
    answer = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await answer.prepare(request)
    for event in events:
        data = event if isinstance(event, str) else json.dumps(event)
        await answer.write(f"data: {data}\n\n".encode())
    await answer.write_eof()
    return answer


@asynccontextmanager
async def warehouse():
    """Run one on a port of its own."""
    made = Warehouse()
    # A client that leaves in the middle is no failure of the gateway, whose log is what the tests look at.
    silent = logging.getLogger("warehouse")
    silent.disabled = True
    server = web.Server(made.handle, logger=silent)
    runner = web.ServerRunner(server, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield made
    finally:
        await runner.cleanup()
