"""The documents for callers: what is in them, and with which base URL."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import orjson
import pytest

from proxy.server.documents import EXAMPLE, Documents

ROOT = Path(__file__).parents[3]
PAGES = {
    "index.md": f"# How to call\n\nIt is at [{EXAMPLE}]({EXAMPLE}). More.\n\n[chat](chat.md) [errors](errors.md)\n",
    "errors.md": "# Errors\n\nThey have a [status](chat.md#a): so many.\n",
    "chat.md": f"# Chat\n\nCall `{EXAMPLE}/v1`\nas ever. [Errors](errors.md#b)\n",
}
BASE = "https://llm.example.com"


def text(path: str, base: str = BASE) -> str:
    found = Documents(PAGES).find(path, base)
    assert found is not None
    return found[1].decode()


def test_a_page_names_the_address_that_is_called():
    assert text("/docs/chat.md") == PAGES["chat.md"].replace(EXAMPLE, BASE)
    assert text("/docs/chat.md", "http://[::1]:80") == PAGES["chat.md"].replace(
        EXAMPLE, "http://[::1]:80"
    )


def test_the_index_lists_the_pages_in_their_order_with_their_first_sentences():
    assert text("/llms.txt") == (
        f"# How to call\n\n> It is at {BASE}.\n\n## How to call\n\n"
        f"- [How to call]({BASE}/docs/index.md): It is at {BASE}.\n"
        f"- [Chat]({BASE}/docs/chat.md): Call `{BASE}/v1` as ever.\n"
        f"- [Errors]({BASE}/docs/errors.md): They have a status.\n\n"
        f"## Optional\n\n- [All pages in one]({BASE}/llms-full.txt)\n"
        f"- [Every route, as OpenAPI 3.1]({BASE}/openapi.json)\n"
    )


def test_all_pages_in_one_lead_to_the_single_ones():
    whole = text("/llms-full.txt")
    assert re.findall(r"^# (.*)$", whole, re.MULTILINE) == ["How to call", "Chat", "Errors"]
    assert f"[Errors]({BASE}/docs/errors.md#b)" in whole
    assert f"[status]({BASE}/docs/chat.md#a)" in whole


def test_the_routes_are_described_at_the_address_that_is_called():
    assert orjson.loads(text("/openapi.json"))["servers"] == [{"url": BASE}]


@pytest.mark.parametrize(
    "path",
    ["/docs/", "/docs/none.md", "/docs/chat", "/docs/../README.md", "/docs/./chat.md", "/docs//docs/chat.md",
     "/docs/%63hat.md", "/docs/..%2fconfiguration.md", "/docs/chat.md/", "/docs/chat.md\x00", "/docs/CHAT.md"],
)  # fmt: skip
def test_only_a_documents_own_path_leads_to_it(path):
    assert Documents(PAGES).find(path, BASE) is None


def test_what_is_read_is_docs_api_and_nothing_else():
    documents = Documents.read()
    for page in ROOT.glob("docs/**/*.md"):
        served = documents.find(f"/docs/{page.name}", EXAMPLE)
        if page.parent.name == "api":
            assert served == (b"text/markdown; charset=utf-8", page.read_bytes())
        elif not (ROOT / "docs/api" / page.name).exists():
            assert served is None


def test_the_index_of_docs_api_leads_to_every_page():
    found = Documents.read().find("/llms.txt", EXAMPLE)
    assert found is not None
    pages = sorted(path.name for path in (ROOT / "docs/api").glob("*.md"))
    assert sorted(re.findall(rf"{EXAMPLE}/docs/([\w-]+\.md)", found[1].decode())) == pages


def test_an_installed_package_has_the_pages_too(tmp_path):
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    code = (
        "import sys; sys.path.insert(0, 'site')\n"
        "from proxy.server import documents\n"
        "assert documents.__file__.startswith(sys.argv[1]), documents.__file__\n"
        f"print(documents.Documents.read().find('/llms-full.txt', {EXAMPLE!r})[1].decode(), end='')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=tmp_path, check=True, capture_output=True
    )
    here = Documents.read().find("/llms-full.txt", EXAMPLE)
    assert here is not None
    assert done.stdout == here[1]
