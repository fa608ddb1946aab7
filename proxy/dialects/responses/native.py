"""A Responses request for an upstream of its own dialect: only reasoning that others sealed has to go, since OpenAI refuses it."""

from __future__ import annotations

from typing import Any

import orjson

from proxy.dialects.envelope import PREFIX, open_for
from proxy.dialects.native import with_model

_SEALED = b'"' + PREFIX.encode()
_SEAL = "encrypted_content"


def rewritten(body: bytes, document: dict[str, Any], model: str) -> bytes:
    """Return the bytes to send: the client's, asking for ``model``, without reasoning that another provider sealed.

    ``document`` is what ``body`` was parsed from; it stays as it is, since another account may be asked from it.
    """
    if _SEALED in body:
        opened = open_seals(document)
        if opened is not document:
            document, body = opened, orjson.dumps(opened)
    return with_model(body, dict(document), model)


def open_seals(document: dict[str, Any]) -> dict[str, Any]:
    """Return ``document`` without items that hold a foreign seal, and with OpenAI's own bare, or the very same object."""
    items = document.get("input")
    if not isinstance(items, list):
        return document
    kept = [_opened(item) for item in items]
    if all(one is item for one, item in zip(kept, items, strict=True)):
        return document
    return {**document, "input": [item for item in kept if item is not None]}


def _opened(item: Any) -> Any:
    """Return ``item`` as OpenAI takes it; None if it is somebody else's."""
    if not isinstance(item, dict) or item.get("type") != "reasoning":
        return item
    seal = item.get(_SEAL)
    if not isinstance(seal, str) or not seal.startswith(PREFIX):
        return item
    own = open_for("oai", seal)
    return None if own is None else {**item, _SEAL: own}
