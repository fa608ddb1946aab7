"""The configuration of a gateway in front of the demo provider."""

from __future__ import annotations

import json
from dataclasses import dataclass

from proxy.demo.models import MODELS, Dialect, Model


@dataclass(frozen=True, slots=True)
class _Upstream:
    name: str
    version: str
    auth: str
    flags: str = "{}"


_UPSTREAMS = {
    Dialect.CHAT: _Upstream("demo-chat", "v1", "bearer"),
    Dialect.RESPONSES: _Upstream("demo-responses", "v1", "bearer", "{ input_tokens = true }"),
    Dialect.MESSAGES: _Upstream("demo-anthropic", "v1", "x-api-key"),
    Dialect.GEMINI: _Upstream("demo-gemini", "v1beta", "x-goog-api-key"),
}

# What the coding agents ask for when nobody tells them a model.
_ALIASES = {
    "demo-gpt": ("gpt-6-sol", "gpt-6-luna"),
    "demo-claude": ("claude-opus-5-5", "claude-sonnet-5-5", "claude-haiku-5-5"),
    "demo-gemini": ("gemini-flash-latest", "gemini-3.5-flash-lite", "gemini-3.8-flash"),
}


def config_text(provider_url: str, port: int, key_hash: str, state_dir: str) -> str:
    """A TOML configuration: the public listener on ``port``, the admin one on the port after it.

    ``key_hash`` is the hex SHA-256 of the one key; ``provider_url`` is the provider's ``Running.url``.
    """
    key_hash = f"sha256:{key_hash.removeprefix('sha256:')}"
    tables = [
        _table("[server]", listen=[f"127.0.0.1:{port}"]),
        _table("[admin]", listen=[f"127.0.0.1:{port + 1 if port else 0}"]),
        _table("[state]", directory=state_dir),
    ]
    for dialect, upstream in _UPSTREAMS.items():
        tables += _upstream(dialect, upstream, provider_url)
    tables += [_model(model) for model in MODELS]
    tables.append(_table("[[keys]]", name="demo", hash=key_hash))
    return "\n".join(tables)


def _upstream(dialect: Dialect, upstream: _Upstream, provider_url: str) -> list[str]:
    provider = _table(
        f"[providers.{upstream.name}]",
        dialects=[dialect.value],
        base_url=f"{provider_url}/{upstream.version}",
        auth=upstream.auth,
    )
    provider += f"flags = {upstream.flags}\n"
    # No secret: the demo provider takes any credential.
    account = _table(
        "[[accounts]]", name=upstream.name, provider=upstream.name, api_key="demo", models=["*"]
    )
    return [provider, account]


def _model(model: Model) -> str:
    target = f"{_UPSTREAMS[model.dialect].name}/{model.id}"
    aliases = list(_ALIASES.get(model.id, ()))
    # A price of nothing, where none at all would be worth a warning.
    free = "cost = { input = 0, output = 0 }\n"
    return _table("[[models]]", name=model.id, aliases=aliases, targets=[target]) + free


def _table(head: str, **values: str | list[str]) -> str:
    # JSON's strings and arrays of strings are TOML's too, as long as nothing is escaped as \u.
    lines = [f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in values.items()]
    return "\n".join([head, *lines, ""])
