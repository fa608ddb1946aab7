"""The ``thoughtSignature`` of a part: Gemini's own seal, or another provider's on its way through a Gemini client.

The field holds bytes, so its JSON is base64 and Google's Python SDK raises on anything else. A foreign
seal travels in its envelope, and the envelope as base64. That SDK also writes the bytes that it got
back in the URL-safe alphabet, so both alphabets are read.
"""

from __future__ import annotations

import base64
import binascii

from proxy.dialects import envelope

SKIP = "skip_thought_signature_validator"
"""What Google's own clients send with a call that they have no signature for; the API lets it pass."""

_SKIP_IN_BASE64 = base64.b64encode(SKIP.encode()).decode().rstrip("=")
ENVELOPE_IN_BASE64 = base64.b64encode(envelope.PREFIX.encode()).decode()[:5]
"""How a seal of another provider begins."""
_STANDARD = str.maketrans("-_", "+/")


def read_seal(value: str) -> str:
    """Return the seal in a field of a request, in its envelope, or "" where it is none."""
    if not value or value == SKIP or value.rstrip("=") == _SKIP_IN_BASE64:
        return ""
    if value.startswith(envelope.PREFIX):
        return value
    if value.startswith(ENVELOPE_IN_BASE64):
        opened = _decoded(value)
        if opened.startswith(envelope.PREFIX):
            return opened
    return envelope.wrap("gem", value)


def write_seal(opaque: str) -> str:
    """Return what the field holds for ``opaque``: Gemini's own seal bare, any other as base64."""
    own = envelope.open_for("gem", opaque)
    if own is not None:
        return own
    return base64.b64encode(opaque.encode()).decode()


def standard_base64(data: str) -> str:
    """Return base64 of either alphabet in the usual one, which is all that other providers take."""
    return data.translate(_STANDARD)


def _decoded(value: str) -> str:
    padding = "=" * (-len(value) % 4)
    try:
        return base64.b64decode(standard_base64(value) + padding, validate=True).decode()
    except (binascii.Error, ValueError):
        return ""
