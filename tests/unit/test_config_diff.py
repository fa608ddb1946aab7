"""What a reload reports."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.config import Config, changes, loads

ACCOUNT = '[[accounts]]\nname = "{}"\nprovider = "openai"\napi_key = "{}"\n'
BASE = ACCOUNT.format("a", "one") + ACCOUNT.format("b", "two")


def read(text: str, **environ: str) -> Config:
    return loads(text, Path("c.toml"), {"STATE_DIRECTORY": "/s", **environ})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (BASE, []),
        (ACCOUNT.format("b", "two") + ACCOUNT.format("a", "one"), []),
        ("[retry]\nattempts = 5\n" + BASE, ["retry.attempts: 3 -> 5"]),
        ('[timeouts]\nidle = "90s"\n' + BASE, ["timeouts.idle: 5m -> 90s"]),
        (BASE + "rpm = 7\n", ["accounts.b.rpm: none -> 7"]),
        (ACCOUNT.format("a", "one"), ["accounts.b: removed"]),
        (BASE + ACCOUNT.format("c", "x"), ["accounts.c: added"]),
        (BASE.replace('"two"', '"three"'), ["accounts.b.api_key: another secret"]),
        ('[logging]\nformat = "json"\n' + BASE, ["logging.format: auto -> json (after a restart)"]),
        ('[admin]\ntoken = "t"\n' + BASE, ["admin.token: none -> ***"]),
    ],
)
def test_a_change_is_told_in_the_words_of_the_file(text, told):
    assert [str(change) for change in changes(read(BASE), read(text))] == told


def test_a_secret_that_the_environment_changed_is_told_and_not_shown():
    text = '[[keys]]\nname = "k"\nkey = { env = "KEY" }\n'
    found = changes(read(text, KEY="sk-one"), read(text, KEY="sk-two"))
    assert [str(change) for change in found] == ["keys.k.key: another secret"]


def test_a_key_s_hash_is_no_secret():
    text = '[[keys]]\nname = "k"\nhash = "sha256:{}"\n'
    found = changes(read(text.format("0" * 64)), read(text.format("1" * 64)))
    assert [change.key for change in found] == ["keys.k.hash"]
