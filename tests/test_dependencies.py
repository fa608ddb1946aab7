"""What the gateway stands on: locked, few, imported on purpose, and with the parsers that the guard was written for."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path

import httptools.parser.parser
import pytest
from aiohttp import http_parser

from proxy.cli import EX_CONFIG

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


def test_the_fuzzer_is_locked_apart_from_what_everybody_installs():
    found = locked("requirements-fuzz.lock")
    assert [name for name, _, _ in found] == ["atheris"]
    assert "--hash=sha256:" in found[0][2]
    assert "://" not in (ROOT / "requirements-fuzz.lock").read_text()
    assert "atheris" not in {name for lock in LOCKS for name, _, _ in locked(lock)}


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


LEAST = {
    # Each is the first without a hole that could be reached from here.
    "aiohttp": "3.14.5",  # quadratic gzip (CVE-2026-128131), over-read in the client's parser (CVE-2026-69244)
    "orjson": "3.11.6",  # unbounded recursion in dumps (CVE-2025-67221)
    "uvloop": "0.22.0",  # libuv before 1.48 cuts long host names (CVE-2024-24806)
    "pytest": "9.0.3",  # predictable temporary directories (CVE-2025-71176)
}


@pytest.mark.parametrize("lock", LOCKS)
def test_nothing_is_locked_at_a_version_with_a_known_hole(lock):
    found = {name: numbers(wanted) for name, wanted, _ in locked(lock)}
    assert set(LEAST) - {"pytest"} <= set(found)
    for name, least in LEAST.items():
        assert found.get(name, numbers(least)) >= numbers(least), name


def numbers(text):
    return tuple(map(int, re.findall(r"\d+", text)))


def test_no_codec_is_locked_that_aiohttp_would_use_because_it_is_there():
    """Each is one more decompressor that a stranger's bytes reach."""
    names = {normal(name) for name, _, _ in locked("requirements.lock")}
    assert not names & {"brotli", "brotlicffi", "zstandard", "backports-zstd", "aiodns"}


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


def serve(tmp_path, **environ):
    (tmp_path / "config.toml").write_text('[server]\nlisten = ["127.0.0.1:0"]\n')
    return subprocess.run(
        [sys.executable, "-m", "proxy", "-c", str(tmp_path / "config.toml"), "serve"],
        check=False, capture_output=True, text=True, cwd=tmp_path, timeout=20,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environ},
    )  # fmt: skip


def test_the_daemon_refuses_to_parse_http_in_python(tmp_path):
    done = serve(tmp_path, AIOHTTP_NO_EXTENSIONS="1")
    assert done.returncode == EX_CONFIG
    (line,) = done.stderr.splitlines()
    assert line.startswith("splice: found aiohttp's parser of HTTP and writer of heads in Python")
    assert "unset AIOHTTP_NO_EXTENSIONS" in line


@pytest.mark.parametrize("name", ["orjson", "uvloop", "httptools", "aiohttp"])
def test_a_package_that_cannot_be_loaded_is_named_in_one_line(tmp_path, name):
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / f"{name}.py").write_text(
        "raise ImportError('built for another Python', name=__name__)"
    )
    done = serve(tmp_path, PYTHONPATH=f"{broken}:{ROOT}")
    assert done.returncode == EX_CONFIG
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"splice: cannot load {name} (built for another Python), expected")
