"""What callers read: the pages of docs/api, an index of them, all of them in one, and the description of the routes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from proxy import __version__
from proxy.server import openapi

EXAMPLE = "http://127.0.0.1:8080"
"""The base URL that stands in the pages as they are kept; a reader gets the one that he calls."""

_PACKAGE = Path(__file__).parents[1]
_PLACES = (_PACKAGE / "handbook", _PACKAGE.parent / "docs" / "api")
"""Where the pages are: in an installed package (pyproject.toml puts them there), and in a checkout."""

_MARKDOWN = b"text/markdown; charset=utf-8"
_TEXT = b"text/plain; charset=utf-8"
_JSON = b"application/json"
_LINK = re.compile(r"\]\((?=[\w-]+\.md)")
"""Where a link from page to page begins."""


class Documents:
    """Every document by its path, in memory: nothing that a request says is ever a file's name."""

    __slots__ = ("_bodies",)

    def __init__(self, pages: Mapping[str, str]) -> None:
        """``pages`` are texts by the names of their files; ``index.md`` is the first, and links the others in their order."""
        order = ["index.md", *re.findall(r"\]\(([\w-]+\.md)\)", pages["index.md"])]
        named = {name: pages[name] for name in dict.fromkeys(order)}
        self._bodies = {
            "/llms.txt": (_TEXT, _index(named).encode()),
            "/llms-full.txt": (_TEXT, _whole(named).encode()),
            "/openapi.json": (_JSON, openapi.document(__version__, EXAMPLE)),
            **{f"/docs/{name}": (_MARKDOWN, text.encode()) for name, text in pages.items()},
        }

    @classmethod
    def read(cls) -> Self:
        """Return the documents of this installation."""
        place = next(place for place in _PLACES if place.is_dir())
        return cls({path.name: path.read_text("utf-8") for path in sorted(place.glob("*.md"))})

    def find(self, path: str, base: str) -> tuple[bytes, bytes] | None:
        """Return the content type and the text of what is at ``path``, with ``base`` for its base URL; None if nothing is."""
        found = self._bodies.get(path)
        return (
            None if found is None else (found[0], found[1].replace(EXAMPLE.encode(), base.encode()))
        )


def _index(pages: Mapping[str, str]) -> str:
    """Return the index by the convention of llmstxt.org: a title, a quotation, a list of links."""
    first, *others = pages.items()
    lines = [f"# {_title(first[1])}", "", f"> {_summary(first[1])}", "", "## How to call", ""]
    lines += [
        f"- [{_title(text)}]({EXAMPLE}/docs/{name}): {_summary(text)}"
        for name, text in (first, *others)
    ]
    lines += [
        "",
        "## Optional",
        "",
        f"- [All pages in one]({EXAMPLE}/llms-full.txt)",
        f"- [Every route, as OpenAPI 3.1]({EXAMPLE}/openapi.json)",
    ]
    return "\n".join(lines) + "\n"


def _whole(pages: Mapping[str, str]) -> str:
    """Return all pages in one, whose links lead to the single ones."""
    return "\n".join(_LINK.sub(f"]({EXAMPLE}/docs/", text) for text in pages.values())


def _title(text: str) -> str:
    return text.partition("\n")[0].removeprefix("# ")


def _summary(text: str) -> str:
    """Return the first sentence of a page, whose links are words there."""
    paragraph = text.split("\n\n", 2)[1].replace("\n", " ")
    sentence = re.split(r"(?<=[.:]) ", paragraph, maxsplit=1)[0]
    return (
        re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", sentence).removesuffix(":").removesuffix(".") + "."
    )
