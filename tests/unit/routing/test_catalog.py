"""What a model's name stands for."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config import loads
from proxy.routing.catalog import Catalog, matches

ACCOUNTS = """
[providers.mine]
dialects = ["openai-chat"]
base_url = "http://mine.test"
auth = "none"
families = ["my-"]
[[accounts]]
name = "openai"
provider = "openai"
api_key = "x"
[[accounts]]
name = "gemini"
provider = "gemini"
api_key = "x"
[[accounts]]
name = "mine"
provider = "mine"
api_key = "x"
models = ["my-*", "listed", "vendor/one"]
[[models]]
name = "smart"
aliases = ["best"]
targets = ["openai/gpt-6", { to = "mine/listed", order = 2 }]
fallbacks = ["gpt-7"]
[[models]]
name = "gpt-7"
defaults = { temperature = 1 }
"""
CATALOG = Catalog(loads(ACCOUNTS, Path("c.toml"), {"HOME": "/root"}))


def targets(name: str) -> list[str] | None:
    route = CATALOG.resolve(name)
    return None if route is None else [f"{one.provider}/{one.model}" for one in route.targets]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("smart", ["openai/gpt-6", "mine/listed"]),
        ("best", ["openai/gpt-6", "mine/listed"]),
        ("gpt-7", ["openai/gpt-7"]),
        ("openai/gpt-8", ["openai/gpt-8"]),
        ("google/gemini-9", ["gemini/gemini-9"]),
        ("gemini-9", ["gemini/gemini-9"]),
        ("gpt-tomorrow", ["openai/gpt-tomorrow"]),
        ("o3", ["openai/o3"]),
        ("my-own", ["mine/my-own"]),
        ("listed", ["mine/listed"]),
        ("vendor/one", ["mine/vendor/one"]),
        ("mine/vendor/one", ["mine/vendor/one"]),
        ("mine/other", None),
        ("claude-x", None),
        ("anthropic/claude-x", None),
        ("openai/", None),
        ("/gpt-8", None),
        ("", None),
        ("nothing", None),
        ("gemini/../x", None),
        ("gpt-/./x", None),
    ],
)
def test_a_name_is_looked_for_in_one_order(name, expected):
    assert targets(name) == expected
    assert targets(name) == expected  # and found again


def test_an_alias_is_the_model_that_it_names():
    route = CATALOG.resolve("best")
    assert route is not None
    assert (route.name, route.fallbacks) == ("smart", ("gpt-7",))


def test_a_model_without_targets_keeps_its_settings():
    route = CATALOG.resolve("gpt-7")
    assert route is not None
    assert route.defaults == {"temperature": 1}


def test_what_is_listed_can_be_called():
    listed = CATALOG.listed()
    assert listed == ["smart", "gpt-7", "mine/listed", "mine/vendor/one"]
    assert all(targets(name) for name in listed)


@pytest.mark.parametrize(
    ("globs", "may"),
    [(["*"], True), (["smart"], True), (["sm*"], True), (["openai/*"], True), (["mine/listed"], True), (["best"], False),
     (["gpt-6"], False), ([], False)],
)  # fmt: skip
def test_a_key_may_call_by_the_public_name_or_by_where_it_leads(globs, may):
    route = CATALOG.resolve("smart")
    assert route is not None
    assert route.is_open_to(globs) is may


def test_the_nearest_names_are_those_that_the_key_may_call():
    assert CATALOG.nearest("smrt")[0] == "smart"
    assert CATALOG.nearest("smrt", ["gpt-*"]) == []
    assert CATALOG.nearest("openai/smart")[0] == "smart"
    assert CATALOG.nearest("quite something else") == []


@given(st.text(max_size=30))
def test_no_name_breaks_the_catalog(name):
    route = CATALOG.resolve(name)
    assert route is None or route.targets
    CATALOG.nearest(name)


def test_globs_are_case_sensitive():
    assert matches(["A*"], ["Ab"])
    assert not matches(["A*"], ["ab"])


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("openai/" + "x" * 249, True),
        ("openai/" + "x" * 250, False),
        ("openai/a b", True),
        ("openai/é", True),
        ("openai/a\nb", False),
        ("openai/a\0", False),
        ("openai/\x1b[2J", False),
        ("openai/a\u202eb", False),
        ("gpt-\u2028", False),
    ],
)
def test_a_name_can_be_kept_and_printed(name, is_one):
    assert (CATALOG.resolve(name) is not None) is is_one


def test_nothing_is_near_a_name_that_is_none():
    assert CATALOG.nearest("smar") == ["smart"]
    assert CATALOG.nearest("smar\0") == []
    assert CATALOG.nearest("x" * (1 << 24)) == []
