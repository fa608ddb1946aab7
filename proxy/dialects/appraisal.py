"""What a call that is passed on takes of tokens, as far as its request tells: held while it runs, and charged if nobody tells more.

Rules that hold here:

1. Of what the request leaves open the most counts: what is held too much comes back, what is held too little is credit given.
2. Whatever cannot be read as it is meant counts as if it were not there: the provider refuses it, or does what it usually does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from proxy.dialects.estimate import IMAGE
from proxy.usage import estimate_tokens


class Appraisal(NamedTuple):
    """Tokens: of all that is read, and of each of so many ``answers`` at most; ``output`` is None if nobody limits it."""

    input: int = 0
    output: int | None = 0
    answers: int = 1


NOTHING = Appraisal()

TEXTS = ("prompt", "suffix", "input", "instructions", "query", "documents")
"""The fields of what a model reads."""
APPRAISED = ("prompt", "n", "quality")
"""Those of a form that say what it takes."""
SPEECH = 1.4
"""Tokens of audio that a character of text is spoken in: some 1,250 a minute, in which 900 characters are read. Nobody tells."""
_HEARD = 500
"""Bytes of a recording in which there is a token of audio: a thousand a minute, and 64 kbit a second."""
_WRITTEN = 4
"""Tokens of audio in which there is one of text."""
_PICTURES = {"low": 408, "medium": 1_584, "high": 6_240}
"""Tokens of the largest picture of each quality, as OpenAI's guide to its models of images lists them."""
_SKETCH = 100
"""Tokens that each picture costs which is shown before it is ready."""
_MOST = 10**6


def appraise(path: str, document: Mapping[str, Any], size: int) -> Appraisal:
    """Return what a call of ``path`` may take; ``document`` is what is known of its body, of ``size`` bytes."""
    if path == "/v1/completions":
        return _completions(document)
    if path.startswith("/v1/images/"):
        return _pictures(document, edits=not path.endswith("/generations"))
    read = sum(map(estimate_tokens, _texts(document)))
    if path == "/v1/audio/speech":
        text = document.get("input")
        return Appraisal(read, -int(-len(text) * SPEECH // 1) if isinstance(text, str) else 0)
    if path.startswith("/v1/audio/"):
        heard = size // _HEARD
        return Appraisal(read + heard, heard // _WRITTEN)
    return Appraisal(read)


def _completions(document: Mapping[str, Any]) -> Appraisal:
    prompt = document.get("prompt")
    several = isinstance(prompt, list) and not all(type(one) is int for one in prompt)
    prompts = len(prompt) if isinstance(prompt, list) and several else 1
    choices = max(_number(document, "n") or 1, _number(document, "best_of") or 1)
    read = sum(map(estimate_tokens, _texts(document)))
    return Appraisal(read + _tokens(prompt), _number(document, "max_tokens"), prompts * choices)


def _pictures(document: Mapping[str, Any], *, edits: bool) -> Appraisal:
    shown = document.get("images")
    pictures = len(shown) if isinstance(shown, list) else int(edits)
    quality = document.get("quality")
    output = _PICTURES.get(quality if isinstance(quality, str) else "", max(_PICTURES.values()))
    return Appraisal(
        sum(map(estimate_tokens, _texts(document))) + pictures * IMAGE,
        output + _SKETCH * (_number(document, "partial_images") or 0),
        _number(document, "n") or 1,
    )


def _texts(document: Mapping[str, Any]) -> Iterator[str]:
    for name in TEXTS:
        value = document.get(name)
        for one in value if isinstance(value, list) else (value,):
            text = one.get("text") if isinstance(one, dict) else one
            if isinstance(text, str):
                yield text


def _tokens(prompt: object) -> int:
    """Return how many tokens ``prompt`` has that are numbers already, in one list or in several."""
    if not isinstance(prompt, list):
        return 0
    return sum(len(one) if isinstance(one, list) else type(one) is int for one in prompt)


def _number(document: Mapping[str, Any], name: str) -> int | None:
    """Return a whole number, which a form has as text; None if there is none."""
    value = document.get(name)
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value[:9])
    return min(value, _MOST) if type(value) is int and value >= 0 else None
