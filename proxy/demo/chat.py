"""OpenAI's Chat Completions, as the provider answers them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import orjson

from proxy.demo import openai
from proxy.demo.accepted import EVENT_STREAM, Identity
from proxy.demo.chat_request import read_prompt
from proxy.demo.node import Node, read_object
from proxy.demo.opaque import derived
from proxy.demo.plan import Broken, Call, Cut, Frame, Plan, Text, Thought, Wait
from proxy.demo.prompt import Prompt
from proxy.demo.refusal import Refused

_MAX_CHOICES = 8


def read(body: bytes, identity: Identity) -> ChatCall:
    """The request, or Refused as OpenAI would refuse it."""
    root = Node(read_object(body))
    options = root.node("stream_options")
    return ChatCall(
        prompt=read_prompt(root),
        identity=identity,
        stream=root.flag("stream"),
        include_usage=bool(options and options.flag("include_usage")),
        choices=root.whole("n", 1, _MAX_CHOICES) or 1,
        forced_by_name=_forced_by_name(root),
    )


def _forced_by_name(root: Node) -> bool:
    choice = root.get("tool_choice")
    return isinstance(choice, dict) and choice.get("type") == "function"


@dataclass(frozen=True, slots=True)
class ChatCall:
    prompt: Prompt
    identity: Identity
    stream: bool
    include_usage: bool
    choices: int
    forced_by_name: bool
    content_type: str = EVENT_STREAM

    def document(self, plan: Plan) -> bytes:
        message: dict[str, object] = {"role": "assistant", "content": plan.text or None}
        message |= {"refusal": None, "annotations": []}
        if plan.thinking:
            message["reasoning_content"] = plan.thinking
        if plan.calls:
            message["tool_calls"] = [
                {**self._head(call), "function": _function(call.name, call.arguments)}
                for call in plan.calls
            ]
        else:
            message["content"] = plan.text
        return orjson.dumps(
            {
                **self._common("chat.completion"),
                "choices": [
                    {
                        "index": index,
                        "message": message,
                        "logprobs": None,
                        "finish_reason": self._finish(plan),
                    }
                    for index in range(self.choices)
                ],
                "usage": self._usage(plan),
            }
        )

    def frames(self, plan: Plan) -> Iterator[Frame]:
        for index in range(self.choices):
            opening = None if plan.calls else ""
            yield self._delta(index, {"role": "assistant", "content": opening, "refusal": None})
            yield from self._steps(index, plan)
            if isinstance(plan.last, Broken):
                return
            yield self._delta(index, {}, self._finish(plan))
        if self.include_usage:
            common = self._common("chat.completion.chunk")
            yield _frame({**common, "choices": [], "usage": self._usage(plan)})
        yield b"data: [DONE]\n\n"

    def _steps(self, index: int, plan: Plan) -> Iterator[Frame]:
        for step in plan.steps:
            match step:
                case Thought(text):
                    yield self._delta(index, {"reasoning_content": text})
                case Text(text):
                    yield self._delta(index, {"content": text})
                case Call(ordinal, name):
                    yield self._tool(index, ordinal, self._head(step), _function(name, ""))
                    for fragment in step.fragments():
                        yield self._tool(index, ordinal, {}, {"arguments": fragment})
                case Broken():
                    yield _frame(openai.error(Refused(500, "The model failed midway.")))
                case Wait() | Cut():
                    yield step

    def _tool(
        self, index: int, ordinal: int, head: dict[str, str], function: dict[str, str]
    ) -> bytes:
        return self._delta(
            index, {"tool_calls": [{"index": ordinal, **head, "function": function}]}
        )

    def _delta(self, index: int, delta: dict[str, object], finish: str | None = None) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
        chunk = {**self._common("chat.completion.chunk"), "choices": [choice]}
        if self.include_usage:
            chunk["usage"] = None
        return _frame(chunk)

    def _common(self, kind: str) -> dict[str, object]:
        return {
            "id": f"chatcmpl-{self.identity.id}",
            "object": kind,
            "created": self.identity.created,
            "model": self.prompt.model.id,
            "service_tier": "default",
            "system_fingerprint": "fp_demo",
        }

    def _head(self, call: Call) -> dict[str, str]:
        return {"id": f"call_{derived(self.identity.id, call.ordinal)}", "type": "function"}

    def _finish(self, plan: Plan) -> str:
        if plan.finish == "stop_sequence":
            return "stop"
        # The real one ends a call that was forced by name like any other answer.
        if plan.finish == "tool_calls" and self.forced_by_name:
            return "stop"
        return plan.finish

    def _usage(self, plan: Plan) -> dict[str, object]:
        output = plan.output * self.choices
        return {
            "prompt_tokens": plan.input,
            "completion_tokens": output,
            "total_tokens": plan.input + output,
            "prompt_tokens_details": {
                "cached_tokens": 0,
                "cache_write_tokens": 0,
                "audio_tokens": 0,
            },
            "completion_tokens_details": {
                "reasoning_tokens": plan.reasoning * self.choices,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        }


def _function(name: str, arguments: str) -> dict[str, str]:
    return {"name": name, "arguments": arguments}


def _frame(payload: dict[str, object]) -> bytes:
    return b"data: " + orjson.dumps(payload) + b"\n\n"
