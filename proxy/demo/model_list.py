"""The list of models, in the shape that the caller's dialect has for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import orjson

from proxy.demo import openai
from proxy.demo.models import MODELS, Dialect, Model
from proxy.demo.refusal import Refused

_CREATED = 1_767_225_600  # the first second of 2026
_CREATED_AT = "2026-01-01T00:00:00Z"
_METHODS = {
    "chat": ["generateContent", "streamGenerateContent", "countTokens"],
    "embedding": ["embedContent", "batchEmbedContents"],
}


def all_models(dialect: Dialect) -> bytes:
    """The list, as a provider of that dialect answers it."""
    match dialect:
        case Dialect.CHAT | Dialect.RESPONSES:
            return orjson.dumps({"object": "list", "data": list(map(_openai, _of_openai()))})
        case Dialect.MESSAGES:
            data = list(map(_anthropic, _of(dialect)))
            first, last = data[0]["id"], data[-1]["id"]
            page = {"data": data, "has_more": False, "first_id": first, "last_id": last}
            return orjson.dumps(page)
        case Dialect.GEMINI:
            models = list(map(_gemini, _of(dialect)))
            return orjson.dumps({"models": models}, option=orjson.OPT_INDENT_2)


def one_model(dialect: Dialect, name: str) -> bytes:
    """One entry of the list; Refused where there is none."""
    match dialect:
        case Dialect.CHAT | Dialect.RESPONSES:
            found = _named(name, _of_openai())
            if found is None:
                raise openai.unknown_model(name)
            return orjson.dumps(_openai(found))
        case Dialect.MESSAGES:
            found = _named(name, _of(dialect))
            if found is None:
                raise Refused(404, f"model: {name}")
            return orjson.dumps(_anthropic(found))
        case Dialect.GEMINI:
            found = _named(name, _of(dialect))
            if found is None:
                raise Refused(404, f"Model is not found: models/{name} for api version v1beta")
            return orjson.dumps(_gemini(found), option=orjson.OPT_INDENT_2)


def _named(name: str, models: Sequence[Model]) -> Model | None:
    return next((model for model in models if model.id == name), None)


def _of(dialect: Dialect) -> Sequence[Model]:
    return [model for model in MODELS if model.dialect is dialect]


def _of_openai() -> Sequence[Model]:
    return [*_of(Dialect.CHAT), *_of(Dialect.RESPONSES)]


def _openai(model: Model) -> Mapping[str, object]:
    return {"id": model.id, "object": "model", "created": _CREATED, "owned_by": "demo"}


def _anthropic(model: Model) -> Mapping[str, object]:
    return {
        "type": "model",
        "id": model.id,
        "display_name": model.id.replace("-", " ").title(),
        "created_at": _CREATED_AT,
        "lifecycle": "active",
    }


def _gemini(model: Model) -> Mapping[str, object]:
    return {
        "name": f"models/{model.id}",
        "displayName": model.id.replace("-", " ").title(),
        "inputTokenLimit": 1_048_576,
        "outputTokenLimit": 65_536,
        "supportedGenerationMethods": _METHODS[model.kind],
    }
