"""The known providers as rows: where they are, how they are called, and what they do differently.

Only dialects are code; a provider is data. One that speaks a known dialect and is not listed here
is a ``[providers.NAME]`` table in the configuration, which may also replace single fields of a row.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import Literal, get_args
from urllib.parse import quote

Dialect = Literal["openai-chat", "openai-responses", "anthropic", "gemini"]
Auth = Literal["bearer", "x-api-key", "x-goog-api-key", "api-key", "none"]
MaxTokensField = Literal["max_tokens", "max_completion_tokens"]

Offer = Literal[
    "completions", "moderations", "rerank", "images", "audio", "videos", "files", "batches"
]
"""What is passed on, by the first word of its path behind ``/v1``."""

DIALECTS: tuple[Dialect, ...] = get_args(Dialect)
AUTHS: tuple[Auth, ...] = get_args(Auth)


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags:
    """What a provider does differently from the dialect's reference."""

    official: bool = False
    """OpenAI's own rules: ``max_completion_tokens``, no foreign extension fields, function tools
    with reasoning only on Responses, no effort ``max`` on chat. OpenAI and Azure."""
    stream_options: bool = True
    """Takes ``stream_options.include_usage``. Mistral answers 422 and sends usage unasked."""
    max_tokens_field: MaxTokensField | None = None
    """The only name of the output limit that is understood; None takes either. Those that know
    only ``max_tokens`` ignore the newer name, and with it the limit."""
    developer_role: bool = False
    """Knows the role ``developer``; elsewhere it is sent as ``system``."""
    reasoning_field: bool = False
    """Wants the assistant's thinking back as ``reasoning_content``, and refuses a tool-calling
    turn without that field, so it is sent empty when there is none. DeepSeek, Moonshot, Z.ai."""
    reasoning_outside: bool = False
    """``completion_tokens`` does not include reasoning, ``total_tokens`` does. xAI, and Gemini's
    OpenAI-compatible API."""
    tool_id_nine: bool = False
    """Refuses tool call ids that are not exactly nine letters or digits. Mistral."""
    penalties: bool = False
    """Gemini dialect: presence and frequency penalties may be sent on; most models refuse them."""
    logprobs: bool = False
    """Gemini dialect: ``responseLogprobs`` may be sent on; most models refuse it."""
    openapi_schema: bool = False
    """Gemini dialect: an endpoint from before JSON Schema, wanting ``responseSchema``."""
    input_tokens: bool = False
    """Has ``POST /responses/input_tokens``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """Where a provider is and how it is called.

    ``base_url`` is empty where each account has an address of its own (Azure). A query in it
    (``?api-version=preview``) is sent with every call.
    """

    name: str
    base_url: str
    dialects: tuple[Dialect, ...]
    auth: Auth
    flags: Flags = Flags()
    families: tuple[str, ...] = ()
    """Prefixes of the model names that are this provider's own."""
    base_urls: Mapping[Dialect, str] = field(default_factory=lambda: MappingProxyType({}))
    """Dialects that live elsewhere than ``base_url``. An account's own base_url replaces these
    too: it is one address for everything."""
    versionless: bool = False
    """The routes have no ``/v1`` in front: Perplexity's are ``/chat/completions``."""
    keyless: bool = False
    """A server of one's own: an account needs no api_key, and one that is given is sent."""
    offers: tuple[Offer, ...] | None = None
    """What it is known to have beside its dialects' calls, for requests that name no model; None: nobody knows."""
    lists_models: bool = True
    """What it lists can be called. Azure lists what could be deployed."""
    probe: str | None = None
    """A path that is free to read and wants the credential, where the list of models is open to
    anybody and so tells nothing about it."""

    def url(
        self, dialect: Dialect, path: str, account_base_url: str | None = None, model: str = ""
    ) -> str:
        """The address of *path* (with its version prefix, as in ``/v1/messages``) for a call of *model*."""
        if account_base_url is not None:
            base = account_base_url
        else:
            base = self.base_urls.get(dialect, self.base_url)
        if DEPLOYMENTS in base:
            return _deployed(base, path, model)
        return endpoint(base, _unversioned(path) if self.versionless else path)


DEPLOYMENTS = "/openai/deployments"
"""Azure's addresses from before its ``/openai/v1``: the model is called by a path, and the version by ``?api-version=``."""
_UNDEPLOYED = ("/responses", "/files", "/batches", "/models")
"""What stands beside the deployments there, and not below one."""


def _deployed(base_url: str, path: str, model: str) -> str:
    """Joins an address of Azure's deployments, which may name one of them, with a route."""
    base, _, base_query = base_url.partition("?")
    route, _, query = _unversioned(path).partition("?")
    before, _, named = base.rstrip("/").partition(DEPLOYMENTS)
    deployment = named or f"/{quote(model, safe='')}"
    above = (
        "/openai"
        if route.startswith(_UNDEPLOYED) or not deployment[1:]
        else f"{DEPLOYMENTS}{deployment}"
    )
    queries = "&".join(q for q in (base_query, query) if q)
    return f"{before}{above}{route}" + (f"?{queries}" if queries else "")


# A segment such as v1, v1beta, v1beta1, v4.
_VERSION = re.compile(r"/v\d+[a-z0-9]*(?=/|$)")


@lru_cache(maxsize=4096)
def endpoint(base_url: str, path: str) -> str:
    """Joins the base URL with a route, naming the version once.

    *path* starts with the dialect's own version prefix (``/v1/…``, ``/v1beta/…``). A base URL that
    names a version anywhere in its path has said all there is to say, and the route follows without
    its prefix: ``https://api.groq.com/openai/v1``, ``https://api.z.ai/api/paas/v4``,
    ``https://generativelanguage.googleapis.com/v1beta/openai``. Any other base URL gets the route
    whole: ``https://api.anthropic.com``, ``https://api.deepseek.com/anthropic``. Queries of both
    are kept.
    """
    base, _, base_query = base_url.partition("?")
    base = base.rstrip("/")
    route, _, query = path.partition("?")
    origin_end = base.find("/", base.find("://") + 3)
    if origin_end != -1 and _VERSION.search(base, origin_end):
        route = _unversioned(route)
    queries = "&".join(q for q in (base_query, query) if q)
    return f"{base}{route}?{queries}" if queries else f"{base}{route}"


def _unversioned(path: str) -> str:
    match = _VERSION.match(path)
    return path[match.end() :] if match else path


_COMPATIBLE: tuple[Dialect, ...] = ("openai-chat",)
_MAX_TOKENS = Flags(max_tokens_field="max_tokens")

_ROWS = (
    Provider(
        name="openai",
        base_url="https://api.openai.com/v1",
        dialects=("openai-chat", "openai-responses"),
        auth="bearer",
        flags=Flags(
            official=True,
            max_tokens_field="max_completion_tokens",
            developer_role=True,
            input_tokens=True,
        ),
        families=(
            "gpt-",
            "chatgpt-",
            *(f"o{n}" for n in range(1, 10)),
            "codex-",
            "computer-use-",
            "text-embedding-",
            "omni-moderation-",
            "text-moderation-",
            "dall-e-",
            "sora-",
            "whisper-",
            "tts-",
            "davinci-",
            "babbage-",
        ),
        offers=("completions", "moderations", "images", "audio", "videos", "files", "batches"),
    ),
    Provider(
        # Every resource has a host of its own: https://RESOURCE.openai.azure.com/openai/v1, or in the older form
        # https://RESOURCE.openai.azure.com/openai/deployments?api-version=2024-10-21.
        name="azure-openai",
        base_url="",
        dialects=("openai-chat", "openai-responses"),
        auth="api-key",
        lists_models=False,
        flags=Flags(official=True, max_tokens_field="max_completion_tokens", developer_role=True),
        offers=("completions", "images", "audio", "videos", "files", "batches"),
    ),
    Provider(
        name="anthropic",
        base_url="https://api.anthropic.com",
        dialects=("anthropic",),
        auth="x-api-key",
        families=("claude-",),
        offers=(),
    ),
    Provider(
        name="gemini",
        base_url="https://generativelanguage.googleapis.com",
        dialects=("gemini",),
        auth="x-goog-api-key",
        families=("gemini-", "gemma-", "learnlm-", "imagen-", "veo-"),
        offers=(),
    ),
    Provider(
        name="gemini-openai",
        base_url="https://generativelanguage.googleapis.com/v1beta/openai",
        dialects=_COMPATIBLE,
        auth="bearer",
        flags=Flags(reasoning_outside=True),
        offers=("images", "files", "batches"),
    ),
    Provider(
        name="groq",
        base_url="https://api.groq.com/openai/v1",
        dialects=_COMPATIBLE,
        auth="bearer",
        offers=("audio", "files", "batches"),
    ),
    Provider(
        name="deepseek",
        base_url="https://api.deepseek.com",
        dialects=("openai-chat", "anthropic"),
        auth="bearer",
        flags=Flags(max_tokens_field="max_tokens", reasoning_field=True),
        families=("deepseek-",),
        base_urls={"anthropic": "https://api.deepseek.com/anthropic"},
        offers=("completions",),
    ),
    Provider(
        name="mistral",
        base_url="https://api.mistral.ai/v1",
        dialects=_COMPATIBLE,
        auth="bearer",
        flags=Flags(stream_options=False, max_tokens_field="max_tokens", tool_id_nine=True),
        families=(
            "mistral-",
            "ministral-",
            "magistral-",
            "codestral-",
            "devstral-",
            "pixtral-",
            "voxtral-",
            "open-mistral-",
            "open-mixtral-",
        ),
        offers=("moderations", "audio", "files"),
    ),
    Provider(
        name="xai",
        base_url="https://api.x.ai/v1",
        dialects=("openai-chat", "openai-responses"),
        auth="bearer",
        flags=Flags(reasoning_outside=True),
        families=("grok-",),
        offers=("images", "files"),
    ),
    Provider(
        name="openrouter",
        base_url="https://openrouter.ai/api/v1",
        dialects=("openai-chat", "openai-responses", "anthropic"),
        auth="bearer",
        flags=Flags(max_tokens_field="max_tokens", developer_role=True),
        probe="/v1/key",
        offers=("completions",),
    ),
    Provider(
        name="together",
        base_url="https://api.together.xyz/v1",
        dialects=_COMPATIBLE,
        auth="bearer",
        flags=_MAX_TOKENS,
        offers=("completions", "images", "audio", "rerank", "files", "batches"),
    ),
    Provider(
        name="fireworks",
        base_url="https://api.fireworks.ai/inference/v1",
        dialects=_COMPATIBLE,
        auth="bearer",
        flags=_MAX_TOKENS,
        families=("accounts/fireworks/",),
        offers=("completions",),
    ),
    Provider(
        name="cerebras",
        base_url="https://api.cerebras.ai/v1",
        dialects=_COMPATIBLE,
        auth="bearer",
        offers=("completions",),
    ),
    Provider(
        name="perplexity",
        base_url="https://api.perplexity.ai",
        dialects=_COMPATIBLE,
        auth="bearer",
        # Usage comes unasked, on every chunk.
        flags=Flags(stream_options=False, max_tokens_field="max_tokens"),
        families=("sonar",),
        versionless=True,
        offers=(),
    ),
    Provider(
        name="moonshot",
        base_url="https://api.moonshot.ai/v1",
        dialects=("openai-chat", "anthropic"),
        auth="bearer",
        flags=Flags(max_tokens_field="max_tokens", reasoning_field=True),
        families=("kimi-", "moonshot-"),
        base_urls={"anthropic": "https://api.moonshot.ai/anthropic"},
        offers=("files",),
    ),
    Provider(
        name="zai",
        base_url="https://api.z.ai/api/paas/v4",
        dialects=("openai-chat", "anthropic"),
        auth="bearer",
        flags=Flags(max_tokens_field="max_tokens", reasoning_field=True),
        families=("glm-",),
        base_urls={"anthropic": "https://api.z.ai/api/anthropic"},
        offers=(),
    ),
    Provider(
        name="alibaba",
        base_url="https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
        dialects=_COMPATIBLE,
        auth="bearer",
        flags=_MAX_TOKENS,
        families=("qwen", "qwq-", "qvq-"),
        offers=("files", "batches"),
    ),
    Provider(
        name="huggingface",
        base_url="https://router.huggingface.co/v1",
        dialects=_COMPATIBLE,
        auth="bearer",
        flags=_MAX_TOKENS,
        offers=(),
    ),
    Provider(
        name="ollama",
        base_url="http://127.0.0.1:11434/v1",
        dialects=_COMPATIBLE,
        auth="bearer",
        flags=Flags(max_tokens_field="max_tokens", developer_role=True),
        keyless=True,
        offers=("completions",),
    ),
    Provider(
        name="vllm",
        base_url="http://127.0.0.1:8000/v1",
        dialects=_COMPATIBLE,
        auth="bearer",
        keyless=True,
        offers=("completions", "rerank", "audio"),
    ),
    Provider(
        # Its own default port, 8080, is also ours: most accounts give a base_url.
        name="llamacpp",
        base_url="http://127.0.0.1:8080/v1",
        dialects=_COMPATIBLE,
        auth="bearer",
        flags=_MAX_TOKENS,
        keyless=True,
        offers=("completions", "rerank"),
    ),
)

BUILTIN: Mapping[str, Provider] = MappingProxyType({row.name: row for row in _ROWS})

ALIASES: Mapping[str, str] = MappingProxyType(
    {
        "google": "gemini",
        "x-ai": "xai",
        "mistralai": "mistral",
        "moonshotai": "moonshot",
        "z-ai": "zai",
        "qwen": "alibaba",
        "azure": "azure-openai",
    }
)
"""Provider names as people write them in ``provider/model``, and the row that each means."""

RESERVED = frozenset(
    {
        "v1",
        "v1beta",
        "api",
        "docs",
        "account",
        "healthz",
        "readyz",
        "metrics",
        "openapi.json",
    }
)
"""Names that are the first segment of a route and so cannot be a provider's."""
