"""The parts of requests that two readers may take for different ones: marked requests, and bodies that end at two places."""

from __future__ import annotations

import random
from collections.abc import Sequence
from enum import Enum

from tests.integration.gateway import BEARER, chat_body
from tests.integration.wire import encoded


class Reading(Enum):
    """What a strict reader makes of a variant on a connection of its own."""

    refused = "refused"
    """A 4xx and the end: of what comes behind it nothing is a request."""
    body = "body"
    """The hidden request is part of a body, or of a head that is refused or not; it is never a request."""
    open = "open"
    """Bytes were changed at random: who reads what is anybody's guess, but answers go to who asked."""


ROLES = ("carrier", "second", "third", "hidden", "follow", "victim")


def marker(role: str, number: int) -> str:
    return f"{role}-{number:06}"


def marked(role: str, number: int, token: str = BEARER) -> bytes:
    """Return an ordinary request whose prompt is its marker."""
    body = _body(role, number)
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: gateway\r\nAuthorization: %b\r\n"
    return (head + b"Content-Length: %d\r\n\r\n") % (token.encode(), len(body)) + body


def _body(role: str, number: int) -> bytes:
    return encoded(chat_body(said=marker(role, number)))


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


Drawn = tuple[bytes, Reading]


class Maker:
    """Draws the parts of one variant."""

    def __init__(self, rng: random.Random, number: int, token: bytes, spoof: bytes) -> None:
        self.rng = rng
        self.number = number
        self.token, self.spoof = token, spoof

    def pick(self, options: Sequence[bytes]) -> bytes:
        return self.rng.choice(options)

    def hidden(self) -> bytes:
        """Return a request that is not to be one: whole, or one that would swallow what somebody else sends next."""
        head = b"Host: gateway\r\nAuthorization: %b\r\n" % self.token
        post = b"POST /v1/chat/completions HTTP/1.1\r\n" + head
        body = _body("hidden", self.number)
        match self.rng.randrange(6):
            case 0:
                return b"GET /v1/models HTTP/1.1\r\n" + head + b"X-Swallowed: "
            case 1:
                return post + b"Content-Length: 900\r\n\r\n" + body
            case _:
                pass
        return post + b"Content-Length: %d\r\n\r\n" % len(body) + body

    def json(self) -> bytes:
        return _body("carrier", self.number)

    def head(
        self,
        *lines: bytes,
        line: bytes = b"POST /v1/chat/completions HTTP/1.1",
        end: bytes = b"\r\n",
    ) -> bytes:
        """Return a head with ``lines`` somewhere in it."""
        usual = [b"Host: gateway", b"Authorization: " + BEARER.encode(), b"Accept: */*"]
        for one in reversed(lines):
            usual.insert(self.rng.randrange(1, len(usual) + 1), one)
        if not self.rng.randrange(2):
            first = [one for one in usual if one not in lines]
            usual = first + list(lines)
        return end.join([line, *usual]) + end + end

    def shape(self) -> tuple[bytes, bytes]:
        """Return a body that ends elsewhere by chunks than by length, and the length."""
        hidden = self.hidden()
        match self.rng.randrange(4):
            case 0:  # by length the hidden one is body, by chunks it is not
                body = b"0\r\n\r\n" + hidden
                return body, b"%d" % len(body)
            case 1:  # the same behind a body that is one
                body = chunk(self.json()) + b"0\r\n\r\n" + hidden
                return body, b"%d" % len(body)
            case 2:  # by chunks the hidden one is body, by length it is not
                size = b"%x\r\n" % len(hidden)
                return size + hidden + b"\r\n0\r\n\r\n", b"%d" % len(size)
            case _:
                pass
        body = chunk(self.json()) + chunk(hidden) + b"0\r\n\r\n"
        return body, b"%d" % (body.index(hidden))

    def covered(self) -> tuple[bytes, bytes]:
        """Return a body that hides a request from who reads by length, and the length."""
        before = self.pick(
            (b"", b"\r\n", b"0\r\n\r\n", b"\r\n\r\n", chunk(self.json()) + b"0\r\n\r\n")
        )
        body = before + self.hidden()
        return body, b"%d" % len(body)
