"""How deep JSON may be nested: what is read must be possible to write again.

orjson reads 1,024 levels and writes 254, so a document in between would fail where it is rendered. Bodies of clients are held
to less when they come (``proxy.server.body``); this is for upstreams, and for JSON inside of strings.
"""

from __future__ import annotations

from typing import Any

import orjson

MAX_DEPTH = 200
"""Levels. No schema, call or answer has been seen with more than a dozen; what is written adds a few."""
_SHORT = 2 * MAX_DEPTH
"""Bytes in which so many levels cannot be opened and closed: a token's event has fewer."""


def loads(data: bytes | str) -> Any:
    """Return the JSON that ``data`` is. Raises orjson.JSONDecodeError, also where it is nested too deep to be written again."""
    value = orjson.loads(data)
    if len(data) > _SHORT and _brackets(data) > MAX_DEPTH and exceeds(value, MAX_DEPTH):
        raise orjson.JSONDecodeError(f"nested deeper than {MAX_DEPTH} levels", "", 0)
    return value


def exceeds(document: object, limit: int) -> bool:
    """Tell whether containers are nested deeper than ``limit``, level by level so that depth costs no stack."""
    level: list[object] = [document] if isinstance(document, dict | list) else []
    for _ in range(limit):
        below: list[object] = []
        for container in level:
            values = container.values() if isinstance(container, dict) else container
            below += [value for value in values if isinstance(value, dict | list)]  # type: ignore[attr-defined]  # a list
        if not below:
            return False
        level = below
    return True


def _brackets(data: bytes | str) -> int:
    if isinstance(data, str):
        return data.count("{") + data.count("[")
    return data.count(b"{") + data.count(b"[")
