"""A Responses request, read into the neutral form.

What only OpenAI's own servers can do (stored responses, background mode, stored prompts) is refused: this reader is for calls
that go to another dialect.
"""

from __future__ import annotations

from typing import Any

from proxy.dialects.conversation import EFFORTS, Conversation, Format, Reasoning, Text
from proxy.dialects.fields import (
    boolean,
    integer,
    mapping,
    needed_mapping,
    needed_string,
    needed_word,
    number,
    objects,
    string,
    strings,
    word,
)
from proxy.dialects.responses.items import read_input
from proxy.dialects.responses.tools import read_tool_choice, read_tools
from proxy.errors import GatewayError, Kind

ENCRYPTED = "reasoning.encrypted_content"
"""What ``include`` asks for to get the model's sealed reasoning, which this gateway always gives."""

_NATIVE_ONLY = ("previous_response_id", "conversation", "prompt")
_DROPPED = (
    "access_programs",
    "client_metadata",
    "context_management",
    "image",
    "max_tool_calls",
    "moderation",
    "prompt_cache_options",
    "prompt_cache_retention",
    "stream_options",
    "top_logprobs",
    "truncation",
)
"""Fields of this dialect that no other has, or that mean nothing without OpenAI's storage."""
_READ = (
    "background",
    "include",
    "input",
    "instructions",
    "max_output_tokens",
    "metadata",
    "model",
    "parallel_tool_calls",
    "prompt_cache_key",
    "reasoning",
    "safety_identifier",
    "service_tier",
    "store",
    "stream",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_p",
    "user",
)
_KNOWN = frozenset((*_NATIVE_ONLY, *_DROPPED, *_READ))


def read_request(body: dict[str, Any]) -> Conversation:
    """Return the conversation that ``body`` asks to continue.

    Raises GatewayError 400 for a field that is not what it must be, and for what only a native upstream can do.
    """
    _refuse_native_only(body)
    conversation = Conversation(stream=boolean(body, "stream") or False)
    given = conversation.given
    string(body, "model")
    instructions = string(body, "instructions")
    if instructions:
        conversation.system.append(Text(instructions))
    additional = read_input(conversation, body.get("input"))
    read_tools(conversation, [*objects(body, "tools"), *additional])
    _read_parameters(conversation, body)
    if body.get("tool_choice") is not None:
        conversation.tool_choice = read_tool_choice(body)
        given["tool_choice"] = "tool_choice"
    _read_include(conversation, body)
    given.update({name: name for name in _DROPPED if body.get(name) is not None})
    if any(value is not None and name not in _KNOWN for name, value in body.items()):
        given["unknown"] = "unknown"
    return conversation


def echo(body: dict[str, Any]) -> dict[str, Any]:
    """Return the request's fields that an answer repeats; ``body`` has been read by ``read_request`` before.

    Instructions and tools are left out: an agent's are tens of kilobytes, and would go out three times a stream.
    """
    given = {name: body[name] for name in ECHO_DEFAULTS if body.get(name) is not None}
    return {**ECHO_DEFAULTS, **given}


ECHO_DEFAULTS: dict[str, Any] = {
    "metadata": {},
    "parallel_tool_calls": True,
    "temperature": None,
    "tool_choice": "auto",
    "top_p": None,
}


def _refuse_native_only(body: dict[str, Any]) -> None:
    for name in _NATIVE_ONLY:
        if body.get(name) is not None:
            raise _native_only(name)
    if boolean(body, "background"):
        raise _native_only("background")


def _native_only(param: str) -> GatewayError:
    return GatewayError(
        Kind.UNSUPPORTED_PARAMETER,
        f"`{param}` needs an upstream that speaks the Responses API and keeps responses; this model has none.",
        param=param,
    )


def _read_parameters(conversation: Conversation, body: dict[str, Any]) -> None:
    given = conversation.given
    conversation.max_tokens = integer(body, "max_output_tokens", least=1)
    conversation.temperature = number(body, "temperature")
    conversation.top_p = number(body, "top_p")
    conversation.parallel = boolean(body, "parallel_tool_calls")
    conversation.service_tier = string(body, "service_tier")
    conversation.metadata = mapping(body, "metadata")
    conversation.cache_key = string(body, "prompt_cache_key")
    for name in ("user", "safety_identifier"):  # the newer name of the two wins
        user = string(body, name)
        if user:
            conversation.user = user
            given["user"] = name
    for neutral, name in _NAMES.items():
        if body.get(name) is not None:
            given[neutral] = name
    if boolean(body, "store"):
        given["store"] = "store"
    _read_reasoning(conversation, mapping(body, "reasoning") or {})
    _read_text(conversation, mapping(body, "text") or {})


_NAMES = {
    "max_tokens": "max_output_tokens",
    "temperature": "temperature",
    "top_p": "top_p",
    "parallel": "parallel_tool_calls",
    "service_tier": "service_tier",
    "metadata": "metadata",
    "cache_key": "prompt_cache_key",
}


def _read_reasoning(conversation: Conversation, reasoning: dict[str, Any]) -> None:
    effort = word(reasoning, "effort", EFFORTS, "reasoning")
    summary = string(reasoning, "summary", "reasoning")
    summary = summary or string(reasoning, "generate_summary", "reasoning")
    if effort is not None or summary is not None:
        conversation.reasoning = Reasoning(
            effort=effort, off=effort == "none", want_text="no" if summary is None else "yes"
        )
        conversation.wants_thinking_blocks = True
        conversation.given["reasoning"] = "reasoning"
    for name in ("mode", "context"):
        if reasoning.get(name) is not None:
            conversation.given[f"reasoning.{name}"] = f"reasoning.{name}"


def _read_text(conversation: Conversation, options: dict[str, Any]) -> None:
    conversation.verbosity = string(options, "verbosity", "text")
    if conversation.verbosity is not None:
        conversation.given["verbosity"] = "text.verbosity"
    form = mapping(options, "format", "text")
    if form is None:
        return
    path = "text.format"
    kind = needed_word(form, "type", ("text", "json_object", "json_schema"), path)
    if kind == "json_object":
        conversation.format = Format("json")
    elif kind == "json_schema":
        conversation.format = Format(
            "schema",
            name=needed_string(form, "name", path),
            description=string(form, "description", path),
            schema=needed_mapping(form, "schema", path),
            strict=boolean(form, "strict", path),
        )
    if kind != "text":
        conversation.given["format"] = path


def _read_include(conversation: Conversation, body: dict[str, Any]) -> None:
    for entry in strings(body, "include"):
        if entry == ENCRYPTED:
            conversation.wants_thinking_blocks = True
        else:
            conversation.given["include"] = "include"
