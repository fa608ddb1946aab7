"""Embeddings in OpenAI's and Gemini's shapes: vectors that depend on the text and on nothing else."""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Callable
from hashlib import shake_128

import orjson

from proxy.demo import openai
from proxy.demo.gemini_request import ProtoNode, unknown_model
from proxy.demo.models import Dialect, find
from proxy.demo.node import Node, read_object
from proxy.demo.prompt import joined, words
from proxy.demo.refusal import Refused

_DIMENSIONS = 64
_MAX_DIMENSIONS = 4096


def vector(text: str, dimensions: int = _DIMENSIONS) -> list[float]:
    """A vector of length one, as float32 values: equal texts, equal vectors."""
    raw = shake_128(text.encode()).digest(2 * dimensions)
    values = [(word - 32767.5) / 32767.5 for word in struct.unpack(f"<{dimensions}H", raw)]
    length = math.hypot(*values)
    narrow = struct.pack(f"<{dimensions}f", *(value / length for value in values))
    return list(struct.unpack(f"<{dimensions}f", narrow))


def openai_embeddings(body: bytes) -> bytes:
    root = Node(read_object(body))
    model = root.need("model")
    if find(model, Dialect.CHAT, "embedding") is None:
        raise openai.unknown_model(model)
    texts = _inputs(root)
    dimensions = root.whole("dimensions", 1, _MAX_DIMENSIONS) or _DIMENSIONS
    encode: Callable[[list[float]], object] = list
    if root.word("encoding_format", {"float", "base64"}) == "base64":
        encode = _base64
    tokens = sum(map(words, texts))
    data = [
        {"object": "embedding", "index": index, "embedding": encode(vector(text, dimensions))}
        for index, text in enumerate(texts)
    ]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return orjson.dumps({"object": "list", "data": data, "model": model, "usage": usage})


def _base64(values: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()


def _inputs(root: Node) -> list[str]:
    """The texts to embed; lists of token numbers count as texts of these numbers."""
    match root.get("input"):
        case str(text):
            found = [text]
        case [int(), *_] as tokens:
            found = [" ".join(map(str, tokens))]
        case [str() | list(), *_] as items:
            found = [
                " ".join(map(str, item)) if isinstance(item, list) else str(item) for item in items
            ]
        case None:
            raise root.missing("input")
        case _:
            raise root.wrong("input", "a string or an array of strings or tokens")
    if not all(found):
        raise root.invalid("input", "it must not be empty")
    return found


def gemini_embedding(body: bytes, model: str) -> bytes:
    root = ProtoNode(read_object(body))
    return orjson.dumps({"embedding": _gemini_values(root, model, "embedContent")})


def gemini_embeddings(body: bytes, model: str) -> bytes:
    requests = ProtoNode(read_object(body)).nodes("requests")
    if not requests:
        raise Refused(400, "* BatchEmbedContentsRequest.requests: requests is not specified\n")
    for request in requests:
        if request.text("model") not in (None, f"models/{model}"):
            raise Refused(400, f"{request.at('model')} must match the model of the URL.")
    values = [_gemini_values(request, model, "batchEmbedContents") for request in requests]
    return orjson.dumps({"embeddings": values})


def _gemini_values(request: Node, model: str, method: str) -> dict[str, list[float]]:
    if find(model, Dialect.GEMINI, "embedding") is None:
        raise unknown_model(model, method)
    text = joined([part.need("text") for part in request.need_node("content").nodes("parts")])
    dimensions = request.whole("outputDimensionality", 1, _MAX_DIMENSIONS) or _DIMENSIONS
    return {"values": vector(text, dimensions)}
