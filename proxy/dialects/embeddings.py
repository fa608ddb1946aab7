"""Texts as vectors: OpenAI's embeddings and Gemini's, passed on where both sides speak the same, else written from one another.

Only these two dialects have them, nothing is streamed, and an answer that tells no usage is estimated from its texts.
"""

from __future__ import annotations

import base64
import sys
from array import array
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import orjson

from proxy.dialects.answer import WholeSplice
from proxy.dialects.asked import Asked
from proxy.dialects.chat.decode import read_usage
from proxy.dialects.gemini.fields import Fields
from proxy.dialects.gemini.usage import document_usage
from proxy.dialects.gemini.write import method_path, resource
from proxy.dialects.native import with_model
from proxy.dialects.plan import Plan, refuse_dropped
from proxy.errors import GatewayError, Kind, invalid, unsupported
from proxy.providers import Dialect, Provider
from proxy.usage import Usage, estimate_tokens

Json = dict[str, Any]
Vector = list[float]

_OPENAI: tuple[Dialect, ...] = ("openai-chat", "openai-responses")
_OPENAI_FIELDS = frozenset(("model", "input", "encoding_format", "dimensions"))
_GEMINI_FIELDS = frozenset(("model", "content", "outputDimensionality"))
_GEMINI_LOST = frozenset(("taskType", "title", "autoTruncate"))


def check(dialect: str, document: Json) -> None:
    """Raise the 400 that names the field without which there is nothing to embed, or that is not what it must be."""
    if dialect == "gemini":
        _check_gemini(document)
        return
    _inputs(document)
    form = document.get("encoding_format")
    if form not in (None, "float", "base64"):
        raise invalid("encoding_format", '`encoding_format` must be "float" or "base64".')
    dimensions = document.get("dimensions")
    if dimensions is not None and (type(dimensions) is not int or dimensions < 1):
        raise invalid("dimensions", "`dimensions` must be a whole number from 1.")


def _check_gemini(document: Json) -> None:
    if "requests" in document:
        requests = document["requests"]
        if not isinstance(requests, list) or not requests:
            raise invalid("requests", "`requests` must be a list of at least one request.")
    elif not isinstance(document.get("content"), dict):
        raise invalid("content", "`content` must be an object: the content to embed.")


def make_embedding_plan(asked: Asked, provider: Provider, model: str, *, strict: bool) -> Plan:
    """Return how to ask ``model`` of ``provider`` for the vectors of ``asked``, whose dialect is chat or Gemini.

    Raises GatewayError 400 where the provider has no embeddings, or no form for what is to be embedded.
    """
    openai = next((dialect for dialect in _OPENAI if dialect in provider.dialects), None)
    gemini = "gemini" in provider.dialects
    if asked.dialect == "gemini":
        if gemini:
            return _gemini_native(asked, provider, model)
        if openai is not None:
            return _gemini_to_openai(asked, provider, openai, model, strict=strict)
    elif openai is not None:
        body = orjson.dumps(asked.document) if asked.edited else asked.body
        body = with_model(body, dict(asked.document), model)
        usage = partial(_openai_usage, asked, provider)
        return _plan(openai, "/v1/embeddings", body, lambda: Embedded(usage), native=True)
    elif gemini:
        return _openai_to_gemini(asked, provider, model, strict=strict)
    raise unsupported("model", f"The provider of `{asked.model}` has no embeddings.")


class Embedded(WholeSplice):
    """An answer of vectors. ``translate`` returns the client's document, or None where the upstream's is none."""

    def __init__(
        self,
        read: Callable[[Json], Usage],
        translate: Callable[[Json, Usage], Json | None] | None = None,
    ) -> None:
        super().__init__(read, lambda: 0)
        self._translate = translate

    def finish(self) -> bytes:
        body = super().finish()
        if self.error is not None or self._translate is None:
            return body
        document = self._translate(orjson.loads(body), self.usage())
        if document is None:
            self.committed = False
            self.error = GatewayError(Kind.MALFORMED, evidence="an answer without the vectors")
            return b""
        return orjson.dumps(document)


# OpenAI's.


def _inputs(document: Mapping[str, Any]) -> list[str | list[int]]:
    """Return what is to be embedded: texts, and lists of tokens."""
    given = document.get("input")
    found: list[Any] = given if isinstance(given, list) and not _is_tokens(given) else [given]
    for index, one in enumerate(found):
        if not (isinstance(one, str) or _is_tokens(one)):
            path = "input" if found is not given else f"input[{index}]"
            raise invalid(path, f"`{path}` must be a text, or a list of texts or of token numbers.")
    if not found or found == [""]:
        raise invalid("input", "`input` is empty: expected a text, or a list of them.")
    return found


def _is_tokens(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(type(token) is int for token in value)


def _openai_usage(asked: Asked, provider: Provider, document: Json) -> Usage:
    told = document.get("usage")
    if isinstance(told, dict) and told:
        return read_usage(told, provider.flags)._replace(output=0, reasoning=0)
    tokens = sum(
        estimate_tokens(one) if isinstance(one, str) else len(one)
        for one in _inputs(asked.document)
    )
    return Usage(input=tokens, estimated=True)


def _openai_to_gemini(asked: Asked, provider: Provider, model: str, *, strict: bool) -> Plan:
    document = asked.document
    inputs = _inputs(document)
    form: Json = {"model": resource(model)}
    if document.get("dimensions") is not None:
        form["outputDimensionality"] = document["dimensions"]
    requests: list[Json] = []
    for index, one in enumerate(inputs):
        if not isinstance(one, str):
            path = "input" if len(inputs) == 1 else f"input[{index}]"
            raise unsupported(path, f"`{path}`: this model takes texts only, no token numbers.")
        requests.append({**form, "content": {"parts": [{"text": one}]}})
    given = {name for name, value in document.items() if value is not None}
    dropped = {"user"} & given | ({"unknown"} if given - _OPENAI_FIELDS - {"user"} else set())
    as_base64 = document.get("encoding_format") == "base64"

    def translate(answer: Json, usage: Usage) -> Json | None:
        vectors = _gemini_vectors(answer, len(inputs))
        if vectors is None:
            return None
        tokens = usage.input_total
        return {
            "object": "list",
            "data": [
                {
                    "object": "embedding",
                    "index": index,
                    "embedding": _in_base64(vector) if as_base64 else vector,
                }
                for index, vector in enumerate(vectors)
            ],
            "model": asked.model,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }

    def usage_of(answer: Json) -> Usage:
        told = document_usage(answer, provider.flags)
        return told or Usage(input=sum(map(estimate_tokens, map(str, inputs))), estimated=True)

    return _plan(
        "gemini",
        method_path(model, "batchEmbedContents"),
        orjson.dumps({"requests": requests}),
        lambda: Embedded(usage_of, translate),
        dropped=refuse_dropped(asked, frozenset(dropped), strict=strict),
    )


def _in_base64(vector: Vector) -> str:
    """Return ``vector`` as OpenAI's SDKs want it: numbers of 32 bits, the lowest byte first."""
    numbers = array("f", vector)
    if (
        sys.byteorder == "big"
    ):  # pragma: no cover - the machines that run the tests are little-endian
        numbers.byteswap()
    return base64.b64encode(numbers.tobytes()).decode()


# Gemini's.


def _requests(document: Json) -> list[Fields]:
    """Return the requests of a batch, or the one that ``document`` is."""
    root = Fields(document, "")
    return root.objects("requests") if "requests" in root.values else [root]


def _text(request: Fields) -> str:
    texts = []
    for part in request.needed_object("content").objects("parts"):
        text = part.string("text")
        if text is None:
            raise unsupported(part.path, f"`{part.path}`: this model embeds texts only.")
        texts.append(text)
    return "\n".join(texts)


def _gemini_usage(asked: Asked, provider: Provider, document: Json) -> Usage:
    told = document_usage(document, provider.flags)
    if told is not None:
        return told
    try:
        tokens = sum(estimate_tokens(_text(request)) for request in _requests(asked.document))
    except GatewayError:
        # Pictures and sounds, which Google embeds too.
        tokens = len(asked.body) // 4
    return Usage(input=tokens, estimated=True)


def _gemini_native(asked: Asked, provider: Provider, model: str) -> Plan:
    document = asked.document
    name = resource(model)
    requests = document.get("requests")
    inner = [one for one in requests if isinstance(one, dict)] if isinstance(requests, list) else []
    body = orjson.dumps(document) if asked.edited else asked.body
    if any(one.get("model", name) != name for one in (document, *inner)):
        # Each request repeats the name in the path.
        renamed = {**document, "model": name} if "model" in document else dict(document)
        if inner:
            renamed["requests"] = [{**one, "model": name} for one in inner]
        body = orjson.dumps(renamed)
    method = "embedContent" if requests is None else "batchEmbedContents"
    usage = partial(_gemini_usage, asked, provider)
    return _plan("gemini", method_path(model, method), body, lambda: Embedded(usage), native=True)


def _gemini_to_openai(
    asked: Asked, provider: Provider, dialect: Dialect, model: str, *, strict: bool
) -> Plan:
    requests = _requests(asked.document)
    inputs = [_text(request) for request in requests]
    body: Json = {"model": model, "input": inputs, "encoding_format": "float"}
    sizes = {request.whole("outputDimensionality", least=1) for request in requests}
    if len(sizes) > 1:
        path = requests[0].at("outputDimensionality")
        raise unsupported(path, f"`{path}`: this model takes one size for all of a batch.")
    size = sizes.pop() if sizes else None
    if size is not None:
        body["dimensions"] = size
    given = {name for request in requests for name in request.values} - {"requests"}
    dropped = given & _GEMINI_LOST
    if given - _GEMINI_FIELDS - _GEMINI_LOST:
        dropped |= {"unknown"}
    is_batch = "requests" in asked.document

    def translate(answer: Json, usage: Usage) -> Json | None:
        vectors = _openai_vectors(answer, len(inputs))
        if vectors is None:
            return None
        told = {"promptTokenCount": usage.input_total, "totalTokenCount": usage.input_total}
        values = [{"values": vector} for vector in vectors]
        content = {"embeddings": values} if is_batch else {"embedding": values[0]}
        return {**content, "usageMetadata": told}

    def usage_of(answer: Json) -> Usage:
        told = answer.get("usage")
        if isinstance(told, dict) and told:
            return read_usage(told, provider.flags)._replace(output=0, reasoning=0)
        return Usage(input=sum(map(estimate_tokens, inputs)), estimated=True)

    return _plan(
        dialect,
        "/v1/embeddings",
        orjson.dumps(body),
        lambda: Embedded(usage_of, translate),
        dropped=refuse_dropped(asked, frozenset(dropped), strict=strict),
    )


# Answers.


def _gemini_vectors(answer: Json, count: int) -> list[Vector] | None:
    found = answer.get("embeddings")
    vectors = (
        [one.get("values") for one in found if isinstance(one, dict)]
        if isinstance(found, list)
        else []
    )
    return _vectors(vectors, count)


def _openai_vectors(answer: Json, count: int) -> list[Vector] | None:
    found = answer.get("data")
    entries = [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
    # Some servers answer out of order.
    entries.sort(key=lambda one: one["index"] if type(one.get("index")) is int else 0)
    return _vectors([one.get("embedding") for one in entries], count)


def _vectors(found: list[Any], count: int) -> list[Vector] | None:
    """Return ``found`` if it is ``count`` lists of numbers, else None."""
    if len(found) != count:
        return None
    for vector in found:
        if not isinstance(vector, list) or not all(type(v) in (float, int) for v in vector):
            return None
    return found


def _plan(
    dialect: Dialect,
    path: str,
    body: bytes,
    answer: Callable[[], Embedded],
    *,
    native: bool = False,
    dropped: frozenset[str] = frozenset(),
) -> Plan:
    return Plan(
        dialect=dialect,
        native=native,
        path=path,
        body=body,
        stream=False,
        dropped=dropped,
        answer=lambda _: answer(),
    )
