"""Imports point down, as the architecture says."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import proxy

ROOT = Path(__file__).parent.parent


def test_imports_point_down():
    command = Path(sys.executable).with_name("lint-imports")
    found = subprocess.run(
        [command, "--no-cache"], check=False, cwd=ROOT, capture_output=True, text=True
    )
    assert found.returncode == 0, found.stdout + found.stderr


def test_the_architecture_in_the_docstring_is_the_one_that_is_enforced():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contracts = project["tool"]["importlinter"]["contracts"]
    enforced = [re.findall(r"\w+", layer) for layer in contracts[0]["layers"]]
    described = [
        re.findall(r"\w+", line.strip().split("  ")[0])
        for line in (proxy.__doc__ or "").splitlines()
        if line.startswith("    ")
    ]
    assert described == enforced
