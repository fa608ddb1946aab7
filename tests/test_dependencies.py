"""What the gateway stands on: locked, few, imported on purpose, and with the parsers that the guard was written for."""

from __future__ import annotations

import ast
import re
import sys
import sysconfig
import tomllib
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path

import httptools.parser.parser
import pytest
from aiohttp import http_parser

ROOT = Path(__file__).parent.parent
LOCKS = ("requirements.lock", "requirements-dev.lock")


def locked(lock):
    """Return each requirement of a lock: its name, its version, and the text that follows."""
    text = (ROOT / lock).read_text()
    return re.findall(r"^([a-z0-9._-]+)==(\S+)((?:.*\\\n)*.*)$", text, re.MULTILINE)


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def declared():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return {normal(re.match(r"[\w.-]+", one)[0]) for one in project["dependencies"]}  # type: ignore[index]


@pytest.mark.parametrize("lock", LOCKS)
def test_each_package_is_locked_with_its_hashes_and_no_address(lock):
    found = locked(lock)
    assert len(found) > 10
    for name, _, rest in found:
        assert "--hash=sha256:" in rest, name
    lines = (ROOT / lock).read_text().splitlines()
    starts = re.compile(r"#|[a-z0-9._-]+==|    --hash=sha256:[0-9a-f]{64}")
    assert [line for line in lines if not starts.match(line)] == []
    assert "://" not in "".join(lines)


def test_what_is_installed_is_what_is_locked():
    compared = 0
    for name, wanted, rest in locked("requirements-dev.lock"):
        try:
            found = version(name)
        except PackageNotFoundError:
            # Locked for another Python or system than this one.
            assert " ; " in rest.partition("\\")[0], name
        else:
            assert found == wanted, name
            compared += 1
    assert compared > 20


def test_the_gateway_runs_on_fewer_than_twenty_packages():
    build = (ROOT / "requirements.lock").read_text().partition("# What installs it")
    assert build[1]
    assert len(re.findall(r"^[a-z]\S*==", build[0], re.MULTILINE)) < 20


def test_nothing_is_imported_that_is_not_declared():
    providers = packages_distributions()
    found = set()
    for path in (ROOT / "proxy").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names.append(node.module or "")
            found |= {name.partition(".")[0] for name in names}
    foreign = found - sys.stdlib_module_names - {"proxy"}
    # multidict is aiohttp's own vocabulary: its headers are of that type.
    assert {normal(providers[name][0]) for name in foreign} <= declared() | {"multidict"}


def test_no_package_runs_code_at_the_start_of_every_python():
    """A .pth file is executed before anything else; a stolen package would add one."""
    site = Path(sysconfig.get_paths()["purelib"])
    expected = {
        "distutils-precedence.pth",  # setuptools' own
        "_splice_gateway.pth",  # this checkout, installed in place
        "a1_coverage.pth",  # the coverage of child processes
    }
    assert {path.name for path in site.glob("*.pth")} <= expected


def test_http_is_parsed_in_c():
    """aiohttp falls back to Python without a word; it is slower, and has had holes of its own."""
    assert http_parser.HttpRequestParser is not http_parser.HttpRequestParserPy
    assert httptools.parser.parser.__file__.endswith(".so")
