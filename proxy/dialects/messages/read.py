"""A /v1/messages request as a ``Conversation``, for an upstream that speaks another dialect."""

from __future__ import annotations

from proxy.dialects.conversation import EFFORTS, Conversation, Format, Reasoning
from proxy.dialects.fields import (
    Object,
    boolean,
    integer,
    mapping,
    needed_mapping,
    needed_objects,
    needed_word,
    number,
    objects,
    string,
    strings,
    word,
)
from proxy.dialects.messages.read_messages import History, read_messages, read_system
from proxy.dialects.messages.read_tools import read_tool_choice, read_tools
from proxy.dialects.strict import is_strict
from proxy.errors import GatewayError, Kind

DROPPED = (
    "billing_policy",
    "container",
    "context_management",
    "diagnostics",
    "fallback_credit_token",
    "fallbacks",
    "inference_geo",
    "speed",
    "task_budget",
    "thread",
    "user_profile_id",
    "workspace_id",
)
"""Fields that only Anthropic's own API can honour, and that an answer is no worse without."""
REFUSED = ("compaction", "mcp_servers")
"""Fields without which the answer would be another one."""
READ = frozenset(
    {
        "cache_control",
        "max_tokens",
        "messages",
        "metadata",
        "model",
        "output_config",
        "output_format",
        "service_tier",
        "stop_sequences",
        "stream",
        "system",
        "temperature",
        "thinking",
        "tool_choice",
        "tools",
        "top_k",
        "top_p",
        # What other carriers of this API put into the body instead of a header.
        "anthropic_beta",
        "anthropic_version",
        "betas",
    }
)

_TIERS = {"auto": "auto", "standard_only": "default"}
"""Service tiers in the neutral words, which are OpenAI's."""
_THINKING_TYPES = ("enabled", "adaptive", "disabled", "between_tools")
FORMAT_NAME = "output"
"""The name of an output format: OpenAI wants one, Anthropic has none."""


def read_request(body: Object) -> Conversation:
    """Return the neutral form of ``body``; raises GatewayError 400 that names the field that is not what it must be."""
    conversation = Conversation(
        max_tokens=integer(body, "max_tokens", least=1),
        temperature=number(body, "temperature"),
        top_p=number(body, "top_p"),
        top_k=integer(body, "top_k", least=0),
        stop=strings(body, "stop_sequences"),
        stream=bool(boolean(body, "stream")),
        cache=mapping(body, "cache_control"),
    )
    _read_messages(body, conversation)
    _read_reasoning(body, conversation)
    _read_format(body, conversation)
    _read_metadata(body, conversation)
    tier = string(body, "service_tier")
    conversation.service_tier = _TIERS.get(tier) if tier is not None else None
    conversation.given |= {
        name: told
        for name, told in _SIMPLE.items()
        if body.get(told) is not None and body[told] != []
    }
    _note_foreign_fields(body, conversation)
    return conversation


_SIMPLE = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "stop": "stop_sequences",
    "cache": "cache_control",
    "service_tier": "service_tier",
}
"""Optional parameters whose loss is told by their own name."""


def _read_messages(body: Object, conversation: Conversation) -> None:
    history = History()
    history.system = read_system(body.get("system"), "system")
    read_messages(needed_objects(body, "messages"), history)
    conversation.system = history.system
    conversation.turns = history.turns
    if history.lost_server_tools:
        conversation.given["server_tools"] = "server_tool_use"
    read_tools(objects(body, "tools"), history, conversation)
    choice = mapping(body, "tool_choice")
    if choice is not None:
        read_tool_choice(choice, conversation)


def _read_reasoning(body: Object, conversation: Conversation) -> None:
    thinking = mapping(body, "thinking")
    config = mapping(body, "output_config") or {}
    effort = word(config, "effort", EFFORTS, "output_config")
    for turn in conversation.turns:
        # Each change holds from its message on, so for the answer the last one counts.
        effort = turn.effort or effort
    if thinking is None:
        if effort is not None:
            conversation.given["reasoning"] = "output_config.effort"
            conversation.reasoning = Reasoning(effort=effort)
        return
    conversation.given["reasoning"] = "thinking"
    kind = needed_word(thinking, "type", _THINKING_TYPES, "thinking")
    shown = string(thinking, "display", "thinking") != "omitted"
    if kind in ("disabled", "between_tools"):
        conversation.reasoning = Reasoning(off=True, want_text="no")
        return
    conversation.reasoning = Reasoning(
        effort=effort,
        budget=integer(thinking, "budget_tokens", "thinking", least=1)
        if kind == "enabled"
        else None,
        want_text="yes" if shown else "no",
        adaptive=kind == "adaptive",
    )


def _read_format(body: Object, conversation: Conversation) -> None:
    """Read the wanted form of the answer; ``output_format`` is the field's name of the beta, still sent by some."""
    config = mapping(body, "output_config") or {}
    path, wanted = "output_config.format", mapping(config, "format", "output_config")
    if wanted is None:
        path, wanted = "output_format", mapping(body, "output_format")
    if wanted is not None:
        needed_word(wanted, "type", ("json_schema",), path)
        schema = needed_mapping(wanted, "schema", path)
        conversation.format = Format(
            "schema", name=FORMAT_NAME, schema=schema, strict=is_strict(schema)
        )
        conversation.given["format"] = path
    if config.get("task_budget") is not None:
        conversation.given["task_budget"] = "output_config.task_budget"
    if any(
        key not in ("effort", "format", "task_budget")
        for key, value in config.items()
        if value is not None
    ):
        conversation.given["unknown"] = "unknown"


def _read_metadata(body: Object, conversation: Conversation) -> None:
    metadata = mapping(body, "metadata") or {}
    conversation.user = string(metadata, "user_id", "metadata")
    if conversation.user is not None:
        conversation.user_is_opaque = True
        conversation.given["user"] = "metadata.user_id"
    if any(key != "user_id" for key, value in metadata.items() if value is not None):
        conversation.given["unknown"] = "unknown"


def _note_foreign_fields(body: Object, conversation: Conversation) -> None:
    for name in REFUSED:
        if body.get(name):
            raise GatewayError(
                Kind.UNSUPPORTED_PARAMETER,
                f"found `{name}`, which only an Anthropic upstream can honour; expected a request without it",
                param=name,
            )
    for name in DROPPED:
        if body.get(name) is not None:
            conversation.given[name] = name
    if any(
        value is not None
        for key, value in body.items()
        if key not in READ and key not in DROPPED and key not in REFUSED
    ):
        conversation.given["unknown"] = "unknown"
