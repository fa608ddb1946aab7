"""What a call that is passed on may take is read from its request."""

from __future__ import annotations

import pytest

from proxy.dialects.appraisal import Appraisal, appraise


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"prompt": "12345678", "suffix": "1234", "max_tokens": 9}, Appraisal(3, 9)),
        ({"prompt": ["1234", "1234"], "n": 3, "best_of": 2}, Appraisal(2, None, 6)),
        ({"prompt": [7, 8, 9], "best_of": 5, "max_tokens": 0}, Appraisal(3, 0, 5)),
        ({"prompt": [[7, 8], [9]], "n": True, "max_tokens": "x"}, Appraisal(3, None, 2)),
        ({"n": 10**30, "max_tokens": 10**15}, Appraisal(0, 10**6, 10**6)),
        ({"n": -1, "max_tokens": -1}, Appraisal(0, None)),
        ({"n": "4", "max_tokens": "9" * 5_000}, Appraisal(0, 10**6, 4)),
    ],
)
def test_of_completions(fields, found):
    assert appraise("/v1/completions", fields, 0) == found


@pytest.mark.parametrize(
    ("path", "fields", "found"),
    [
        ("generations", {"prompt": "12345678"}, Appraisal(2, 6_240)),
        ("generations", {"quality": "low", "n": 2, "partial_images": 3}, Appraisal(0, 708, 2)),
        ("generations", {"quality": ["low"], "n": 0}, Appraisal(0, 6_240)),
        ("edits", {"quality": "medium", "n": "2"}, Appraisal(1_000, 1_584, 2)),
        ("edits", {"quality": "auto", "images": [{}, {}]}, Appraisal(2_000, 6_240)),
        ("variations", {}, Appraisal(1_000, 6_240)),
    ],
)
def test_of_pictures(path, fields, found):
    assert appraise(f"/v1/images/{path}", fields, 0) == found


@pytest.mark.parametrize(
    ("path", "fields", "found"),
    [
        ("speech", {"input": "1234567890", "instructions": "1234"}, Appraisal(4, 14)),
        ("speech", {"input": 7}, Appraisal()),
        ("transcriptions", {"prompt": "1234"}, Appraisal(2_001, 500)),
    ],
)
def test_of_sound(path, fields, found):
    assert appraise(f"/v1/audio/{path}", fields, 1_000_000) == found


def test_of_documents_that_are_ranked():
    fields = {"query": "1234", "documents": ["1234", {"text": "1234"}, {"image": "x"}, 7]}
    assert appraise("/v1/rerank", fields, 9) == Appraisal(3)


def test_of_what_costs_no_tokens():
    assert appraise("/v1/files", {}, 1_000_000) == Appraisal()
