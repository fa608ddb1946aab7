"""What a client gets of a stream that already is in its dialect: the bytes, but for what would break it.

Written from the rules alone and frame by frame, to be held against the gateway's own way of doing it.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from tests.corpus.reading import blocks


@dataclass(frozen=True, slots=True)
class Frame:
    """``exact`` is the frame; where it is None the frame had to be written anew and only ``payload`` can be told.

    An error's frame has neither: its text is the gateway's own.
    """

    exact: str | None = None
    payload: Any = None
    error: bool = False


DONE = Frame("data: [DONE]\n\n")
ERROR = Frame(error=True)


def chat(body: bytes, *, include_usage: bool) -> list[Frame]:
    """Return the frames of a chat stream as a client gets them."""
    out: list[Frame] = []
    finished = False
    for block in blocks(body):
        lines = [line for line in block if not line.startswith(("event:", "id:", "retry:"))]
        data = "\n".join(
            line.removeprefix("data:").removeprefix(" ")
            for line in lines
            if line.startswith("data:")
        )
        if data == "[DONE]":
            return [*out, DONE]
        if not data:
            comments = [line for line in lines if line.startswith(":")]
            out += [Frame("\n".join(comments) + "\n\n")] if comments else []
            continue
        chunk = _parsed(data)
        if not isinstance(chunk, dict):
            continue
        choices = chunk.get("choices") or []
        if chunk.get("error") or any(choice.get("error") for choice in choices):
            return [*out, ERROR]
        asked_for = "moderation" in chunk or (include_usage and chunk.get("usage"))
        if not choices and not asked_for:
            continue
        last = any(choice.get("finish_reason") for choice in choices)
        finished = finished or last
        usage = chunk.get("usage")
        if include_usage and isinstance(usage, dict) and (last or not choices):
            # The recorded models have no price here, so they cost nothing.
            chunk["usage"] = {**usage, "cost": 0, "cost_micro": 0}
            if usage and "cost" not in usage and data.count('"usage"') == 1:
                paid = r'\1"cost":0,"cost_micro":0,'
                lines = [re.sub(r'("usage"\s*:\s*\{)', paid, line) for line in lines]
            else:
                lines = []
        if lines and all(choice.get("delta") is not None for choice in choices):
            out.append(Frame("\n".join(lines) + "\n\n"))
        else:
            mended = [{**choice, "delta": choice.get("delta") or {}} for choice in choices]
            out.append(Frame(payload={**chunk, "choices": mended}))
    return [*out, DONE if finished else ERROR]


def messages(body: bytes) -> list[Frame]:
    """Return the frames of a messages stream as a client gets them."""
    out: list[Frame] = []
    for block in blocks(body):
        lines = [line for line in block if not line.startswith(("id:", "retry:"))]
        data = "".join(line[5:] for line in lines if line.startswith("data:"))
        event = _parsed(data)
        if not isinstance(event, dict):
            out += [Frame("\n".join(lines) + "\n\n")] if lines and lines[0].startswith(":") else []
            continue
        if event.get("type") == "error":
            return [*out, ERROR]
        named = any(line.startswith("event:") for line in lines)
        out.append(
            Frame("\n".join(lines if named else [f"event: {event['type']}", *lines]) + "\n\n")
        )
        if event.get("type") == "message_stop":
            return out
    return [*out, ERROR]


def responses(body: bytes) -> list[Frame]:
    """Return the frames of a Responses stream as a client gets them.

    The failure of a response that the upstream has told nothing of is that of one of our own, from its beginning on.
    """
    out: list[Frame] = []
    failed = [ERROR] * 3
    for block in blocks(body):
        lines = [line for line in block if not line.startswith(("id:", "retry:"))]
        data = "".join(line[5:] for line in lines if line.startswith("data:"))
        event = _parsed(data)
        if not isinstance(event, dict):
            out += [Frame("\n".join(lines) + "\n\n")] if lines and lines[0].startswith(":") else []
            continue
        if isinstance(event.get("response"), dict):
            failed = [ERROR]
        if event.get("type") in ("error", "response.failed"):
            return [*out, *failed]
        named = any(line.startswith("event:") for line in lines)
        out.append(
            Frame("\n".join(lines if named else [f"event: {event['type']}", *lines]) + "\n\n")
        )
        if event.get("type") in ("response.completed", "response.incomplete"):
            return out
    return [*out, *failed]


def gemini(body: bytes) -> list[Frame]:
    """Return the frames of a Gemini stream as a client gets them."""
    out: list[Frame] = []
    finished = False
    for block in blocks(body):
        data = " ".join(line[5:].removeprefix(" ") for line in block if line.startswith("data:"))
        chunk = _parsed(data or "\n".join(block))
        if not isinstance(chunk, dict):
            continue
        if chunk.get("error"):
            return [*out, ERROR]
        out.append(Frame(f"data: {data}\n\n"))
        candidates = chunk.get("candidates") or []
        blocked = not candidates and (chunk.get("promptFeedback") or {}).get("blockReason")
        ended = any(one.get("finishReason") is not None for one in candidates)
        finished = finished or ended or bool(blocked)
    return out if finished else [*out, ERROR]


def difference(found: bytes, frames: list[Frame]) -> str | None:
    """Return where ``found`` is not these frames, or None."""
    told = [frame + "\n\n" for frame in found.decode().split("\n\n")]
    if told.pop() != "\n\n":
        return "the stream ends in the middle of a frame"
    for index, (one, frame) in enumerate(zip(told, frames, strict=False)):
        if frame.error:
            if '"error"' not in one:
                return f"frame {index} is {one[:200]!r}, expected an error"
        elif frame.exact is not None:
            if one != frame.exact:
                return f"frame {index} is {one[:200]!r}, expected {frame.exact[:200]!r}"
        elif json.loads(one.removeprefix("data: ")) != frame.payload:
            return f"frame {index} is {one[:200]!r}, expected {json.dumps(frame.payload)[:200]}"
    if len(told) != len(frames):
        return f"found {len(told)} frames, expected {len(frames)}"
    return None


def _parsed(data: str) -> Any:
    try:
        return json.loads(data)
    except json.JSONDecodeError:
        return None
