"""A ``Conversation`` as a request of Anthropic's Messages API."""

from __future__ import annotations

import hashlib
import re
from typing import Any

from proxy.dialects import capabilities
from proxy.dialects.capabilities import Claude
from proxy.dialects.conversation import Conversation
from proxy.dialects.messages.write_messages import write_messages, write_system
from proxy.dialects.messages.write_reasoning import Asked, write_thinking
from proxy.dialects.messages.write_tools import write_format, write_tools
from proxy.dialects.names import Names, call_ids_for, flat_name
from proxy.dialects.reply import LONGEST_UNSTREAMED, Upstream, Written

PATH = "/v1/messages"
MAX_BREAKPOINTS = 4
"""Cache markers that the API takes in one request."""

_TIERS = {"auto": "auto", "default": "standard_only"}
_MAX_USER_ID = 256
_PERSONAL = re.compile(r"[\w.+-]+@[\w-]+(\.[\w-]+)+|\+?[\d\s().-]{7,}")
"""An e-mail address or a telephone number: the API refuses to be told either."""


def write_request(conversation: Conversation, upstream: Upstream) -> Written:
    """Return ``conversation``, whose turns are in order, as a call of ``upstream``'s model.

    Raises GatewayError 400 for content that the API has no form for.
    """
    row = capabilities.claude(upstream.model)
    max_tokens = min(conversation.max_tokens or row.default_output, row.max_output)
    stream = conversation.stream or max_tokens > LONGEST_UNSTREAMED
    names = Names.of(
        "anthropic", (flat_name(tool.namespace, tool.name) for tool in conversation.tools)
    )
    thinking = write_thinking(conversation, row, max_tokens)
    tools = write_tools(conversation, row, names, thinks_by_budget=thinking.by_budget)
    output_format = write_format(conversation, row, tools, thinks_by_budget=thinking.by_budget)
    system = [*write_system(conversation.system), *tools.instructions]
    messages = write_messages(
        conversation.turns,
        names,
        call_ids_for("anthropic", conversation),
        mid_system=row.mid_system,
        prefill=row.prefill and not thinking.by_budget,
    )
    body: dict[str, Any] = {"model": upstream.model}
    if stream:
        body["stream"] = True
    body["max_tokens"] = max_tokens
    if system:
        body["system"] = system
    body["messages"] = messages
    if tools.tools:
        body["tools"] = tools.tools
    if tools.choice is not None:
        body["tool_choice"] = tools.choice
    if thinking.thinking is not None:
        body["thinking"] = thinking.thinking
    output_config = {"effort": thinking.effort, "format": output_format}
    if any(output_config.values()):
        body["output_config"] = {
            key: value for key, value in output_config.items() if value is not None
        }
    _write_sampling(conversation, row, thinking, body)
    _write_rest(conversation, body)
    _limit_breakpoints(body)
    return Written(
        path=PATH,
        body=body,
        names=names,
        dropped=conversation.dropped,
        weakened=conversation.weakened,
        json_tool=tools.json_tool,
        stream=stream,
    )


def _write_sampling(
    conversation: Conversation, row: Claude, thinking: Asked, body: dict[str, Any]
) -> None:
    """Write temperature and its kin where the model takes them, which none does while it thinks."""
    if not row.sampling or thinking.active:
        return
    if conversation.temperature is not None:
        # Other dialects go up to 2.
        body["temperature"] = min(max(conversation.temperature, 0.0), 1.0)
        conversation.carry("temperature")
    elif conversation.top_p is not None:
        # Beside a temperature these models refuse it.
        body["top_p"] = conversation.top_p
        conversation.carry("top_p")
    if conversation.top_k is not None:
        body["top_k"] = conversation.top_k
        conversation.carry("top_k")


def _write_rest(conversation: Conversation, body: dict[str, Any]) -> None:
    stop = [one for one in conversation.stop if one.strip()]
    if stop:
        body["stop_sequences"] = stop
    if conversation.user is not None:
        body["metadata"] = {"user_id": _user_id(conversation.user)}
    tier = _TIERS.get(conversation.service_tier or "")
    if tier is not None:
        body["service_tier"] = tier
        conversation.carry("service_tier")
    if conversation.cache is not None:
        body["cache_control"] = dict(conversation.cache)
    conversation.carry(
        "max_tokens", "stream", "include_usage", "stop", "user", "safety_identifier", "cache"
    )


def _user_id(user: str) -> str:
    """Return ``user``, or its hash if it names a person or is too long."""
    if len(user) <= _MAX_USER_ID and not _PERSONAL.fullmatch(user):
        return user
    return hashlib.sha256(user.encode("utf-8", "replace")).hexdigest()


def _limit_breakpoints(body: dict[str, Any]) -> None:
    """Keep the last cache markers in the order in which the API reads a prompt: the later ones cover the earlier."""
    blocks = [*body.get("tools", ()), *body.get("system", ())]
    for message in body["messages"]:
        for block in message["content"]:
            if isinstance(block.get("content"), list):
                blocks += block["content"]
            blocks.append(block)
    marked = [block for block in blocks if "cache_control" in block]
    # The one at the top of the request counts too.
    surplus = len(marked) + ("cache_control" in body) - MAX_BREAKPOINTS
    for block in marked[: max(surplus, 0)]:
        del block["cache_control"]
