"""A whole answer as a response object: the one in which a stream of it would end."""

from __future__ import annotations

from typing import Any

from proxy.dialects.collected import Collected
from proxy.dialects.conversation import Call, Image, Part, Redacted, Refusal, Text, Thinking
from proxy.dialects.reply import Meter, Reply
from proxy.dialects.responses.encode import Encoder
from proxy.usage import Usage


def write_answer(collected: Collected, reply: Reply, usage: Usage) -> dict[str, Any]:
    """Return the response object of ``collected``."""
    encoder = Encoder(reply, Meter())
    encoder.begin(collected.model, collected.answer_id)
    first = collected.choices[0]
    for index, part in enumerate(first.parts):
        _play(part, index, encoder)
    encoder.usage(usage)
    encoder.end(first.reason, first.stop_sequence, first.detail)
    # What broke off before it said anything has been failed by its decoder.
    assert encoder.response is not None
    return encoder.response


def _play(part: Part, index: int, encoder: Encoder) -> None:
    match part:
        case Text(text=text):
            encoder.text(text)
        case Refusal(text=text):
            encoder.refusal(text)
        case Thinking(text=text, signature=signature):
            encoder.thinking(text)
            if signature:
                encoder.signature(signature)
        case Redacted(data=data):
            encoder.redacted(data)
        case Call():
            encoder.tool_call(index, part.id, part.name, part.signature)
            encoder.arguments(index, part.arguments)
            encoder.call_done(index)
        case Image(data=str(data)):
            encoder.image(part.mime or "image/png", data)
        case _:  # a model says nothing else
            return
