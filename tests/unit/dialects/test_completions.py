"""Completions of the old kind are over when they say so, and what they say is counted."""

from __future__ import annotations

import json

import pytest

from proxy.dialects.completions import Completions
from proxy.providers import Flags
from proxy.usage import Usage

USED = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
TOLD = {"id": "cmpl-1", "choices": [], "usage": USED}


def completions(*, swallows: bool = False) -> Completions:
    return Completions(
        Flags(),
        lambda answer: Usage(input=1, output=answer.seen, estimated=True),
        lambda error: b"data: %b\n\n" % error.kind.encode(),
        swallows=swallows,
    )


def event(document: object) -> bytes:
    return b"data: " + json.dumps(document).encode() + b"\n\n"


def said(text: object, ending: object = None) -> bytes:
    return event({"id": "cmpl-1", "choices": [{"text": text, "finish_reason": ending}]})


def test_they_go_on_as_they_come():
    answer = completions()
    frames = [
        b": comment\n\n" + said("H"),
        b"event: x\ndata: no json\n\n",
        event([1]),
        event({"choices": 1}),
        event({"choices": [1]}),
        event(TOLD),
        b"data: [DONE]\n\n",
    ]
    assert [answer.feed(frame) for frame in frames] == frames
    assert (answer.committed, answer.finish(), answer.error) == (True, b"", None)
    assert answer.usage() == Usage(input=5, output=2)


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_what_we_asked_for_ourselves_is_kept_back(size):
    answer = completions(swallows=True)
    body = said("H") + said("i", "stop") + event(TOLD) + b"data: [DONE]"
    out = b"".join(answer.feed(body[at : at + size]) for at in range(0, len(body), size))
    assert out + answer.finish() == said("H") + said("i", "stop") + b"data: [DONE]\n\n"
    assert answer.usage() == Usage(input=5, output=2)


def test_an_event_of_several_lines_stays_one():
    answer = completions(swallows=True)
    assert answer.feed(b"data: a\ndata: b\n\n") == b"data: a\ndata: b\n\n"


def test_what_has_come_is_counted_by_its_text():
    answer = completions()
    answer.feed(
        said("twelve bytes") + said("\u00e9") + said(7) + event({"choices": [{"text": None}]})
    )
    assert (answer.seen, answer.usage()) == (4, Usage(input=1, output=4, estimated=True))


def test_a_reason_for_the_end_is_an_end():
    answer = completions()
    answer.feed(said("a", "stop"))
    assert (answer.finish(), answer.error) == (b"", None)


def test_an_event_without_its_blank_line_counts():
    answer = completions()
    assert answer.feed(b"data: [DONE]") == b"data: [DONE]"
    assert (answer.committed, answer.finish(), answer.error) == (False, b"", None)


def test_events_that_do_not_end_were_cut_off():
    answer = completions()
    answer.feed(said("a"))
    assert answer.finish() == b"\n\ndata: upstream_disconnected\n\n"


def test_an_error_among_them_is_told_in_our_words():
    answer = completions()
    answer.feed(said("a"))
    out = answer.feed(event({"error": {"message": "our account", "code": "server_error"}}))
    assert (out, answer.ended) == (b"\n\ndata: server\n\n", True)
