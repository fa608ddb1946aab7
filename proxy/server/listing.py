"""The list of models, in the shape of whoever asks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from proxy.server.gemini_path import EMBEDDING, GENERATING

Shape = Literal["openai", "anthropic", "gemini"]
Pricing = Callable[[str], dict[str, str] | None]
"""What the caller pays for a model, in USD for one token; None where nobody knows."""


def shape_of(path: str, headers: Mapping[str, str]) -> Shape:
    """Return the shape that a client expects: Google's are known by their headers, Anthropic's by the version that they send."""
    if path.startswith("/v1beta/") or "x-goog-api-key" in headers or "x-goog-api-client" in headers:
        return "gemini"
    return "anthropic" if "anthropic-version" in headers else "openai"


def render(names: list[str], shape: Shape, created: int, pricing: Pricing) -> dict[str, Any]:
    """Return the list of ``names``; it always fits one page."""
    data = [render_one(name, shape, created, pricing) for name in names]
    if shape == "gemini":
        return {"models": data}
    if shape == "anthropic":
        first, last = (names[0], names[-1]) if names else (None, None)
        return {"data": data, "has_more": False, "first_id": first, "last_id": last}
    return {"object": "list", "data": data}


def render_one(name: str, shape: Shape, created: int, pricing: Pricing) -> dict[str, Any]:
    """Return one model."""
    if shape == "gemini":
        # Nobody says what a model can do, but models for embeddings are called so.
        methods = EMBEDDING if "embed" in name.lower() else GENERATING
        return {
            "name": f"models/{name}",
            "displayName": name,
            "supportedGenerationMethods": list(methods),
        }
    if shape == "anthropic":
        moment = datetime.fromtimestamp(created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return {
            "type": "model",
            "id": name,
            "display_name": name,
            "created_at": moment,
            "lifecycle": "active",
        }
    owner = name.partition("/")[0] if "/" in name else "splice"
    listed = {"id": name, "object": "model", "created": created, "owned_by": owner}
    told = pricing(name)
    return listed if told is None else {**listed, "pricing": told}
