"""What large, endless and crumbling bodies cost the gateway in memory: a refused one little, an accepted one a few times its size."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from bench.processes import free_ports
from tests.chaos.amount import AMOUNT, FIGURES
from tests.chaos.process import MIB, Usage
from tests.integration import spoken
from tests.integration.daemon import started
from tests.integration.gateway import BEARER, PATHS, body_of, config_text, upstream
from tests.integration.scripted import Scripted
from tests.integration.wire import Wire, request

REFUSED = 64 * MIB
ACCEPTED, TRANSLATED, WIDE = 3.5, 6.5, 7.5
"""Times its size: in its own dialect, in another, and of a text with characters for which Python takes four bytes each."""
DIALECTS = ("openai-chat", "openai-responses", "anthropic", "gemini")
_BLOCK = b'"' + b"x" * (MIB - 2) + b'"'


@asynccontextmanager
async def gateway(dialect: str = "openai-chat") -> AsyncIterator[tuple[Wire, Usage]]:
    """Run one in a process of its own; yield a connection to it and what it uses."""
    (port,) = free_ports(1)
    async with Scripted([spoken.told(dialect)]) as up:
        text = config_text(upstream(up.url, dialect), server=f'listen = ["127.0.0.1:{port}"]')
        async with started(text) as daemon:
            usage = Usage(daemon.process.pid)
            warm = await Wire.open(("127.0.0.1", port))
            answered = await warm.post(PATHS["chat"], body_of("chat"), authorization=BEARER)
            assert answered.status == 200
            warm.leave()
            wire = await Wire.open(("127.0.0.1", port))
            try:
                yield wire, usage
            finally:
                wire.leave()


def _head(*lines: str) -> bytes:
    fields = "".join(f"{line}\r\n" for line in (f"Authorization: {BEARER}", *lines))
    return f"POST {PATHS['chat']} HTTP/1.1\r\nHost: g\r\n{fields}\r\n".encode()


def _sized(_: int) -> bytes:
    return _BLOCK


def _chunk(_: int) -> bytes:
    return b"%x\r\n%b\r\n" % (len(_BLOCK), _BLOCK)


def _crumbs(_: int) -> bytes:
    return b"1\r\nx\r\n" * 150_000


def _bracket(_: int) -> bytes:
    return b"10000\r\n" + b"[" * 0x10000 + b"\r\n"


ENDLESS = "Transfer-Encoding: chunked"
REFUSALS: dict[str, tuple[str, Callable[[int], bytes], int]] = {
    "ten gigabytes, as announced": (f"Content-Length: {10 << 30}", _sized, 413),
    "chunks without end": (ENDLESS, _chunk, 413),
    "chunks of one byte without end": (ENDLESS, _crumbs, 413),
    "brackets without end": (ENDLESS, _bracket, 400),
    "a byte more than may be": (f"Content-Length: {(32 << 20) + 1}", _sized, 413),
}


@pytest.mark.parametrize("kind", REFUSALS)
async def test_a_refused_body_costs_little(kind):
    line, part, status = REFUSALS[kind]
    async with gateway() as (wire, usage):
        usage.forget_peak()
        before, cpu = usage.resident(), usage.cpu()
        wire.send(_head(line))
        sent = 0
        head = asyncio.get_running_loop().create_task(wire.head())
        while not head.done():
            if not wire.writer.is_closing():
                wire.send(part(sent))
                sent += 1
                await wire.writer.drain()
            await asyncio.sleep(0)
        answered, headers = await head
        growth = usage.peak() - before
        FIGURES.append(
            f"bodies, {kind}: {answered}, +{growth / MIB:.1f} MiB, {usage.cpu() - cpu:.2f} s of CPU"
        )
        assert (answered, headers["connection"]) == (status, "close")
        assert growth < REFUSED, FIGURES[-1]


IMAGE = "data:image/png;base64," + "QUJD" * ((31 << 20) // 4)
CONTENTS = {
    ("chat", "an image"): [{"type": "image_url", "image_url": {"url": IMAGE}}],
    ("messages", "an image"): [
        {
            "type": "image",
            "source": {"type": "base64", "media_type": "image/png", "data": IMAGE.partition(",")[2]},
        }
    ],
    # Python keeps a text at the width of its widest character, which is four bytes here.
    ("chat", "text with an emoji"): "All work and no play. " * ((31 << 20) // 22) + "\N{GRINNING FACE}",
    ("messages", "text with an emoji"): "All work and no play. " * ((31 << 20) // 22) + "\N{GRINNING FACE}",
}  # fmt: skip


NATIVE = {"chat": "openai-chat", "messages": "anthropic"}
SHORT = (("chat", "an image", "openai-chat"), ("messages", "an image", "openai-chat"))
CASES = SHORT if AMOUNT.is_short else [(*one, to) for one in CONTENTS for to in DIALECTS]


@pytest.mark.parametrize(("surface", "content", "dialect"), CASES)
@pytest.mark.timeout(60)
async def test_an_accepted_body_costs_a_few_times_its_size(surface, content, dialect):
    said = CONTENTS[surface, content]
    body = json.dumps(body_of(surface, said=said), ensure_ascii=False).encode()  # type: ignore[arg-type]
    assert 31 << 20 <= len(body) <= 32 << 20
    async with gateway(dialect) as (wire, usage):
        usage.forget_peak()
        before = usage.resident()
        wire.send(request("POST", PATHS[surface], body, authorization=BEARER))
        assert (await wire.answer()).status == 200
        growth = usage.peak() - before
        FIGURES.append(
            f"bodies, {len(body) / MIB:.1f} MiB of {content}, from {surface} to {dialect}: +{growth / MIB:.0f} MiB, "
            f"{growth / len(body):.2f} × its size"
        )
        most = ACCEPTED if NATIVE[surface] == dialect else TRANSLATED
        assert growth <= (WIDE if "text" in content else most) * len(body), FIGURES[-1]
