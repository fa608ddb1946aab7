"""A request that stays in its dialect: the client's own bytes, with as few of them changed as can be.

Prompt caches and signed thinking are bound to the bytes of a prefix, so a body is only written anew where a field has to
change that cannot be changed in place.
"""

from __future__ import annotations

import re
from typing import Any

import orjson

_MODEL = re.compile(rb'"model"\s*:\s*("(?:[^"\\]|\\.)*")')
_ESCAPED = b"\\u"
_ESCAPED_MODEL = re.compile(rb"\\u00(?:6[45cdfCDF])")
"""One of the letters of "model" written as an escape."""


def with_model(body: bytes, document: dict[str, Any], model: str) -> bytes:
    """Return ``body``, which ``document`` was parsed from, asking for ``model``.

    The name is replaced in place if it can only stand in one place; else the document is written anew. ``document`` is
    changed too, so that later edits and this one agree.
    """
    asked = document.get("model")
    document["model"] = model
    if asked == model:
        return body
    if body.count(b'"model"') == 1:
        found = _MODEL.search(body)
        if found is not None and orjson.loads(found[1]) == asked:
            view = memoryview(body)
            changed = b"".join((view[: found.start(1)], orjson.dumps(model), view[found.end(1) :]))
            # A key can be spelt with escapes: then the one found in plain letters is another object's.
            if not _ESCAPED_MODEL.search(body) or orjson.loads(changed).get("model") == model:
                return changed
    return orjson.dumps(document)


def with_first_member(body: bytes, member: bytes) -> bytes:
    """Return ``body``, a JSON object with at least one member, with ``member`` (``"name":value``) put in front."""
    start = body.index(b"{") + 1
    return body[:start] + member + b"," + body[start:]


def with_renamed_key(body: bytes, document: dict[str, Any], old: str, new: str) -> bytes:
    """Return ``body`` with its top-level key ``old`` called ``new``; ``document`` is changed too."""
    quoted = b'"%b"' % old.encode()
    document[new] = document.pop(old)
    if body.count(quoted) == 1:
        changed = body.replace(quoted, b'"%b"' % new.encode())
        if _ESCAPED not in body or orjson.loads(changed) == document:
            return changed
    return orjson.dumps(document)
