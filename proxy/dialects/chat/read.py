"""A chat client's request, in the neutral form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from proxy.dialects.chat.history import read_messages
from proxy.dialects.chat.tools import read_tool_choice, read_tools
from proxy.dialects.conversation import EFFORTS, Conversation, Format, Reasoning, WebSearch
from proxy.dialects.fields import (
    Object,
    array,
    boolean,
    integer,
    mapping,
    needed_mapping,
    needed_string,
    number,
    string,
    strings,
    word,
    wrong_word,
)
from proxy.errors import unsupported

# The client's name of a parameter, the neutral one, and what it must be.
_PLAIN: tuple[tuple[str, str, Callable[[Object, str], Any]], ...] = (
    ("temperature", "temperature", number),
    ("top_p", "top_p", number),
    ("top_k", "top_k", integer),
    ("seed", "seed", integer),
    ("presence_penalty", "presence_penalty", number),
    ("frequency_penalty", "frequency_penalty", number),
    ("logit_bias", "logit_bias", mapping),
    ("logprobs", "logprobs", boolean),
    ("top_logprobs", "top_logprobs", integer),
    ("verbosity", "verbosity", string),
    ("prompt_cache_key", "cache_key", string),
    ("service_tier", "service_tier", string),
    ("metadata", "metadata", mapping),
    ("parallel_tool_calls", "parallel", boolean),
    ("cache_control", "cache", mapping),
)
# Parameters that nobody else has.
_ONLY_HERE = ("prediction", "store", "moderation", "prompt_cache_options", "prompt_cache_retention")
# What the functions below look at.
_STRUCTURED = (
    "model",
    "messages",
    "stream",
    "stream_options",
    "max_tokens",
    "max_completion_tokens",
    "n",
    "stop",
    "tools",
    "functions",
    "tool_choice",
    "function_call",
    "response_format",
    "reasoning_effort",
    "reasoning",
    "thinking",
    "web_search_options",
    "user",
    "safety_identifier",
    "modalities",
    "audio",
)
_KNOWN = frozenset({*(name for name, _, _ in _PLAIN), *_ONLY_HERE, *_STRUCTURED})
_THINKING_TYPES = ("enabled", "adaptive", "auto", "disabled", "between_tools")
_LOCATION = ("city", "country", "region", "timezone")


def read_request(body: dict[str, Any]) -> Conversation:
    """Return the conversation that ``body`` asks to be continued; raises GatewayError 400 with the path of what is wrong."""
    conversation = Conversation()
    given = conversation.given
    for name, neutral, look in _PLAIN:
        if body.get(name) is not None:
            setattr(conversation, neutral, look(body, name))
            given[neutral] = name
    for name in _ONLY_HERE:
        if body.get(name) is not None:
            given[name] = name
    if any(name not in _KNOWN and value is not None for name, value in body.items()):
        given["unknown"] = "unknown"
    _read_limits(body, conversation)
    _read_stream(body, conversation)
    _read_user(body, conversation)
    _read_format(body, conversation)
    _read_reasoning(body, conversation)
    _read_web_search(body, conversation)
    _refuse_speech(body)
    read_tools(body, conversation)
    read_tool_choice(body, conversation)
    read_messages(body, conversation)
    return conversation


def _read_limits(body: Object, conversation: Conversation) -> None:
    for name in ("max_completion_tokens", "max_tokens"):
        limit = integer(body, name, least=1)
        if limit is not None and conversation.max_tokens is None:
            conversation.max_tokens = limit
            conversation.given["max_tokens"] = name
    n = integer(body, "n", least=1)
    if n is not None and n != 1:
        conversation.n = n
        conversation.given["n"] = "n"
    stop = body.get("stop")
    conversation.stop = [stop] if isinstance(stop, str) else strings(body, "stop")
    if conversation.stop:
        conversation.given["stop"] = "stop"


def _read_stream(body: Object, conversation: Conversation) -> None:
    conversation.stream = bool(boolean(body, "stream"))
    options = mapping(body, "stream_options") or {}
    conversation.include_usage = bool(boolean(options, "include_usage", "stream_options"))
    if boolean(options, "include_obfuscation", "stream_options") is not None:
        name = "stream_options.include_obfuscation"
        conversation.given[name] = name


def _read_user(body: Object, conversation: Conversation) -> None:
    for name in ("safety_identifier", "user"):
        user = string(body, name)
        if user and conversation.user is None:
            conversation.user = user
            conversation.given["user"] = name


def _read_format(body: Object, conversation: Conversation) -> None:
    asked = mapping(body, "response_format")
    if asked is None:
        return
    kind = needed_string(asked, "type", "response_format")
    if kind == "text":
        return
    conversation.given["format"] = "response_format"
    if kind == "json_object":
        conversation.format = Format("json")
    elif kind == "json_schema":
        at = "response_format.json_schema"
        told = needed_mapping(asked, "json_schema", "response_format")
        schema = mapping(told, "schema", at)
        conversation.format = Format(
            kind="json" if schema is None else "schema",
            name=string(told, "name", at),
            description=string(told, "description", at),
            schema=schema,
            strict=boolean(told, "strict", at),
        )
    else:
        raise wrong_word("response_format.type", kind, ("text", "json_object", "json_schema"))


def _read_reasoning(body: Object, conversation: Conversation) -> None:
    """Read OpenAI's effort and two conventions of others: ``reasoning`` (OpenRouter) and ``thinking`` (Anthropic and many)."""
    wanted = Reasoning()
    told_as = None
    if body.get("reasoning_effort") is not None:
        told_as = "reasoning_effort"
        _take_effort(body, told_as, "", wanted)
    reasoning = mapping(body, "reasoning")
    if reasoning is not None:
        told_as = "reasoning"
        _read_reasoning_object(reasoning, wanted)
    thinking = mapping(body, "thinking")
    if thinking is not None:
        told_as = "thinking"
        _read_thinking_object(thinking, wanted)
    if told_as is not None:
        if wanted.off:
            wanted.want_text = "no"
        elif wanted.effort == "none":
            wanted.effort = None  # one of the others asked for thinking after all
        conversation.reasoning = wanted
        conversation.wants_thinking_blocks = True
        conversation.given["reasoning"] = told_as


def _read_reasoning_object(reasoning: Object, wanted: Reasoning) -> None:
    _take_effort(reasoning, "effort", "reasoning", wanted)
    budget = integer(reasoning, "max_tokens", "reasoning", least=1)
    if budget is not None:
        wanted.budget, wanted.off = budget, False
    enabled = boolean(reasoning, "enabled", "reasoning")
    if enabled is False:
        wanted.off = True
    elif enabled and wanted.effort is None and wanted.budget is None:
        wanted.adaptive = True
    wanted.want_text = "no" if boolean(reasoning, "exclude", "reasoning") else "yes"


def _read_thinking_object(thinking: Object, wanted: Reasoning) -> None:
    kind = needed_string(thinking, "type", "thinking")
    budget = integer(thinking, "budget_tokens", "thinking", least=1)
    display = string(thinking, "display", "thinking")
    match kind:
        case "disabled" | "between_tools":
            wanted.off, wanted.kind = True, kind
            return
        case "enabled" if budget is not None:
            wanted.budget, wanted.kind = budget, kind
        case "adaptive":
            wanted.adaptive, wanted.kind = True, kind
        case "enabled" | "auto":
            wanted.adaptive = True
        case _:
            raise wrong_word("thinking.type", kind, _THINKING_TYPES)
    wanted.off = False
    wanted.display = display
    wanted.want_text = "no" if display == "omitted" else "yes"


def _take_effort(holder: Object, key: str, at: str, wanted: Reasoning) -> None:
    effort = word(holder, key, EFFORTS, at)
    if effort is not None:
        wanted.off = effort == "none"
        wanted.effort = effort


def _read_web_search(body: Object, conversation: Conversation) -> None:
    asked = mapping(body, "web_search_options")
    if asked is None:
        return
    at = "web_search_options"
    user_location = mapping(asked, "user_location", at) or {}
    approximate = mapping(user_location, "approximate", f"{at}.user_location") or {}
    location = {
        key: value
        for key in _LOCATION
        if (value := string(approximate, key, f"{at}.user_location.approximate"))
    }
    size = string(asked, "search_context_size", at)
    conversation.web_search = WebSearch(location or None, size)
    conversation.given["web_search"] = at
    if location:
        conversation.given["web_search.location"] = f"{at}.user_location"
    if size is not None:
        conversation.given["web_search.context_size"] = f"{at}.search_context_size"


def _refuse_speech(body: Object) -> None:
    """Refuse spoken answers: no other dialect has them, and a silent loss would change what the answer is."""
    if any(modality != "text" for modality in array(body, "modalities")):
        raise unsupported(
            "modalities", 'This model answers in text only: `modalities` must be ["text"].'
        )
    if body.get("audio") is not None:
        raise unsupported("audio", "This model answers in text only: `audio` is not supported.")
