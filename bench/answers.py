"""The one answer of the benchmarks, as each provider would send it: a hundred tokens, streamed or whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import orjson

from proxy.providers import Dialect

TOKENS = 100
MARK = b" token"
"""In every token and in nothing else, so that whoever has a stream can count what came of it."""

TEXTS = tuple(f"{MARK.decode()}{number}" for number in range(1, TOKENS + 1))
"""The tokens; their numbers differ in length as words do."""

_PROMPT = 21
_CREATED = 1_760_000_000
_CHAT_MODEL = "gpt-4o-2024-08-06"
_CLAUDE = "claude-sonnet-4-20250514"


@dataclass(frozen=True, slots=True)
class Answer:
    """A stream's frames, each whole: what comes before the first token, a frame a token, what comes after the last.

    ``document`` is the same answer unstreamed.
    """

    opening: bytes
    tokens: tuple[bytes, ...]
    closing: bytes
    document: bytes

    @property
    def frames(self) -> tuple[bytes, ...]:
        return (self.opening, *self.tokens, self.closing)


def _chat() -> Answer:
    def common(kind: str) -> dict[str, object]:
        return {
            "id": "chatcmpl-CQ1yZ0pXm8fTn3",
            "object": kind,
            "created": _CREATED,
            "model": _CHAT_MODEL,
            "service_tier": "default",
            "system_fingerprint": "fp_51db84afab",
        }

    def chunk(delta: dict[str, object], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return _data({**common("chat.completion.chunk"), "choices": [choice], "usage": None})

    usage = {
        "prompt_tokens": _PROMPT,
        "completion_tokens": TOKENS,
        "total_tokens": _PROMPT + TOKENS,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }
    message: dict[str, object] = {"role": "assistant", "content": "".join(TEXTS), "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    last = _data({**common("chat.completion.chunk"), "choices": [], "usage": usage})
    return Answer(
        chunk({"role": "assistant", "content": "", "refusal": None}),
        tuple(chunk({"content": text}) for text in TEXTS),
        chunk({}, "stop") + last + b"data: [DONE]\n\n",
        orjson.dumps({**common("chat.completion"), "choices": [choice], "usage": usage}),
    )


def _anthropic() -> Answer:
    def usage(output: int) -> dict[str, object]:
        return {
            "input_tokens": _PROMPT,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": output,
        }

    message: dict[str, object] = {
        "id": "msg_01Xk5vQ2jR8wTz",
        "type": "message",
        "role": "assistant",
        "model": _CLAUDE,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {**usage(1), "service_tier": "standard"},
    }
    stop = {"stop_reason": "end_turn", "stop_sequence": None}
    block = {"type": "text", "text": ""}
    whole = {"content": [{"type": "text", "text": "".join(TEXTS)}], **stop, "usage": usage(TOKENS)}

    def delta(text: str) -> bytes:
        return _event("content_block_delta", index=0, delta={"type": "text_delta", "text": text})

    return Answer(
        _event("message_start", message=message)
        + _event("content_block_start", index=0, content_block=block)
        + _event("ping"),
        tuple(map(delta, TEXTS)),
        _event("content_block_stop", index=0)
        + _event("message_delta", delta=stop, usage=usage(TOKENS))
        + _event("message_stop"),
        orjson.dumps({**message, **whole}),
    )


def _responses() -> Answer:
    item = {"id": "msg_68f0c2a1", "type": "message", "role": "assistant"}
    at = {"item_id": item["id"], "output_index": 0, "content_index": 0}
    text = "".join(TEXTS)

    def part(said: str) -> dict[str, object]:
        return {"type": "output_text", "annotations": [], "logprobs": [], "text": said}

    done = {**item, "status": "completed", "content": [part(text)]}

    def response(status: str) -> dict[str, object]:
        finished = status == "completed"
        usage = {
            "input_tokens": _PROMPT,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": TOKENS,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": _PROMPT + TOKENS,
        }
        return {
            "id": "resp_68f0c2a0",
            "object": "response",
            "created_at": _CREATED,
            "status": status,
            "error": None,
            "incomplete_details": None,
            "model": _CHAT_MODEL,
            "output": [done] if finished else [],
            "service_tier": "default",
            "usage": usage if finished else None,
        }

    def delta(number: int, said: str) -> bytes:
        return _event(
            "response.output_text.delta",
            sequence_number=4 + number,
            **at,
            delta=said,
            logprobs=[],
            obfuscation="kT3vQ9xB2",
        )

    empty = {**item, "status": "in_progress", "content": []}
    end = 4 + TOKENS
    return Answer(
        _event("response.created", sequence_number=0, response=response("in_progress"))
        + _event("response.in_progress", sequence_number=1, response=response("in_progress"))
        + _event("response.output_item.added", sequence_number=2, output_index=0, item=empty)
        + _event("response.content_part.added", sequence_number=3, **at, part=part("")),
        tuple(delta(number, said) for number, said in enumerate(TEXTS)),
        _event("response.output_text.done", sequence_number=end, **at, text=text, logprobs=[])
        + _event("response.content_part.done", sequence_number=end + 1, **at, part=part(text))
        + _event("response.output_item.done", sequence_number=end + 2, output_index=0, item=done)
        + _event("response.completed", sequence_number=end + 3, response=response("completed")),
        orjson.dumps(response("completed")),
    )


def _gemini() -> Answer:
    def chunk(text: str, output: int, finish: str | None = None) -> dict[str, object]:
        candidate = {"content": {"parts": [{"text": text}], "role": "model"}, "index": 0}
        usage = {
            "promptTokenCount": _PROMPT,
            "candidatesTokenCount": output,
            "totalTokenCount": _PROMPT + output,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": _PROMPT}],
        }
        return {
            "candidates": [{**candidate, "finishReason": finish} if finish else candidate],
            "usageMetadata": usage,
            "modelVersion": "gemini-2.5-flash",
            "responseId": "oXzwaLq8D4",
        }

    return Answer(
        _data(chunk("", 0)),
        tuple(_data(chunk(text, number)) for number, text in enumerate(TEXTS, 1)),
        _data(chunk("", TOKENS, "STOP")),
        orjson.dumps(chunk("".join(TEXTS), TOKENS, "STOP")),
    )


def _event(kind: str, **fields: object) -> bytes:
    return b"event: %b\n" % kind.encode() + _data({"type": kind, **fields})


def _data(payload: Mapping[str, object]) -> bytes:
    return b"data: %b\n\n" % orjson.dumps(payload)


_MADE: Mapping[Dialect, Callable[[], Answer]] = {
    "openai-chat": _chat,
    "anthropic": _anthropic,
    "openai-responses": _responses,
    "gemini": _gemini,
}

ANSWERS: Mapping[Dialect, Answer] = {dialect: make() for dialect, make in _MADE.items()}
