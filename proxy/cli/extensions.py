"""Whether the parsers that Splice was written for are the ones that run."""

from __future__ import annotations

from aiohttp import http_parser, http_writer

ADVICE = "unset AIOHTTP_NO_EXTENSIONS, and install aiohttp from requirements.lock as a wheel"


def missing() -> list[str]:
    """Return which parts of aiohttp run in Python where they should in C; all else that is compiled fails to import without.

    aiohttp falls back without a word, and most holes that let one client's request pass as another's were in that parser.
    """
    parts = {
        "parser of HTTP": http_parser.HttpRequestParser is http_parser.HttpRequestParserPy,
        "writer of heads": http_writer._serialize_headers is http_writer._py_serialize_headers,  # noqa: SLF001 - nothing public tells
    }
    return [name for name, is_python in parts.items() if is_python]
