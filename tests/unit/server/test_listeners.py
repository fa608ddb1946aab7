"""Sockets are had as the configuration says, or it is said who has them."""

from __future__ import annotations

import os
import socket
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from proxy.config.model import SystemdAddress, TcpAddress, Tls, UnixAddress
from proxy.server.listeners import CannotListen, OwnSocket, open_sockets, tls_context


def opened(*addresses, environ=None):
    found = open_sockets(addresses, environ or {}, "server")
    return [one for sockets in found.values() for one in sockets]


def test_a_port_of_zero_is_any_free_one():
    (one,) = opened(TcpAddress("127.0.0.1", 0))
    with one:
        assert one.getsockname()[1] > 0


def test_an_ipv6_address_leaves_ipv4_alone():
    (one,) = opened(TcpAddress("::1", 0))
    with one:
        assert one.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 1


def test_a_taken_port_is_named_with_its_owner():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = TcpAddress("127.0.0.1", taken.getsockname()[1])
        with pytest.raises(
            CannotListen, match=rf"{address}: it is taken by .* \(process {os.getpid()}\)"
        ):
            opened(address)


def test_a_name_that_does_not_resolve_is_said():
    with pytest.raises(CannotListen, match="does not resolve"):
        opened(TcpAddress("no such host.invalid", 80))


def test_when_one_fails_the_others_are_closed(tmp_path):
    path = tmp_path / "s"
    with pytest.raises(CannotListen):
        opened(UnixAddress(path), TcpAddress("no such host.invalid", 80))
    with socket.socket(socket.AF_UNIX) as client, pytest.raises(ConnectionRefusedError):
        client.connect(str(path))


def test_a_unix_socket_is_for_its_owner_and_group(tmp_path):
    path = tmp_path / "s"
    (one,) = opened(UnixAddress(path))
    with one:
        assert stat.S_IMODE(path.stat().st_mode) == 0o660


def test_a_dead_daemons_socket_is_replaced_and_a_living_ones_is_not(tmp_path):
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    (one,) = opened(UnixAddress(path))
    with one:
        one.listen()
        with pytest.raises(CannotListen, match="another process answers there"):
            opened(UnixAddress(path))


def test_a_unix_socket_is_nobody_elses_at_any_moment(tmp_path, monkeypatch):
    # Without the chmod that follows, it has the mode that it was made with.
    monkeypatch.setattr(Path, "chmod", lambda path, mode: None)
    before = os.umask(0)
    try:
        (one,) = opened(UnixAddress(tmp_path / "s"))
    finally:
        os.umask(before)
    with one:
        assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o660


def test_a_socket_is_in_use_before_anybody_accepts_on_it(tmp_path):
    path = tmp_path / "s"
    (one,) = opened(UnixAddress(path))
    with one, pytest.raises(CannotListen, match="another process answers there"):
        opened(UnixAddress(path))


def test_of_many_that_replace_a_dead_ones_socket_at_once_one_gets_it(tmp_path):
    path = tmp_path / "s"
    for _ in range(50):
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
        together = threading.Barrier(4)

        def start(together=together):
            together.wait()
            try:
                return opened(UnixAddress(path))[0]
            except CannotListen:
                return None

        with ThreadPoolExecutor(4) as threads:
            found = [one.result() for one in [threads.submit(start) for _ in range(4)]]
        sockets = [one for one in found if one is not None]
        assert len(sockets) == 1
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
        sockets[0].close()
        path.unlink()


def test_a_path_that_is_too_long_is_said(tmp_path):
    with pytest.raises(CannotListen, match="expected at most 107; name a shorter one"):
        opened(UnixAddress(tmp_path / ("s" * 108)))


def test_our_own_socket_makes_its_directory_and_goes_with_us(tmp_path):
    own = OwnSocket(tmp_path / "state" / "deep" / "admin.sock")
    with own.socket:
        assert stat.S_IMODE((tmp_path / "state" / "deep").stat().st_mode) == 0o700
        assert stat.S_IMODE(own.path.stat().st_mode) == 0o660
        own.remove()
        assert not own.path.exists()
        own.remove()


def test_our_own_socket_is_not_removed_when_it_is_somebody_elses_by_now(tmp_path):
    path = tmp_path / "admin.sock"
    old = OwnSocket(path)
    old.socket.shutdown(socket.SHUT_RDWR)
    with old.socket, OwnSocket(path).socket:
        old.remove()
        assert path.exists()


def test_a_directory_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotListen, match=r"cannot make the directory .*; name another"):
        OwnSocket(tmp_path / "file" / "state" / "admin.sock")


def test_a_path_where_no_socket_can_be_is_said(tmp_path):
    with pytest.raises(CannotListen, match="No such file"):
        opened(UnixAddress(tmp_path / "missing" / "s"))
    plain = tmp_path / "plain"
    plain.write_text("kept")
    with pytest.raises(CannotListen):
        opened(UnixAddress(plain))
    assert plain.read_text() == "kept"


def test_systemd_must_have_handed_the_socket_over():
    with pytest.raises(CannotListen, match="FileDescriptorName=public"):
        opened(SystemdAddress("public"))
    # The variables of a parent, which were meant for the parent.
    with pytest.raises(CannotListen):
        opened(
            SystemdAddress("public"),
            environ={"LISTEN_PID": "1", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "public"},
        )


def test_a_certificate_that_is_none_is_said(tmp_path):
    wrong = tmp_path / "cert.pem"
    wrong.write_text("no certificate")
    for path in (wrong, Path("missing.pem")):
        with pytest.raises(CannotListen, match="certificate"):
            tls_context(Tls(cert_file=path, key_file=path))
    assert tls_context(None) is None
