"""The ids that a body refers to are found wherever they stand, and nothing else is taken for one."""

from __future__ import annotations

import pytest

from proxy.dialects.references import Reference, in_request, outputs


def found(document: object) -> dict[str, str]:
    return {one.path: one.id for one in in_request(document)}


@pytest.mark.parametrize(
    ("document", "ids"),
    [
        ({"input_file_id": "file-1"}, {"input_file_id": "file-1"}),
        (
            {"input": [{"content": [{"type": "input_image", "file_id": "file-1"}, {"file_id": "file-2"}]}]},
            {"input[0].content[0].file_id": "file-1", "input[0].content[1].file_id": "file-2"},
        ),
        ({"previous_response_id": "resp_1"}, {"previous_response_id": "resp_1"}),
        ({"conversation": {"id": "conv_1"}}, {"conversation": "conv_1"}),
        (
            {"tools": [{"vector_store_ids": ["vs_1", 2]}, {"container": {"type": "auto", "file_ids": ["file-1"]}}]},
            {"tools[0].vector_store_ids[0]": "vs_1", "tools[1].container.file_ids[0]": "file-1"},
        ),
        ({"container": "cntr_1"}, {"container": "cntr_1"}),
        ({"container": "auto"}, {}),
        ({"cachedContent": "cachedContents/1"}, {"cachedContent": "cachedContents/1"}),
        ({"parts": [{"fileData": {"fileUri": "https://x/files/1"}}]}, {"parts[0].fileData.fileUri": "https://x/files/1"}),
        ({"src": {"file_name": "files/1"}}, {"src.file_name": "files/1"}),
        ({"file_name": "holiday.jpg"}, {}),
        ({"video": {"id": "video_1"}}, {"video": "video_1"}),
        ({"video": "a video"}, {}),
        ({"file_id": None, "vector_store_ids": "x", "model": "file-1"}, {}),
        ("text", {}),
    ],
)  # fmt: skip
def test_ids_are_found_with_their_paths(document, ids):
    assert found(document) == ids


def test_what_a_batch_has_written_is_told():
    batch = {"id": "batch_1", "output_file_id": "file-1", "error_file_id": None}
    assert outputs(batch) == ["file-1"]
    assert list(in_request({"batch_id": "batch_1"})) == [Reference("batch_id", "batch_1")]
