"""What a provider says that it serves: the models of its list, in whichever dialect's shape it is told."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

MOST = 5000
"""Models that are taken from one list. The longest known one, of a reseller of everybody's, has a tenth of that."""
_LIMITS = range(1, 1 << 40)
_NAME = re.compile(r"[\x21-\x7e]{1,256}")
_CONTEXT = (
    "context_length",
    "max_model_len",
    "context_window",
    "max_context_length",
    "max_input_tokens",
    "inputTokenLimit",
)
"""OpenRouter and Together; vLLM; Groq; Mistral; Anthropic; Gemini."""
_OUTPUT = ("max_completion_tokens", "max_output_tokens", "outputTokenLimit")


@dataclass(frozen=True, slots=True)
class Offered:
    """A model by its upstream id, with how many tokens it takes and makes at most, where that is told."""

    model: str
    context: int | None = None
    max_output: int | None = None


def read_offered(document: object) -> tuple[Offered, ...] | None:
    """Return the models that ``document`` lists, each once; None if it is no list of models.

    Names that could not be asked for in a path or a header are left out.
    """
    entries = document
    if isinstance(document, dict):
        entries = document.get("data", document.get("models"))
    if not isinstance(entries, list):
        return None
    found: dict[str, Offered] = {}
    for entry in entries[:MOST]:
        one = _offered(entry) if isinstance(entry, dict) else None
        if one is not None:
            found.setdefault(one.model, one)
    return tuple(found.values())


def _offered(entry: dict[str, Any]) -> Offered | None:
    name = entry.get("id", entry.get("name"))
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        return None
    return Offered(name.removeprefix("models/"), _context(entry), _max_output(entry))


def _context(entry: dict[str, Any]) -> int | None:
    meta = entry.get("meta")
    # llama.cpp tells what the model was trained for, and since a while also what it runs with.
    told = meta if isinstance(meta, dict) else {}
    return _first([*map(entry.get, _CONTEXT), told.get("n_ctx"), told.get("n_ctx_train")])


def _max_output(entry: dict[str, Any]) -> int | None:
    top = entry.get("top_provider")
    told = [*map(entry.get, _OUTPUT)]
    if isinstance(top, dict):
        told.append(top.get("max_completion_tokens"))
    if entry.get("type") == "model":
        # Anthropic's; elsewhere the name may mean both together.
        told.append(entry.get("max_tokens"))
    return _first(told)


def _first(told: list[object]) -> int | None:
    return next((one for one in told if type(one) is int and one in _LIMITS), None)
