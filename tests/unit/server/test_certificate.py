"""When a certificate ends."""

from __future__ import annotations

import subprocess
from pathlib import Path
from shutil import which

import pytest

from proxy.server.certificate import expiry

OPENSSL = which("openssl")


def made(folder: Path, days: int) -> tuple[Path, str]:
    """Return a new certificate of so many days, and when OpenSSL says that it ends."""
    if OPENSSL is None:
        pytest.skip("the openssl command is missing, and a certificate needs it")
    path = folder / "cert.pem"
    subprocess.run(
        [
            OPENSSL, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-keyout", folder / "key.pem", "-out", path, "-days", str(days), "-subj", "/CN=a.example/O=A name that is long",
        ],
        check=True,
        capture_output=True,
    )  # fmt: skip
    told = subprocess.run(
        [OPENSSL, "x509", "-in", path, "-noout", "-enddate", "-dateopt", "iso_8601"],
        check=True,
        capture_output=True,
        text=True,
    )
    return path, told.stdout.strip().removeprefix("notAfter=")


# From 2050 on the date is written in another way.
@pytest.mark.parametrize("days", [1, 400, 20_000])
def test_it_ends_when_openssl_says_so(tmp_path, days):
    path, told = made(tmp_path, days)
    shown = subprocess.run(
        ["date", "-u", "-d", told, "+%s"], check=True, capture_output=True, text=True
    )
    assert expiry(path) == float(shown.stdout)


def test_the_first_certificate_of_a_chain_counts(tmp_path):
    (tmp_path / "short").mkdir()
    (tmp_path / "long").mkdir()
    short, _ = made(tmp_path / "short", 1)
    long, _ = made(tmp_path / "long", 400)
    chain = tmp_path / "chain.pem"
    chain.write_text(
        (tmp_path / "long" / "key.pem").read_text() + short.read_text() + long.read_text()
    )
    assert expiry(chain) == expiry(short) < expiry(long)


def test_a_file_without_one_is_an_error(tmp_path):
    path = tmp_path / "cert.pem"
    path.write_text("nothing")
    with pytest.raises(ValueError, match="found no certificate"):
        expiry(path)
