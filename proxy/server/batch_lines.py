"""The lines of a batch's file as it passes: each is a call that nobody looks at any more when it is made.

Only what a line refers to is kept of it, and of one that is no call why it is none. Whether the file is a batch's is known when its
``purpose`` has come, which may be behind it.
"""

from __future__ import annotations

from proxy.dialects.references import Reference, anywhere, in_call
from proxy.errors import GatewayError, Kind, invalid
from proxy.server.body import parse_object

LONGEST = 4 * 1024 * 1024
"""Bytes of a line."""
MOST = 1_000
"""Ids that the lines of one file refer to. Each of them is looked up."""


class BatchLines:
    """``feed`` takes the file in pieces of any size. ``found`` are the references that were not there before ``take`` was called."""

    def __init__(self) -> None:
        self.error: GatewayError | None = None
        self.wanted = True
        """It may be a batch's file, as far as is known."""
        self._rest = b""
        self._number = 0
        self._ids: set[str] = set()
        self._found: list[Reference] = []

    def feed(self, data: bytes) -> None:
        if self.error is not None or not self.wanted:
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        try:
            for line in lines:
                self._read(line)
            if len(self._rest) > LONGEST:
                self._number += 1
                raise invalid("file", f"A line is longer than {LONGEST >> 20} MiB.")
        except GatewayError as error:
            words = f"Line {self._number} of the batch: {error.message}"
            self.error = GatewayError(Kind.INVALID_REQUEST, words, param="file")

    def take(self) -> list[Reference]:
        """Return what the lines refer to that have come since the last time."""
        found, self._found = self._found, []
        return found

    def _read(self, line: bytes) -> None:
        self._number += 1
        line = line.strip().removeprefix(b"\xef\xbb\xbf")
        if not line:
            return
        call = parse_object(line)
        body, url = call.get("body"), call.get("url")
        if not isinstance(body, dict):
            return
        if url == "/v1/responses":
            found = in_call("responses", line, body)
        elif url == "/v1/chat/completions":
            found = in_call("chat", line, body)
        else:
            found = list(anywhere(body))
        for one in found:
            if one.id not in self._ids:
                self._ids.add(one.id)
                self._found.append(Reference(f"file[{self._number - 1}].body.{one.param}", one.id))
        if len(self._ids) > MOST:
            raise invalid("file", f"The lines refer to more than {MOST:,} objects.")
