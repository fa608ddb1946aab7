"""Opaque values: ids of answers and calls, and the signatures that thinking carries.

A real provider refuses a signature that is not its own, which is how a gateway's handling of
foreign ones is found out. So these can be recognised; they are not a secret.
"""

from __future__ import annotations

import base64
import binascii
from hashlib import sha256

_MARK = b"demo provider"
_HALF = 24


def derived(answer_id: str, *names: object) -> str:
    """24 hex digits for a part of an answer, the same every time."""
    return sha256(":".join([answer_id, *map(str, names)]).encode()).hexdigest()[:24]


def sign(text: str) -> str:
    """A signature of ``text`` in base64."""
    digest = sha256(text.encode()).digest()[:_HALF]
    return base64.b64encode(digest + sha256(_MARK + digest).digest()[:_HALF]).decode()


def is_ours(signature: str) -> bool:
    try:
        raw = base64.b64decode(signature, validate=True)
    except (binascii.Error, ValueError):
        return False
    return len(raw) == 2 * _HALF and raw[_HALF:] == sha256(_MARK + raw[:_HALF]).digest()[:_HALF]
