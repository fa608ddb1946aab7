"""Gemini's generateContent, as the provider answers it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import orjson

from proxy.demo.accepted import Identity
from proxy.demo.gemini_request import ProtoNode, read_prompt
from proxy.demo.node import read_object
from proxy.demo.opaque import derived, sign
from proxy.demo.plan import Broken, Call, Cut, Finish, Frame, Plan, Text, Thought, Wait
from proxy.demo.prompt import Prompt
from proxy.demo.refusal import RETRY_AFTER_SECONDS, UNKNOWN_FIELD, Refused

_STATUSES: Mapping[int, str] = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    529: "UNAVAILABLE",
}

_FINISH: Mapping[Finish, str] = {
    "stop": "STOP",
    "stop_sequence": "STOP",
    "length": "MAX_TOKENS",
    "tool_calls": "STOP",
}


def read(body: bytes, model: str, identity: Identity, *, stream: bool, sse: bool) -> GeminiCall:
    """The request, or Refused as Gemini would refuse it.

    A stream without ``sse`` is one JSON array that grows.
    """
    method = "streamGenerateContent" if stream else "generateContent"
    root = ProtoNode(read_object(body))
    prompt = read_prompt(root, model, method=method)
    config = root.node("generationConfig")
    thinking = config.node("thinkingConfig") if config else None
    return GeminiCall(
        prompt=prompt,
        identity=identity,
        stream=stream,
        sse=sse,
        thoughts_shown=bool(thinking and thinking.flag("includeThoughts")),
        candidates=(config.whole("candidateCount", 1) if config else None) or 1,
    )


def count(body: bytes, model: str) -> bytes:
    """The answer of ``countTokens``, whose request is bare contents or a whole inner request."""
    root = ProtoNode(read_object(body))
    inner = root.node("generateContentRequest") or root
    tokens = read_prompt(inner, model, method="countTokens").tokens
    details = [{"modality": "TEXT", "tokenCount": tokens}]
    return orjson.dumps({"totalTokens": tokens, "promptTokensDetails": details})


def error_body(refused: Refused) -> bytes:
    message = refused.message
    if refused.code == UNKNOWN_FIELD and refused.param:
        at, _, name = refused.param.rpartition(".")
        where = f" at '{at}'" if at else ""
        message = f'Invalid JSON payload received. Unknown name "{name}"{where}: Cannot find field.'
    error = {
        "code": refused.status,
        "message": message,
        "status": _STATUSES.get(refused.status, "INVALID_ARGUMENT"),
    }
    if refused.status == 429:
        detail = "type.googleapis.com/google.rpc.RetryInfo"
        error["details"] = [{"@type": detail, "retryDelay": f"{RETRY_AFTER_SECONDS}s"}]
    return orjson.dumps({"error": error}, option=orjson.OPT_INDENT_2)


@dataclass(frozen=True, slots=True)
class GeminiCall:
    prompt: Prompt
    identity: Identity
    stream: bool
    sse: bool
    thoughts_shown: bool
    candidates: int

    @property
    def content_type(self) -> str:
        return "text/event-stream" if self.sse else "application/json; charset=UTF-8"

    def document(self, plan: Plan) -> bytes:
        parts: list[dict[str, object]] = []
        if plan.thinking and self.thoughts_shown:
            parts.append({"text": plan.thinking, "thought": True})
        if plan.text:
            part: dict[str, object] = {"text": plan.text}
            parts.append(part | self._signature(plan))
        parts += [self._call(call, plan) for call in plan.calls]
        candidate = {
            "content": {"parts": parts, "role": "model"},
            "finishReason": _FINISH[plan.finish],
        }
        answer = {
            "candidates": [{**candidate, "index": index} for index in range(self.candidates)],
            "usageMetadata": self._usage(plan, plan.output),
            **self._tail(),
        }
        return orjson.dumps(answer, option=orjson.OPT_INDENT_2)

    def frames(self, plan: Plan) -> Iterator[Frame]:
        """Usage comes on every chunk and grows; the last chunk says why the answer ended."""
        write = _Writer(sse=self.sse)
        spent = 0
        calls = [self._call(call, plan) for call in plan.calls]
        for step in plan.steps:
            match step:
                case Thought(text):
                    if self.thoughts_shown:
                        part: dict[str, object] = {"text": text, "thought": True}
                        yield write.chunk(self._chunk([part], self._usage(plan, plan.reasoning)))
                case Text(text):
                    spent += 1
                    usage = self._usage(plan, plan.reasoning + spent)
                    yield write.chunk(self._chunk([{"text": text}], usage))
                case Call():
                    pass  # all calls come in the last chunk, which also ends the answer
                case Broken():
                    error = {"code": 503, "status": "UNAVAILABLE"}
                    error["message"] = "The model is overloaded. Please try again later."
                    yield write.chunk({"error": error})
                    return
                case Wait() | Cut():
                    yield step
        closing: dict[str, object] = {"text": ""}
        last = calls or [closing | self._signature(plan)]
        usage = self._usage(plan, plan.output)
        yield write.chunk(self._chunk(last, usage, _FINISH[plan.finish]))
        yield write.end()

    def _chunk(
        self, parts: list[dict[str, object]], usage: dict[str, object], finish: str | None = None
    ) -> dict[str, object]:
        candidate: dict[str, object] = {"content": {"parts": parts, "role": "model"}}
        if finish:
            candidate["finishReason"] = finish
        candidate["index"] = 0
        return {"candidates": [candidate], "usageMetadata": usage, **self._tail()}

    def _tail(self) -> dict[str, object]:
        return {"modelVersion": self.prompt.model.id, "responseId": self.identity.id}

    def _call(self, call: Call, plan: Plan) -> dict[str, object]:
        part: dict[str, object] = {
            "functionCall": {
                "name": call.name,
                "args": orjson.loads(call.arguments),
                "id": derived(self.identity.id, call.ordinal)[:8],
            }
        }
        # Of parallel calls only the first is signed.
        return part | self._signature(plan) if call.ordinal == 0 else part

    def _signature(self, plan: Plan) -> dict[str, object]:
        return {"thoughtSignature": sign(plan.thinking)} if plan.thinking else {}

    def _usage(self, plan: Plan, output: int) -> dict[str, object]:
        """``output`` counts the thoughts, which Gemini tells apart from its candidates."""
        usage: dict[str, object] = {
            "promptTokenCount": plan.input,
            "candidatesTokenCount": output - plan.reasoning,
            "totalTokenCount": plan.input + output,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": plan.input}],
        }
        if plan.reasoning:
            usage["thoughtsTokenCount"] = plan.reasoning
        return usage


class _Writer:
    """Chunks as server-sent events with CRLF, or as the elements of one JSON array."""

    def __init__(self, *, sse: bool) -> None:
        self._sse = sse
        self._begun = False

    def chunk(self, chunk: Mapping[str, object]) -> bytes:
        if self._sse:
            # One line, but with the spaces that the real one leaves in it.
            return b"data: " + json.dumps(chunk, ensure_ascii=False).encode() + b"\r\n\r\n"
        opening = b",\r\n" if self._begun else b"["
        self._begun = True
        return opening + orjson.dumps(chunk, option=orjson.OPT_INDENT_2)

    def end(self) -> bytes:
        return b"" if self._sse else b"]"
