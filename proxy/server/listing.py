"""The list of models, in the shape of whoever asks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import unquote

Shape = Literal["openai", "anthropic"]
Pricing = Callable[[str], dict[str, str] | None]
"""What the caller pays for a model, in USD for one token; None where nobody knows."""


def shape_of(headers: Mapping[str, str]) -> Shape:
    """Return the shape that a client expects: Anthropic's send their version with every request."""
    return "anthropic" if "anthropic-version" in headers else "openai"


def name_in(path: str) -> str:
    """Return the model's name in ``/v1/models/{name}``."""
    return unquote(path.removeprefix("/v1/models/"))


def render(names: list[str], shape: Shape, created: int, pricing: Pricing) -> dict[str, Any]:
    """Return the list of ``names``; it always fits one page."""
    data = [render_one(name, shape, created, pricing) for name in names]
    if shape == "anthropic":
        first, last = (names[0], names[-1]) if names else (None, None)
        return {"data": data, "has_more": False, "first_id": first, "last_id": last}
    return {"object": "list", "data": data}


def render_one(name: str, shape: Shape, created: int, pricing: Pricing) -> dict[str, Any]:
    """Return one model."""
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
