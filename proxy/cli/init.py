"""``splice init``: a first configuration, from the provider keys in the environment."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from proxy.cli.output import complain
from proxy.config import KeysPolicy, key_hash, loads, new_key


@dataclass(frozen=True, slots=True)
class Found:
    """A provider whose key may be in the environment."""

    provider: str
    variables: tuple[str, ...]
    """As the provider's own software and its users call it; the first that is set counts."""
    model: str
    """A small one, for the line that the user tries first."""


PROVIDERS = (
    Found("openai", ("OPENAI_API_KEY",), "gpt-6-luna"),
    Found("anthropic", ("ANTHROPIC_API_KEY",), "claude-haiku-5-5"),
    Found("gemini", ("GEMINI_API_KEY", "GOOGLE_API_KEY"), "gemini-flash-latest"),
    Found("groq", ("GROQ_API_KEY",), "openai/gpt-oss-20b"),
    Found("deepseek", ("DEEPSEEK_API_KEY",), "deepseek-chat"),
    Found("mistral", ("MISTRAL_API_KEY",), "mistral-small-latest"),
    Found("xai", ("XAI_API_KEY",), "grok-4.3"),
    Found("openrouter", ("OPENROUTER_API_KEY",), "openrouter/auto"),
    Found("together", ("TOGETHER_API_KEY",), "openai/gpt-oss-20b"),
    Found("fireworks", ("FIREWORKS_API_KEY",), "accounts/fireworks/models/gpt-oss-20b"),
    Found("cerebras", ("CEREBRAS_API_KEY",), "gpt-oss-120b"),
    Found("perplexity", ("PERPLEXITY_API_KEY", "PPLX_API_KEY"), "sonar"),
    Found("moonshot", ("MOONSHOT_API_KEY",), "kimi-k2.5"),
    Found("zai", ("ZAI_API_KEY",), "glm-4.6"),
    Found("alibaba", ("DASHSCOPE_API_KEY",), "qwen-plus"),
    Found("huggingface", ("HF_TOKEN",), "openai/gpt-oss-20b"),
)


def run(args: argparse.Namespace) -> int:
    path = Path(args.config or os.environ.get("SPLICE_CONFIG") or "config.toml")
    accounts = in_environment(os.environ)
    if not accounts:
        looked_for = ", ".join(name for row in PROVIDERS for name in row.variables)
        complain(
            f"found no provider key in the environment, expected one of {looked_for}; "
            "set one, or try `splice demo`, which needs none"
        )
        return 1
    key = new_key(KeysPolicy().prefix)
    text = written(accounts, key)
    loads(text, path, os.environ)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        complain(f"found {path} already, expected no such file; name another with -c")
        return 1
    except OSError as error:
        complain(f"cannot write {path}: {error.strerror}; name another with -c")
        return 1
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    _print_next_steps(path, [row.provider for row, _ in accounts], accounts[0][0], key)
    return 0


def in_environment(environ: Mapping[str, str]) -> list[tuple[Found, str]]:
    """The providers whose key is set, each with the variable that holds it."""
    return [
        (row, variable)
        for row in PROVIDERS
        if (variable := next((name for name in row.variables if environ.get(name)), None))
    ]


def written(accounts: list[tuple[Found, str]], key: str) -> str:
    """The text of the configuration. It holds no secret: variables by name, the key by its hash."""
    parts = ["# Every setting and its default: config.example.toml. Checked by `splice check`.\n"]
    parts += [
        f'[[accounts]]\nname = "{row.provider}"\nprovider = "{row.provider}"\n'
        f'api_key = {{ env = "{variable}" }}\n'
        for row, variable in accounts
    ]
    parts.append(f'[[keys]]\nname = "first"\nhash = "sha256:{key_hash(key)}"\n')
    return "\n".join(parts)


def _print_next_steps(path: Path, providers: list[str], first: Found, key: str) -> None:
    named = "" if str(path) == "config.toml" else f" -c {path}"
    # As it was called: in a fresh checkout only .venv/bin has it.
    splice = sys.argv[0] if sys.argv[0].endswith("splice") else "splice"
    print(f"wrote {path} with accounts at {', '.join(providers)}")
    print(f"your key, shown this once: {key}")
    print(f"start it:  {splice} serve{named}")
    print("then try:")
    print(
        f"  curl http://127.0.0.1:8080/v1/chat/completions -H 'Authorization: Bearer {key}' "
        f'-d \'{{"model": "{first.provider}/{first.model}", '
        '"messages": [{"role": "user", "content": "Hello"}]}\''
    )
