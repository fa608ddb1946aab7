"""The configuration of a gateway in front of the demo provider."""

import tomllib
from pathlib import Path

from proxy import demo
from proxy.config.load import loads
from proxy.demo.models import Dialect


def config(port=8080):
    text = demo.config_text("http://127.0.0.1:9", port, "ab" * 32, '/tmp/a "state"')
    return tomllib.loads(text)


def test_every_dialect_has_a_provider_with_an_account():
    parsed = config()
    dialects = [name for row in parsed["providers"].values() for name in row["dialects"]]
    assert dialects == [dialect.value for dialect in Dialect]
    assert {account["provider"] for account in parsed["accounts"]} == set(parsed["providers"])
    bases = {row["base_url"] for row in parsed["providers"].values()}
    assert bases == {"http://127.0.0.1:9/v1", "http://127.0.0.1:9/v1beta"}


def test_every_model_has_a_target():
    parsed = config()
    assert [model["name"] for model in parsed["models"]] == [model.id for model in demo.MODELS]
    for model in parsed["models"]:
        [target] = model["targets"]
        provider, _, upstream = target.partition("/")
        assert provider in parsed["providers"]
        assert upstream == model["name"]
    names = [name for model in parsed["models"] for name in [model["name"], *model["aliases"]]]
    assert len(names) == len(set(names))


def test_listeners_state_and_key_are_as_given():
    parsed = config()
    assert parsed["server"]["listen"] == ["127.0.0.1:8080"]
    assert parsed["admin"]["listen"] == ["127.0.0.1:8081"]
    assert parsed["state"]["directory"] == '/tmp/a "state"'
    assert parsed["keys"] == [{"name": "demo", "hash": "sha256:" + "ab" * 32}]
    assert config(0)["admin"]["listen"] == ["127.0.0.1:0"]


def test_the_gateway_reads_it():
    text = demo.config_text("http://127.0.0.1:9", 8080, "ab" * 32, "/tmp/state")
    read = loads(text, Path("demo.toml"), {})
    assert [model.name for model in read.models] == [model.id for model in demo.MODELS]
    assert read.providers["demo-anthropic"].auth == "x-api-key"
    assert read.providers["demo-responses"].flags.input_tokens
