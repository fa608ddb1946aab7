"""The neutral form as a chat request, for OpenAI and for every server that is compatible with it.

Compatible servers differ in what else they take, and many refuse a field that they do not know. So fields of OpenAI's own are
for OpenAI only, and texts are sent as one string, which all of them take.
"""

from __future__ import annotations

from proxy.dialects import capabilities
from proxy.dialects.chat.messages import write_messages
from proxy.dialects.conversation import Conversation, Effort, Format, Tool
from proxy.dialects.fields import Object
from proxy.dialects.identity import identity_fields
from proxy.dialects.names import Names, flat_name, name_for
from proxy.dialects.reply import Upstream, Written
from proxy.errors import invalid

MOST_STOPS = 4
MOST_CHOICES = 8
"""Alternative answers that one request may ask for: each is paid in full."""

_COMPATIBLE_EFFORTS: tuple[Effort, ...] = ("none", "low", "medium", "high")
"""What servers other than OpenAI's understand."""
_SAMPLING = ("temperature", "top_p", "presence_penalty", "frequency_penalty", "logit_bias")
_NO_ARGUMENTS: Object = {"type": "object", "properties": {}}
_FREE_TEXT: Object = {
    "type": "object",
    "properties": {"input": {"type": "string"}},
    "required": ["input"],
}
_JSON_SENTENCE = "Respond only with one valid JSON object."


def write_request(conversation: Conversation, upstream: Upstream) -> Written:
    """Return the request for ``upstream``; raises GatewayError 400 for content that chat has no form for.

    ``conversation`` has been repaired, and notes what was rendered of it.
    """
    names = Names.of(
        "openai-chat", (flat_name(tool.namespace, tool.name) for tool in conversation.tools)
    )
    body: Object = {"model": upstream.model}
    if conversation.stream:
        body["stream"] = True
        if upstream.flags.stream_options:
            body["stream_options"] = {"include_usage": True}
    body |= _limits(conversation, upstream)
    body |= _reasoning_and_sampling(conversation, upstream)
    body |= _format(conversation, upstream)
    body |= _tools(conversation, names)
    if upstream.flags.official:
        body |= identity_fields(conversation)
        if conversation.service_tier is not None:
            body["service_tier"] = conversation.service_tier
            conversation.carry("service_tier")
    body["messages"] = write_messages(conversation, upstream, names)
    if _needs_the_word_json(conversation, upstream):
        # Last, so that what stands before it stays the prefix of the next request.
        body["messages"].append({"role": "system", "content": _JSON_SENTENCE})
    return Written(
        path="/v1/chat/completions",
        body=body,
        names=names,
        dropped=conversation.dropped,
        weakened=conversation.weakened,
        stream=conversation.stream,
    )


def _limits(conversation: Conversation, upstream: Upstream) -> Object:
    flags = upstream.flags
    fields: Object = {}
    if conversation.max_tokens is not None:
        name = flags.max_tokens_field
        if name is None:
            name = "max_completion_tokens" if flags.official else "max_tokens"
        fields[name] = conversation.max_tokens
    if conversation.n > MOST_CHOICES:
        param = conversation.given.get("n", "n")
        raise invalid(param, f"`{param}`: found {conversation.n}, expected at most {MOST_CHOICES}.")
    if conversation.n != 1:
        fields["n"] = conversation.n
    stop = [sequence for sequence in conversation.stop if sequence]
    if stop:
        fields["stop"] = stop[:MOST_STOPS]
    if conversation.seed is not None:
        fields["seed"] = conversation.seed
    conversation.carry("stream", "max_tokens", "n", "stop", "seed")
    if len(stop) > MOST_STOPS:
        conversation.weaken("stop")
    return fields


def _reasoning_and_sampling(conversation: Conversation, upstream: Upstream) -> Object:
    """Return the effort, and the sampling parameters where the model takes them: OpenAI's do not while they reason."""
    row = capabilities.openai(upstream.model)
    official = upstream.flags.official
    accepted = row.efforts or (() if official else _COMPATIBLE_EFFORTS)
    if official:
        accepted = tuple(effort for effort in accepted if effort != "max")  # Responses only
    fields: Object = {}
    wanted = _wanted_effort(conversation)
    if wanted in {None, "none"} or accepted:
        conversation.carry("reasoning")
    else:
        conversation.weaken("reasoning")
    if wanted == "none" and upstream.flags.reasoning_field:
        # DeepSeek, Z.ai and Moonshot know no such effort; they have a switch.
        fields["thinking"] = {"type": "disabled"}
    elif wanted is not None and accepted:
        wanted = capabilities.snap(wanted, accepted)
        fields["reasoning_effort"] = wanted
    if official and row.efforts and (wanted or row.default) != "none":
        return fields
    for name in _SAMPLING:
        value = getattr(conversation, name)
        if value is not None:
            fields[name] = value
    conversation.carry(*_SAMPLING)
    return fields


def _wanted_effort(conversation: Conversation) -> Effort | None:
    """Return the effort of the last system turn that sets one, else the request's own."""
    for turn in reversed(conversation.turns):
        if turn.effort is not None:
            return turn.effort
    if conversation.reasoning is None:
        return None
    return capabilities.wanted_effort(conversation.reasoning)


# The form of the answer.


def _format(conversation: Conversation, upstream: Upstream) -> Object:
    asked = conversation.format
    conversation.carry("format")
    fields: Object = {}
    if asked.kind == "json":
        fields["response_format"] = {"type": "json_object"}
    elif asked.kind == "schema":
        fields["response_format"] = {"type": "json_schema", "json_schema": _schema(asked)}
    reasons = upstream.flags.official and capabilities.openai(upstream.model).efforts
    if conversation.verbosity is not None and reasons:
        fields["verbosity"] = conversation.verbosity
        conversation.carry("verbosity")
    return fields


def _schema(asked: Format) -> Object:
    written: Object = {"name": name_for("openai-chat", asked.name or "output")}
    if asked.description is not None:
        written["description"] = asked.description
    written["schema"] = asked.schema
    if asked.strict is not None:
        written["strict"] = asked.strict
    return written


def _needs_the_word_json(conversation: Conversation, upstream: Upstream) -> bool:
    """OpenAI refuses ``json_object`` where no message holds the word."""
    if conversation.format.kind != "json" or not upstream.flags.official:
        return False
    texts = [text.text for text in conversation.system]
    texts += [getattr(part, "text", "") for turn in conversation.turns for part in turn.parts]
    return not any("json" in text.lower() for text in texts)


# Tools.


def _tools(conversation: Conversation, names: Names) -> Object:
    """Return the tools that the model may see, and how it may choose among them.

    The choice is left out where there are no tools, since OpenAI refuses it then.
    """
    choice = conversation.tool_choice
    allowed = choice.allowed if choice is not None else None
    tools = [
        _tool(tool, names.to_upstream(flat_name(tool.namespace, tool.name)))
        for tool in conversation.tools
        if not tool.deferred and _is_allowed(tool, allowed)
    ]
    conversation.carry("tools", "parallel")
    if not tools:
        conversation.choose_of_nothing()
        return {}
    conversation.carry("tool_choice")
    fields: Object = {"tools": tools}
    if choice is not None:
        fields["tool_choice"] = (
            {"type": "function", "function": {"name": names.to_upstream(choice.name or "")}}
            if choice.mode == "tool"
            else choice.mode
        )
    if conversation.parallel is not None:
        fields["parallel_tool_calls"] = conversation.parallel
    return fields


def _is_allowed(tool: Tool, allowed: tuple[str, ...] | None) -> bool:
    return (
        allowed is None or tool.name in allowed or flat_name(tool.namespace, tool.name) in allowed
    )


def _tool(tool: Tool, name: str) -> Object:
    function: Object = {"name": name}
    description = tool.description or ""
    if tool.grammar is not None:
        syntax, definition = tool.grammar
        description += f"\n\nThe input must match this {syntax} grammar:\n{definition}"
    if description:
        function["description"] = description.lstrip("\n")
    function["parameters"] = _FREE_TEXT if tool.custom else (tool.parameters or _NO_ARGUMENTS)
    if tool.strict:
        function["strict"] = True
    return {"type": "function", "function": function}
