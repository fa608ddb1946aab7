"""Sizes of images from their first bytes."""

import base64

import pytest

from proxy.demo.picture import Attachment, attachment, data_url, pixels
from tests.unit.demo.samples import PNG, PNG_BASE64

GIF = b"GIF89a" + (300).to_bytes(2, "little") + (200).to_bytes(2, "little")
JPEG = (
    b"\xff\xd8"
    b"\xff\xe0\x00\x04ab"
    b"\xff\xc0\x00\x0b\x08" + (200).to_bytes(2) + (300).to_bytes(2) + b"\x01\x01\x11\x00"
)
WEBP = b"RIFF\0\0\0\0WEBP"
WEBP_LOSSY = WEBP + b"VP8 \0\0\0\0\0\0\0\x9d\x01\x2a" + GIF[6:]
WEBP_LOSSLESS = WEBP + b"VP8L\0\0\0\0\x2f" + (299 | 199 << 14).to_bytes(4, "little")
WEBP_EXTENDED = (
    WEBP + b"VP8X\0\0\0\0\0\0\0\0" + (299).to_bytes(3, "little") + (199).to_bytes(3, "little")
)


@pytest.mark.parametrize(
    ("raw", "size"),
    [
        (PNG, (7, 3)),
        (GIF, (300, 200)),
        (JPEG, (300, 200)),
        (WEBP_LOSSY, (300, 200)),
        (WEBP_LOSSLESS, (300, 200)),
        (WEBP_EXTENDED, (300, 200)),
        (b"%PDF-1.7", (0, 0)),
        (b"\xff\xd8\xff\xe0\x00\x04ab", (0, 0)),
        (WEBP + b"ABCD", (0, 0)),
        (b"", (0, 0)),
    ],
)
def test_pixels_are_read_from_the_header(raw, size):
    assert pixels(raw) == size


@pytest.mark.parametrize("cut", range(len(JPEG)))
def test_a_cut_image_is_no_error(cut):
    for raw in (PNG, GIF, JPEG, WEBP_LOSSY, WEBP_LOSSLESS, WEBP_EXTENDED):
        pixels(raw[:cut])


def test_a_data_url_is_decoded_and_any_other_only_mentioned():
    assert data_url(f"data:image/png;base64,{PNG_BASE64}") == Attachment(
        "image/png", len(PNG), 7, 3
    )
    assert data_url("https://example.com/a.png") == Attachment(
        "image", url="https://example.com/a.png"
    )
    for bad in ("ftp://example.com", "data:image/png;base64,???", "data:text/plain,hi"):
        assert data_url(bad) is None


def test_a_file_that_is_no_image_has_bytes_only():
    pdf = attachment("application/pdf", base64.b64encode(b"%PDF-1.7").decode())
    assert pdf is not None
    assert pdf.describe() == "application/pdf of 8 bytes"
