"""When a certificate ends.

The standard library does not tell it of a server's own certificate, so the few bytes that lead there are read here (RFC 5280,
4.1). OpenSSL has accepted the file before.
"""

from __future__ import annotations

import re
import ssl
from datetime import UTC, datetime
from pathlib import Path

_BLOCK = re.compile(
    r"-----BEGIN CERTIFICATE-----\s.*?-----END CERTIFICATE-----", re.DOTALL | re.ASCII
)
_VERSION = 0xA0
_UTC_TIME = 0x17


def expiry(path: Path) -> float:
    """Return when the first certificate of a PEM file ends, in seconds since 1970: the one that is presented."""
    found = _BLOCK.search(path.read_text("latin-1"))
    if found is None:
        raise ValueError(f"found no certificate in {path}, expected one in PEM")
    return not_after(ssl.PEM_cert_to_DER_cert(found[0]))


def not_after(der: bytes) -> float:
    """Return when a certificate ends, in seconds since 1970."""
    _, certificate, _ = _element(der, 0)
    _, at, _ = _element(der, certificate)
    tag, _, end = _element(der, at)
    # The version is left out of the oldest ones. Then come the serial number, the algorithm and the issuer.
    for _ in range(3 if tag == _VERSION else 2):
        _, _, end = _element(der, end)
    _, validity, _ = _element(der, end)
    _, _, begins_end = _element(der, validity)
    tag, start, end = _element(der, begins_end)
    text = der[start:end].decode("ascii")
    if tag == _UTC_TIME:
        # Two digits: from 1950 to 2049.
        text = ("19" if text >= "50" else "20") + text
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()


def _element(der: bytes, at: int) -> tuple[int, int, int]:
    """Return the tag of the DER element at ``at``, and where its content starts and ends."""
    length, start = der[at + 1], at + 2
    if length & 0x80:
        digits = length & 0x7F
        length = int.from_bytes(der[start : start + digits], "big")
        start += digits
    return der[at], start, start + length
