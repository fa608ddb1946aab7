"""Requests that two readers may take for different ones, drawn from a grammar.

A variant is what an attacker sends before an ordinary request of their own. Somewhere in it hides another request, at a place
where only a wrong reading finds one: behind the end that one framing announces, and before the one of the other.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from tests.chaos.forged import Drawn, Maker, Reading, chunk, marked
from tests.chaos.mutated import mutated
from tests.chaos.oddities import (
    CONNECTIONS,
    EXPECTS,
    EXTENSIONS,
    EXTENSIONS_BROKEN,
    HOSTS,
    LENGTH_BROKEN,
    LENGTHS,
    LINES_BROKEN,
    METHODS,
    SIZES,
    SPOOFS,
    TARGETS,
    TE_BROKEN,
    TE_CHUNKED,
    TE_DECOYS,
    TE_ODD,
    TRAILERS,
    TRAILERS_BROKEN,
    UNDERSCORED,
    UPGRADES,
    VERSIONS,
)
from tests.integration.gateway import BEARER


@dataclass(frozen=True, slots=True)
class Variant:
    """``data`` is all but the ordinary request behind it. Its requests are marked carrier, second … by ``number``."""

    family: str
    number: int
    data: bytes
    reading: Reading


def variants(seed: int, count: int, token: str, spoof: str) -> list[Variant]:
    """Return ``count`` variants. Hidden requests have the credential ``token``; ``spoof`` is one that only the proxy may use."""
    rng = random.Random(f"{seed} smuggled")
    found: list[Variant] = []
    for number in range(count):
        # In turn, so that a short run has some of each.
        family = _FAMILIES[number % len(_FAMILIES)]
        maker = Maker(rng, number, token.encode(), spoof.encode())
        data, reading = family(maker)
        found.append(Variant(family.__name__.strip("_"), number, data, reading))
    return found


def pieces(rng: random.Random, data: bytes, follow: bytes) -> list[bytes]:
    """Return what is sent, as it is sent: mostly at once, else cut somewhere."""
    match rng.randrange(10):
        case 0 | 1:
            at = rng.randrange(1, len(data))
            return [data[:at], data[at:] + follow]
        case 2:
            return [data, follow]
        case _:
            pass
    return [data + follow]


def _both_framings(m: Maker) -> Drawn:
    body, length = m.shape()
    lines = [b"Content-Length: " + length, m.pick((b"Transfer-Encoding: chunked", *TE_CHUNKED))]
    m.rng.shuffle(lines)
    return m.head(*lines) + body, Reading.refused


def _chunked_alone(m: Maker) -> Drawn:
    """A coding that is right, with a decoy of a length."""
    hidden = m.hidden()
    size = b"%x\r\n" % len(hidden)
    decoys = (
        b"",
        b"Content_Length: %d",
        b"X-Content-Length: %d",
        b"Content-Lengt: %d",
        b"Content-Length-: %d",
    )
    decoy = m.pick(decoys).replace(b"%d", b"%d" % len(size))
    lines = [m.pick((b"Transfer-Encoding: chunked", *TE_CHUNKED)), *([decoy] if decoy else [])]
    return m.head(*lines) + size + hidden + b"\r\n0\r\n\r\n", Reading.body


def _coding_that_is_none(m: Maker) -> Drawn:
    body, length = m.covered()
    lines = [b"Content-Length: " + length, m.pick(TE_DECOYS)]
    m.rng.shuffle(lines)
    return m.head(*lines) + body, Reading.body


def _broken_coding(m: Maker) -> Drawn:
    body, length = m.shape()
    lines = [m.pick(TE_BROKEN)]
    if m.rng.randrange(2):
        lines.append(b"Content-Length: " + length)
        m.rng.shuffle(lines)
    if lines[0].startswith((b" ", b"\t")) or b"\r\n" in lines[0]:
        # A fold in the first line or elsewhere: what it continues is another field.
        lines.insert(0, b"X: y")
    return m.head(*lines) + body, Reading.refused


def _odd_coding(m: Maker) -> Drawn:
    value = m.pick(TE_ODD)
    name = m.pick((b"Transfer-Encoding: ", b"transfer-encoding:", b"Transfer-Encoding:\t"))
    hidden = m.hidden()
    if m.rng.randrange(2):
        body, length = m.shape()
        return m.head(name + value, b"Content-Length: " + length) + body, Reading.refused
    size = b"%x\r\n" % len(hidden)
    return m.head(name + value) + size + hidden + b"\r\n0\r\n\r\n", Reading.body


def _two_codings(m: Maker) -> Drawn:
    body, length = m.shape()
    lines = [b"Transfer-Encoding: chunked", b"Transfer-Encoding: " + m.pick(TE_ODD)]
    if m.rng.randrange(2):
        lines[1] = m.pick(TE_BROKEN[:16])
    m.rng.shuffle(lines)
    if m.rng.randrange(2):
        return m.head(*lines, b"Content-Length: " + length) + body, Reading.refused
    hidden = m.hidden()
    return m.head(*lines) + b"%x\r\n" % len(hidden) + hidden + b"\r\n0\r\n\r\n", Reading.body


def _length(form: bytes, length: int) -> bytes:
    return form.replace(b"%d", b"%d" % length).replace(b"%x", b"%x" % length)


def _odd_length(m: Maker) -> Drawn:
    hidden = m.hidden()
    body = m.json() + hidden
    length = m.rng.choice((len(body), len(m.json()), 0))
    name = m.pick((b"Content-Length: ", b"content-length:", b"Content-Length:\t"))
    return m.head(name + _length(m.pick(LENGTHS), length)) + body, Reading.refused


def _two_lengths(m: Maker) -> Drawn:
    hidden = m.hidden()
    short, long = len(m.json()), len(m.json()) + len(hidden)
    first, second = (short, long) if m.rng.randrange(2) else (long, short)
    if m.rng.randrange(2):
        lines = [b"Content-Length: %d, %d" % (first, second)]
    else:
        lines = [b"Content-Length: %d" % first, b"Content-Length: %d" % second]
        if m.rng.randrange(3) == 0:
            lines[1] = b"Content-Length: " + _length(m.pick(LENGTHS), second)
    return m.head(*lines) + m.json() + hidden, Reading.refused


def _one_length_twice(m: Maker) -> Drawn:
    """May be taken for one, or refused."""
    body, length = m.covered()
    if m.rng.randrange(2):
        return m.head(b"Content-Length: %b, %b" % (length, length)) + body, Reading.body
    return m.head(b"Content-Length: " + length, b"Content-Length: " + length) + body, Reading.body


def _broken_length(m: Maker) -> Drawn:
    body, length = m.covered()
    line = m.pick(LENGTH_BROKEN).replace(b"%d", length)
    lines = [b"X: y", line] if line.startswith(b" ") else [line]
    return m.head(*lines) + body, Reading.refused


def _odd_chunk_size(m: Maker) -> Drawn:
    hidden = m.hidden()
    data = m.json()
    size = _length(m.pick(SIZES), len(data))
    body = size + b"\r\n" + data + b"\r\n0\r\n\r\n" + hidden
    return m.head(b"Transfer-Encoding: chunked") + body, Reading.refused


def _chunk_extension(m: Maker) -> Drawn:
    """An extension that is one, whatever stands in it; the hidden request is in a chunk."""
    hidden = m.hidden()
    extension = m.pick(EXTENSIONS)
    first = b"%x%b\r\n%b\r\n" % (len(hidden), extension, hidden)
    last = b"0%b\r\n\r\n" % m.pick((b"", *EXTENSIONS))
    return m.head(b"Transfer-Encoding: chunked") + first + last, Reading.body


def _broken_chunk_extension(m: Maker) -> Drawn:
    hidden = m.hidden()
    data = m.json()
    first = b"%x%b\r\n%b\r\n" % (len(data), m.pick(EXTENSIONS_BROKEN), data)
    return m.head(b"Transfer-Encoding: chunked") + first + b"0\r\n\r\n" + hidden, Reading.refused


def _broken_chunk_end(m: Maker) -> Drawn:
    hidden = m.hidden()
    data = m.json()
    end = m.pick(
        (
            b"",
            b"\n",
            b"\r",
            b"xx",
            b"x\r\n",
            b"\n\n",
            b"\r\r\n",
            b"\x00\r\n",
            b" \r\n",
            b"0\r\n",
            b"\r\n\r\n",
        )
    )
    tail = m.pick(
        (
            b"0\r\n\r\n",
            b"00\r\n\r\n",
            b"0\n\n",
            b"0\r\n\n",
            b"0\n\r\n",
            b"0\r\r",
            b"-0\r\n\r\n",
            b"0x0\r\n\r\n",
        )
    )
    if end == b"" and tail == b"0\n\r\n":
        end = b"\n"
    return (
        m.head(b"Transfer-Encoding: chunked")
        + b"%x\r\n%b" % (len(data), data)
        + end
        + tail
        + hidden,
        Reading.refused,
    )


def _trailer(m: Maker) -> Drawn:
    """Trailers say nothing of the body that they follow, nor of the next one."""
    hidden = m.hidden()
    trailers = b"\r\n".join(m.rng.choices(TRAILERS, k=m.rng.randrange(1, 4)))
    body = chunk(hidden) + b"0\r\n" + trailers + b"\r\n\r\n"
    return m.head(b"Transfer-Encoding: chunked") + body, Reading.body


def _broken_trailer(m: Maker) -> Drawn:
    body = chunk(m.json()) + b"0\r\n" + m.pick(TRAILERS_BROKEN) + b"\r\n\r\n" + m.hidden()
    return m.head(b"Transfer-Encoding: chunked") + body, Reading.refused


def _broken_line(m: Maker) -> Drawn:
    body, length = m.covered()
    lines = [b"Content-Length: " + length, m.pick(LINES_BROKEN)]
    m.rng.shuffle(lines)
    return m.head(*lines) + body, Reading.refused


def _line_ends(m: Maker) -> Drawn:
    """Bare line feeds and returns, all over or at one place."""
    body, length = m.covered()
    head = m.head(b"Content-Length: " + length)
    lines = head.split(b"\r\n")
    end = m.pick((b"\n", b"\r", b"\r\r\n", b"\n\r", b"\r\n\r", b"\x0b\n"))
    if m.rng.randrange(3) == 0:
        return end.join(lines) + body, Reading.refused
    at = m.rng.randrange(1, len(lines) - 1)
    return b"\r\n".join(lines[:at]) + end + b"\r\n".join(lines[at:]) + body, Reading.refused


def _odd_target(m: Maker) -> Drawn:
    body, length = m.covered()
    method = m.pick((b"POST", b"GET", b"OPTIONS"))
    head = m.head(b"Content-Length: " + length, line=b"%b %b HTTP/1.1" % (method, m.pick(TARGETS)))
    return head + body, Reading.body


def _odd_host(m: Maker) -> Drawn:
    body, length = m.covered()
    head = m.head(b"Content-Length: " + length).replace(b"Host: gateway", m.pick(HOSTS), 1)
    return head + body, Reading.body


def _odd_method(m: Maker) -> Drawn:
    """Also those whose bodies some readers do not expect."""
    body, length = m.covered()
    path = m.pick((b"/v1/chat/completions", b"/v1/models", b"/healthz", b"/", b"/v1/usage"))
    head = m.head(b"Content-Length: " + length, line=b"%b %b HTTP/1.1" % (m.pick(METHODS), path))
    return head + body, Reading.body


def _odd_version(m: Maker) -> Drawn:
    body, length = m.covered()
    line = b"POST /v1/chat/completions " + m.pick(VERSIONS)
    return m.head(b"Content-Length: " + length, line=line) + body, Reading.refused


def _http_1_0(m: Maker) -> Drawn:
    line = b"POST /v1/chat/completions HTTP/1.0"
    kept = [m.pick((b"Connection: keep-alive", b"Connection: close", b"X: y"))]
    if m.rng.randrange(2):
        body, length = m.covered()
        return m.head(b"Content-Length: " + length, *kept, line=line) + body, Reading.body
    body, length = m.shape()
    lines = [b"Transfer-Encoding: chunked", *kept]
    if m.rng.randrange(2):
        lines.append(b"Content-Length: " + length)
    return m.head(*lines, line=line) + body, Reading.refused


def _upgrade(m: Maker) -> Drawn:
    body, length = m.covered()
    lines = m.rng.choice(UPGRADES)
    path = m.pick(
        (b"POST /v1/chat/completions", b"GET /v1/responses", b"GET /healthz", b"POST /v1/responses")
    )
    head = m.head(b"Content-Length: " + length, *lines, line=path + b" HTTP/1.1")
    return head + body, Reading.body


def _expect(m: Maker) -> Drawn:
    body, length = m.covered()
    line = (
        m.pick(
            (b"POST /v1/chat/completions", b"POST /v1/nothing", b"GET /healthz", b"POST /healthz")
        )
        + b" HTTP/1.1"
    )
    lines = [b"Content-Length: " + length, b"Expect: " + m.pick(EXPECTS)]
    if m.rng.randrange(3) == 0:
        hidden = m.hidden()
        lines[0] = b"Transfer-Encoding: chunked"
        body = chunk(hidden) + b"0\r\n\r\n"
    head = m.head(*lines, line=line)
    if m.rng.randrange(3) == 0:
        head = head.replace(BEARER.encode(), b"Bearer sk-nobody")
    return head + body, Reading.body


def _refused_early(m: Maker) -> Drawn:
    """Refused before its body is looked at, in which the hidden one stands."""
    body, length = m.covered()
    line, lines = b"POST /v1/chat/completions HTTP/1.1", [b"Content-Length: " + length]
    match m.rng.randrange(6):
        case 0:
            line = b"POST /v1/nothing HTTP/1.1"
        case 1:
            line = b"DELETE /v1/chat/completions HTTP/1.1"
        case 2:
            lines.append(b"Content-Encoding: gzip")
        case 3:
            lines = [b"Content-Length: 99999999999"]
        case 4:
            lines = [b"Transfer-Encoding: chunked"]
            body = chunk(body) + b"0\r\n\r\n"
        case _:
            pass
    head = m.head(*lines, line=line)
    if m.rng.randrange(2):
        head = head.replace(BEARER.encode(), b"Bearer sk-nobody")
    return head + body, Reading.body


def _hop_by_hop(m: Maker) -> Drawn:
    body, length = m.covered()
    lines = [b"Content-Length: " + length, b"Connection: " + m.pick(CONNECTIONS)]
    lines += m.rng.sample((b"Keep-Alive: timeout=1, max=1", b"Proxy-Connection: keep-alive", b"TE: trailers", b"Trailer: Content-Length", b"Via: 1.0 a"), m.rng.randrange(3))  # fmt: skip
    m.rng.shuffle(lines)
    return m.head(*lines) + body, Reading.body


def _address_of_another(m: Maker) -> Drawn:
    """A request with a key that only the proxy itself could use: not hidden, but to be refused all the same."""
    request = marked("hidden", m.number, m.spoof.decode())
    lines = b"\r\n".join(m.rng.sample(SPOOFS, m.rng.randrange(1, 3)))
    return request.replace(
        b"Host: gateway\r\n", b"Host: gateway\r\n" + lines + b"\r\n", 1
    ), Reading.body


def _pipeline(m: Maker) -> Drawn:
    """Requests that are in order, of which some are refused."""
    refused = (
        b"GET /v1/nothing HTTP/1.1\r\nHost: gateway\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: g\r\nContent-Length: 2\r\n\r\n{}",
        b"HEAD /healthz HTTP/1.1\r\nHost: gateway\r\n\r\n",
        b"OPTIONS /v1/messages HTTP/1.1\r\nHost: gateway\r\n\r\n",
        b"\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: gateway\r\nContent-Length: 3\r\n\r\nabc",
    )
    parts: list[bytes] = []
    for role in ("carrier", "second", "third")[: m.rng.randrange(1, 4)]:
        parts += m.rng.sample(refused, m.rng.randrange(3))
        one = marked(role, m.number)
        if m.rng.randrange(2):
            head, _, body = one.partition(b"\r\n\r\n")
            head = head.rpartition(b"\r\n")[0] + b"\r\nTransfer-Encoding: chunked"
            one = head + b"\r\n\r\n" + chunk(body[:9]) + chunk(body[9:]) + b"0\r\n\r\n"
        parts.append(one)
    return b"".join(parts), Reading.body


def _underscores(m: Maker) -> Drawn:
    """Names that some readers take for others."""
    body, length = m.covered()
    names = [one.replace(b"%d", b"5") for one in m.rng.sample(UNDERSCORED, 2)]
    return m.head(b"Content-Length: " + length, *names) + body, Reading.body


def _changed(m: Maker) -> Drawn:
    """Any of the others with bytes changed at random."""
    data, _ = m.rng.choice(_GRAMMAR)(m)
    head, end, rest = data.partition(b"\r\n\r\n")
    if m.rng.randrange(2):
        return mutated(m.rng, head) + end + rest, Reading.open
    return mutated(m.rng, data), Reading.open


_GRAMMAR: tuple[Callable[[Maker], Drawn], ...] = (
    _both_framings, _chunked_alone, _coding_that_is_none, _broken_coding, _odd_coding, _two_codings, _odd_length, _two_lengths,
    _one_length_twice, _broken_length, _odd_chunk_size, _chunk_extension, _broken_chunk_extension, _broken_chunk_end, _trailer,
    _broken_trailer, _broken_line, _line_ends, _odd_target, _odd_host, _odd_method, _odd_version, _http_1_0, _upgrade, _expect,
    _refused_early, _hop_by_hop, _address_of_another, _pipeline, _underscores,
)  # fmt: skip
_FAMILIES = (*_GRAMMAR, _changed)
