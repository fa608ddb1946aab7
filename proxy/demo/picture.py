"""Images and files inside a request, recognised by their first bytes."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Attachment:
    """Something the user showed: a URL, which is never fetched, or ``size`` bytes of data."""

    media_type: str
    size: int = 0
    width: int = 0
    height: int = 0
    url: str = ""

    def describe(self) -> str:
        if self.url:
            return f"something behind the URL {self.url}, which I do not fetch"
        if self.width:
            return f"{self.media_type} of {self.width} × {self.height} pixels, {self.size} bytes"
        return f"{self.media_type} of {self.size} bytes"


def attachment(media_type: str, data: str) -> Attachment | None:
    """What base64 ``data`` holds; None if it is not base64."""
    try:
        raw = base64.b64decode(data, validate=True)
    except binascii.Error:
        return None
    width, height = pixels(raw)
    return Attachment(media_type, len(raw), width, height)


def data_url(url: str) -> Attachment | None:
    """What a ``data:`` URL holds, or a mention of any other URL; None if the URL is neither."""
    if url.startswith(("https://", "http://", "gs://")):
        return Attachment("image", url=url)
    head, comma, data = url.partition(",")
    if not (comma and head.startswith("data:") and head.endswith(";base64")):
        return None
    return attachment(head.removeprefix("data:").removesuffix(";base64"), data)


def pixels(raw: bytes) -> tuple[int, int]:
    """Width and height from the header of a PNG, GIF, WebP or JPEG; (0, 0) for anything else."""
    if raw.startswith(b"\x89PNG\r\n\x1a\n") and len(raw) >= 24:
        return int.from_bytes(raw[16:20]), int.from_bytes(raw[20:24])
    if raw.startswith((b"GIF87a", b"GIF89a")):
        return int.from_bytes(raw[6:8], "little"), int.from_bytes(raw[8:10], "little")
    if raw.startswith(b"RIFF") and raw[8:12] == b"WEBP":
        return _webp(raw)
    if raw.startswith(b"\xff\xd8"):
        return _jpeg(raw)
    return 0, 0


def _webp(raw: bytes) -> tuple[int, int]:
    kind = raw[12:16]
    if kind == b"VP8X":  # extended: 24-bit sizes, less one
        return 1 + int.from_bytes(raw[24:27], "little"), 1 + int.from_bytes(raw[27:30], "little")
    if kind == b"VP8L":  # lossless: two 14-bit sizes, less one, after a signature byte
        bits = int.from_bytes(raw[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":  # lossy: the upper two bits of each size are a scale
        width, height = int.from_bytes(raw[26:28], "little"), int.from_bytes(raw[28:30], "little")
        return width & 0x3FFF, height & 0x3FFF
    return 0, 0


# Start-of-frame markers: C0 to CF without DHT (C4), JPG (C8) and DAC (CC), which only look alike.
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def _jpeg(raw: bytes) -> tuple[int, int]:
    at = 2
    while at + 9 <= len(raw) and raw[at] == 0xFF:
        if raw[at + 1] in _JPEG_FRAMES:
            return int.from_bytes(raw[at + 7 : at + 9]), int.from_bytes(raw[at + 5 : at + 7])
        at += 2 + int.from_bytes(raw[at + 2 : at + 4])
    return 0, 0
