"""Certificates for servers of the tests, by an authority of theirs."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

_OPENSSL = shutil.which("openssl")
_NEW = ("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


def openssl(folder: Path, *arguments: str) -> None:
    if _OPENSSL is None:
        pytest.skip("the openssl command is missing, and a certificate needs it")
    subprocess.run([_OPENSSL, *arguments], cwd=folder, check=True, capture_output=True)


def made_authority(folder: Path) -> Path:
    """Make ``ca.pem`` and its key in ``folder``; return that."""
    openssl(
        folder, *_NEW, "-x509", "-keyout", "ca.key", "-out", "ca.pem", "-days", "9", "-subj", "/CN=the authority"
    )  # fmt: skip
    return folder


def issued(folder: Path, name: str, *, days: int) -> ssl.SSLContext:
    """Return what a server needs that shows a certificate for ``name`` by the authority in ``folder``."""
    openssl(folder, *_NEW, "-keyout", "key.pem", "-out", "request.pem", "-subj", "/CN=a provider")
    (folder / "names").write_text(f"subjectAltName={name}")
    openssl(
        folder, "x509", "-req", "-in", "request.pem", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
        "-out", "cert.pem", "-days", str(days), "-extfile", "names",
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context


def trusting(folder: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=folder / "ca.pem")
