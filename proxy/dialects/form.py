"""A multipart form that is read as it passes: its short fields, and where the one stands that names the model.

Rules that hold here:

1. Nothing is kept but what a field of text says, and of that only the fields that are wanted: a file of a gigabyte costs as much as
   one of a byte.
2. Whoever reads the form behind us must find in it what was found here. So it has to be written as every library writes it: what one
   parser takes for a field and another for a piece of a file is refused, and so is a second field of a name that is wanted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection

from proxy.errors import GatewayError, Kind, invalid

MAX_FIELD = 64 * 1024
"""Bytes of a field that is wanted. A prompt may be long."""
MAX_HEAD = 8 * 1024
"""Bytes of the header lines of one part."""
MAX_PARTS = 1_000

_BOUNDARY = re.compile(
    r'multipart/form-data\s*;\s*boundary=(?:"([0-9A-Za-z\'()+_,\-./:=? ]{0,69}[0-9A-Za-z\'()+_,\-./:=?])"'
    r"|([0-9A-Za-z'+_\-.]{1,70}))\s*",
    re.IGNORECASE,
)
_NAME = re.compile(
    rb'content-disposition:[ \t]*form-data;[ \t]*name=(?:"([^"\\\r\n]*)"|([\w!#$%&\'*+.^`|~-]+))'
    rb'(?:;[ \t]*(filename)\*?=(?:"(?:[^"\\\r\n]|\\[^\r\n])*"|[^";\r\n]+))*[ \t]*',
    re.IGNORECASE,
)
_HEAD, _VALUE, _AFTER, _OVER = range(4)


def boundary_of(content_type: str) -> bytes:
    """Return the boundary that a ``Content-Type`` names, or raise the 400."""
    found = _BOUNDARY.fullmatch(content_type)
    if found is None:
        raise invalid(
            None, "The Content-Type is not `multipart/form-data; boundary=…` with one boundary."
        )
    return (found[1] or found[2]).encode("ascii")


def content_type_of(boundary: bytes) -> bytes:
    """Return the ``Content-Type`` of a form with this boundary."""
    return b'multipart/form-data; boundary="%b"' % boundary


class Form:
    """``feed`` takes the form in pieces of any size. ``fields`` are those of ``wanted`` that have come whole."""

    def __init__(
        self,
        boundary: bytes,
        wanted: Collection[str],
        file: Callable[[bytes], None] | None = None,
    ) -> None:
        """``file`` is told what the part of that name holds, and a line's end behind it."""
        self.fields: dict[str, str] = {}
        self.names: list[str] = []
        """The name of every part so far, of which a file is one."""
        self.at: dict[str, tuple[int, int]] = {}
        """Where the value of a field of ``fields`` begins and ends, in bytes from the beginning of the form."""
        self._delimiter = b"--" + boundary
        self._wanted = frozenset(wanted)
        self._file = file
        self._is_file = False
        # As if a line had ended before it, which is what has to stand before any other delimiter.
        self._rest = b"\r\n"
        self._passed = -2
        """Bytes of the form before ``_rest``."""
        self._state = _VALUE
        self._name: str | None = None
        """Of the field that is being read, if it is wanted."""
        self._value: list[bytes] = []
        self._size = 0
        self._from = 0

    @property
    def whole(self) -> bool:
        """Whether the last delimiter has come."""
        return self._state == _OVER

    def feed(self, data: bytes) -> None:
        """Take the next bytes. Raises the 400 that says what is wrong with them."""
        if self._state == _OVER:
            self._check_end(data)
            return
        self._rest += data
        while self._step():
            pass

    def close(self) -> None:
        """Note that nothing follows. Raises the 400 if the form has not ended."""
        if self._state != _OVER:
            raise invalid(None, "The form is cut off: its last boundary is missing.")

    # Steps. Each returns whether there may be another one in what has come.

    def _step(self) -> bool:
        if self._state == _VALUE:
            return self._value_step()
        return self._after_step() if self._state == _AFTER else self._head_step()

    def _value_step(self) -> bool:
        rest = self._rest
        if not self.names and not rest[2:].startswith(self._delimiter[: len(rest) - 2]):
            raise invalid(None, "The form does not begin with its boundary.")
        found = rest.find(self._delimiter)
        if found < 0:
            # It may stand across the next read.
            keep = len(self._delimiter) + 1
            if len(rest) > keep:
                self._take(len(rest) - keep)
            return False
        if rest[max(found - 2, 0) : found] != b"\r\n":
            raise invalid(None, "The form's boundary stands in the middle of a line.")
        self._take(found - 2)
        self._end_field()
        self._drop(2 + len(self._delimiter))
        self._state = _AFTER
        return True

    def _after_step(self) -> bool:
        if len(self._rest) < 2:
            return False
        ending = self._rest[:2]
        self._drop(2)
        if ending == b"--":
            self._state = _OVER
            self._check_end(self._rest)
            self._rest = b""
            return False
        if ending != b"\r\n":
            raise invalid(None, "The form's boundary is not followed by the end of its line.")
        self._state = _HEAD
        return True

    def _head_step(self) -> bool:
        end = self._rest.find(b"\r\n\r\n")
        if end < 0 or end > MAX_HEAD:
            if len(self._rest) > MAX_HEAD:
                raise invalid(None, "The header lines of a part of the form are too long.")
            return False
        name, is_file = _read_head(self._rest[:end])
        self.names.append(name)
        if len(self.names) > MAX_PARTS:
            raise GatewayError(Kind.INVALID_REQUEST, f"The form has more than {MAX_PARTS:,} parts.")
        if name in self._wanted:
            if self.names.count(name) > 1:
                raise invalid(name[:64], f"`{name[:64]}` comes twice in the form: send it once.")
            if is_file:
                raise invalid(name[:64], f"`{name[:64]}` is a file in the form, expected a field.")
            self._name = name
        self._is_file = name == "file"
        # What ends the head may also be the end of the line before the next boundary, if there is no value.
        self._drop(end + 2)
        self._from = self._passed + 2
        self._value, self._size = [], -2
        self._state = _VALUE
        return True

    def _take(self, size: int) -> None:
        """Move ``size`` bytes of the value out of what has come."""
        if size <= 0:
            return
        if self._is_file and self._file is not None:
            self._file(self._rest[:size])
        if self._name is not None:
            self._value.append(self._rest[:size])
            self._size += size
            if self._size > MAX_FIELD:
                raise invalid(
                    self._name[:64], f"`{self._name[:64]}` is longer than {MAX_FIELD >> 10} KiB."
                )
        self._drop(size)

    def _drop(self, size: int) -> None:
        self._rest = self._rest[size:]
        self._passed += size

    def _end_field(self) -> None:
        name, self._name = self._name, None
        if self._is_file and self._file is not None:
            self._file(b"\n")
        self._is_file = False
        if name is None:
            return
        value = b"".join(self._value)[2:]
        try:
            self.fields[name] = value.decode()
        except UnicodeDecodeError:
            raise invalid(name[:64], f"`{name[:64]}` is not UTF-8.") from None
        self.at[name] = (self._from, self._from + len(value))

    def _check_end(self, data: bytes) -> None:
        if data.strip(b"\r\n"):
            raise invalid(None, "Something follows the last boundary of the form.")


def _read_head(head: bytes) -> tuple[str, bool]:
    """Return the name of a part, and whether it is a file."""
    found: re.Match[bytes] | None = None
    count = 0
    for line in head.split(b"\r\n"):
        if line[:1] in (b" ", b"\t", b"") or b":" not in line or b"\n" in line or b"\r" in line:
            raise invalid(None, "A part of the form has a header line that is none.")
        if line[:20].lower() == b"content-disposition:":
            count += 1
            found = _NAME.fullmatch(line)
        elif line.lower().startswith(b"content-transfer-encoding:") and not re.fullmatch(
            rb"(?i)content-transfer-encoding:\s*(?:binary|7bit|8bit)\s*", line
        ):
            raise invalid(None, "A part of the form is encoded; send it as it is.")
    if found is None or count != 1:
        raise invalid(None, 'A part of the form has no `Content-Disposition: form-data; name="…"`.')
    try:
        return (found[1] or found[2] or b"").decode(), found[3] is not None
    except UnicodeDecodeError:
        raise invalid(None, "The name of a part of the form is not UTF-8.") from None
