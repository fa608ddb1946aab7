"""The sockets on which requests arrive."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from proxy.config.model import Address, SystemdAddress, TcpAddress, Tls, UnixAddress

BACKLOG = 4096
"""Connections that may wait for the loop; aiohttp's default of 128 refuses a burst of clients."""
HANDSHAKE = 5.0
"""Seconds for TLS; the guard's own times, and its count of connections, begin after it."""
_FIRST_FD = 3
_MODE = 0o660
"""Of a unix socket: its owner's and its group's."""
_LONGEST_PATH = 107
"""Bytes; what the kernel has room for."""


class CannotListen(Exception):
    """A socket could not be had; the message says who has it, or what is wrong with it."""


class Inheritance:
    """Listening sockets of the process whose place this one takes, by section and address; those that nobody takes are closed."""

    def __init__(self, numbers: Mapping[str, Sequence[int]]) -> None:
        """``numbers`` are those of the descriptors. Raises CannotListen."""
        self._sockets = {
            name: [_adopted(number, name, "the process before") for number in found]
            for name, found in numbers.items()
        }

    def take(self, name: str) -> list[socket.socket]:
        """Return the sockets of ``name``, once."""
        return self._sockets.pop(name, [])

    def close(self) -> None:
        for found in self._sockets.values():
            close_all(found)
        self._sockets.clear()


_NOTHING = Inheritance({})


def open_sockets(
    addresses: Sequence[Address],
    environ: Mapping[str, str],
    section: str,
    inherited: Inheritance = _NOTHING,
) -> dict[str, list[socket.socket]]:
    """Return bound sockets for the ``addresses`` of ``section``, by ``inheritable_as``.

    What is ``inherited`` is not opened again. Raises CannotListen, having closed those that it had opened.
    """
    opened: dict[str, list[socket.socket]] = {}
    with ExitStack() as undo:
        undo.callback(close_named, opened)
        for address in addresses:
            name = inheritable_as(section, address)
            opened.setdefault(name, []).extend(
                inherited.take(name) or _opened(address, section, environ)
            )
        undo.pop_all()
    return opened


def inheritable_as(section: str, address: object) -> str:
    """Return the name under which the sockets of an address are handed on."""
    return f"{section} {address}"


def _opened(address: Address, section: str, environ: Mapping[str, str]) -> list[socket.socket]:
    match address:
        case TcpAddress():
            return _tcp(address, section, environ)
        case UnixAddress():
            return [_unix(address.path)]
        case SystemdAddress():
            return _inherited(address.name, environ)


def close_named(sockets: Mapping[str, list[socket.socket]]) -> None:
    for found in sockets.values():
        close_all(found)


def close_all(sockets: list[socket.socket]) -> None:
    for one in sockets:
        one.close()


class OwnSocket:
    """A unix socket in a directory of the daemon's own, whose file goes when the daemon does."""

    def __init__(self, path: Path, inherited: Inheritance = _NOTHING) -> None:
        """Open it, making the directory, unless it is ``inherited``; raises CannotListen."""
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise CannotListen(
                f"cannot make the directory {path.parent}: {error.strerror}; "
                "name another with [state] directory"
            ) from error
        self.path = path
        self.name = inheritable_as("admin", "socket")
        (self.socket,) = inherited.take(self.name) or [_unix(path)]
        self._identity = _identity(path)

    def remove(self) -> None:
        """Remove the file, unless another daemon has put its own there by now.

        To be called while the socket is open: until then no other file can have the same inode.
        """
        if self._identity is not None and _identity(self.path) == self._identity:
            self.path.unlink(missing_ok=True)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def tls_context(tls: Tls | None) -> ssl.SSLContext | None:
    """Return the server's TLS context, or None for plain HTTP; raises CannotListen for files that are no certificate."""
    if tls is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(tls.cert_file, tls.key_file)
    except (OSError, ssl.SSLError) as error:
        raise CannotListen(
            f"found no usable certificate in {tls.cert_file} and {tls.key_file}: {error}"
        ) from error
    return context


async def serve(
    factory: Callable[[], asyncio.BaseProtocol],
    sockets: Sequence[socket.socket],
    context: ssl.SSLContext | None,
) -> list[asyncio.Server]:
    """Start accepting on ``sockets``; ``factory`` makes a protocol for each connection."""
    loop = asyncio.get_running_loop()
    return [
        await loop.create_server(
            factory,
            sock=one,
            ssl=context,
            backlog=BACKLOG,
            ssl_handshake_timeout=None if context is None else HANDSHAKE,
        )
        for one in sockets
    ]


def _tcp(address: TcpAddress, section: str, environ: Mapping[str, str]) -> list[socket.socket]:
    try:
        found = socket.getaddrinfo(
            address.host or None, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except socket.gaierror as error:
        raise CannotListen(
            f"cannot listen on {address}: the name does not resolve ({error.strerror})"
        ) from error
    sockets = []
    for family, kind, protocol, _, where in dict.fromkeys(found):
        one = socket.socket(family, kind, protocol)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            one.bind(where)
        except OSError as error:
            one.close()
            raise CannotListen(_why(address, section, error, _handed_over(environ))) from error
        sockets.append(one)
    return sockets


def _unix(path: Path) -> socket.socket:
    """Return a socket that listens at ``path``, where one may be left over from a daemon that is gone, but none in use."""
    if len(os.fsencode(path)) > _LONGEST_PATH:
        raise CannotListen(
            f"cannot listen on unix:{path}: found a path of {len(os.fsencode(path))} bytes, "
            f"expected at most {_LONGEST_PATH}; name a shorter one"
        )
    one = socket.socket(socket.AF_UNIX)
    try:
        with _alone_in(path.parent):
            _clear_the_way(path)
            # The file gets what of this mode the umask leaves, so there is no moment at which it is anybody's.
            os.fchmod(one.fileno(), _MODE)
            one.bind(str(path))
            path.chmod(_MODE)
            # Who comes next must see that it is in use.
            one.listen(BACKLOG)
    except OSError as error:
        one.close()
        raise CannotListen(f"cannot listen on unix:{path}: {error.strerror}") from error
    except CannotListen:
        one.close()
        raise
    return one


@contextmanager
def _alone_in(directory: Path) -> Iterator[None]:
    """Keep other daemons that start at this moment from taking our new socket for a dead one."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _clear_the_way(path: Path) -> None:
    """Remove the socket of a daemon that is gone; raises CannotListen for a living one's."""
    with socket.socket(socket.AF_UNIX) as probe:
        # A daemon that does not accept is one, too.
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except FileNotFoundError:
            return
        except ConnectionRefusedError:
            # A plain file refuses too, and is somebody's.
            if not path.is_socket():
                raise CannotListen(
                    f"cannot listen on unix:{path}: found a file that is no socket; name another path"
                ) from None
            path.unlink(missing_ok=True)
            return
    raise CannotListen(
        f"cannot listen on unix:{path}: another process answers there; stop it first"
    )


def _inherited(name: str, environ: Mapping[str, str]) -> list[socket.socket]:
    """Return the sockets that systemd handed over under ``name`` (sd_listen_fds(3))."""
    names = _handed_over(environ)
    sockets: list[socket.socket] = []
    with ExitStack() as undo:
        undo.callback(close_all, sockets)
        for index, found in enumerate(names):
            if found == name:
                sockets.append(_adopted(_FIRST_FD + index, name, "systemd"))
        undo.pop_all()
    if not sockets:
        others = f", found only {', '.join(map(repr, names))}" if names else ""
        raise CannotListen(
            f"found no socket named {name!r} from systemd{others}; expected a socket unit with FileDescriptorName={name}: "
            "start that, and the daemon through it"
        )
    return sockets


def _handed_over(environ: Mapping[str, str]) -> list[str]:
    """Return the names of the sockets that systemd handed over to this very process, the first of which is number 3."""
    count = environ.get("LISTEN_FDS", "")
    if environ.get("LISTEN_PID") != str(os.getpid()) or not count.isdecimal():
        return []
    names = environ.get("LISTEN_FDNAMES", "").split(":")
    return [names[index] if index < len(names) else "" for index in range(int(count))]


def _adopted(number: int, name: str, giver: str) -> socket.socket:
    """Return the socket with this number, which has to accept connections; no process that is started later inherits it."""
    try:
        one = socket.socket(fileno=number)
        accepts = one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise CannotListen(
            f"cannot use what {giver} handed over as {name!r}: {error.strerror}"
        ) from error
    if not accepts:
        one.close()
        raise CannotListen(
            f"found a socket named {name!r} from {giver} that accepts no connections; "
            "its unit needs ListenStream= and Accept=no"
        )
    one.set_inheritable(False)
    one.settimeout(0)
    return one


def _why(address: TcpAddress, section: str, error: OSError, handed_over: list[str]) -> str:
    if error.errno == errno.EADDRINUSE and handed_over:
        names = " or ".join(f'"systemd:{name}"' for name in dict.fromkeys(handed_over))
        return (
            f"cannot listen on {address}: it is taken, and systemd has handed over a socket; "
            f"if that is this one, set listen = [{names}] in [{section}]"
        )
    if error.errno == errno.EADDRINUSE:
        owner = _owner(address.port)
        taken = f"it is taken by {owner}" if owner else "it is taken by another process"
        return f"cannot listen on {address}: {taken}; stop that, or set another port in [{section}] listen"
    if error.errno == errno.EACCES:
        return f"cannot listen on {address}: ports below 1024 need CAP_NET_BIND_SERVICE; choose a higher one"
    return f"cannot listen on {address}: {error.strerror}"


def _owner(port: int) -> str | None:
    """Return the name and id of the process that listens on ``port``, if it may be seen."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(f"socket:[{fields[9]}]")
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(str(fd.readlink()) in inodes for fd in (process / "fd").iterdir()):
                return f"{(process / 'comm').read_text().strip()} (process {process.name})"
        except OSError:
            continue
    return None
