"""What the lines of a batch refer to is found in reads of any size."""

from __future__ import annotations

import json

import pytest

from proxy.server import batch_lines
from proxy.server.batch_lines import BatchLines


def line(url: object, body: object) -> bytes:
    return (
        json.dumps({"custom_id": "1", "method": "POST", "url": url, "body": body}).encode() + b"\n"
    )


@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_each_line_is_read_as_what_it_calls(size):
    file = b"\xef\xbb\xbf" + b"\r\n".join(
        (
            line("/v1/responses", {"previous_response_id": "a", "metadata": {"file_id": "x"}}),
            line("/v1/chat/completions", {"messages": [{"content": [{"file": {"file_id": "b"}}]}]}),
            line("/v1/images/edits", {"images": [{"file_id": "c"}, {"file_id": "a"}]}),
            line("/v1/embeddings", "x"),
        )
    )
    lines = BatchLines()
    for at in range(0, len(file), size):
        lines.feed(file[at : at + size])
    assert {(one.param, one.id) for one in lines.take()} == {
        ("file[0].body.previous_response_id", "a"),
        ("file[2].body.messages[0].content[0].file.file_id", "b"),
        ("file[4].body.images[0].file_id", "c"),
    }
    assert (lines.take(), lines.error) == ([], None)


@pytest.mark.parametrize(
    ("file", "words"),
    [
        (b"{}\nx\n{}\n", "Line 2 of the batch: The body is not valid JSON"),
        (b'{"body": 1, "body": {}}\n', "Line 1 of the batch: `body` stands twice"),
        (b"{}\n" + b" " * 101, "Line 2 of the batch: A line is longer than"),
        (
            line("", {"file_ids": list("abcd")}),
            "Line 1 of the batch: The lines refer to more than 3",
        ),
    ],
)
def test_what_is_no_batch_says_where(file, words, monkeypatch):
    monkeypatch.setattr(batch_lines, "LONGEST", 100)
    monkeypatch.setattr(batch_lines, "MOST", 3)
    lines = BatchLines()
    lines.feed(file)
    lines.feed(line("", {"file_id": "late"}))
    assert lines.error is not None
    assert lines.error.message.startswith(words)


def test_of_another_file_nothing_is_read():
    lines = BatchLines()
    lines.wanted = False
    lines.feed(b"x\n")
    assert lines.error is None
