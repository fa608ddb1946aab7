"""The conversation of a request to Anthropic's Messages API, with the rules for its order."""

from __future__ import annotations

import re
from itertools import groupby

from proxy.demo.node import Node
from proxy.demo.opaque import is_ours, sign
from proxy.demo.picture import Attachment, attachment
from proxy.demo.prompt import Turn, joined
from proxy.demo.refusal import Refused

TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_TOOL_ID = re.compile(r"[a-zA-Z0-9_-]+")
_MEDIA_TYPES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
# Blocks of tools that the provider runs itself: history that the demo lets stand.
_SERVER_BLOCKS = frozenset({"server_tool_use", "mcp_tool_use", "search_result", "container_upload"})
_SYSTEM_NOTES = frozenset({"tool_addition", "tool_removal"})


def read_system(root: Node) -> tuple[Turn, ...]:
    raw = root.get("system")
    if raw is None or isinstance(raw, str):
        return (Turn("system", raw),) if raw else ()
    texts = [_text(block) for block in root.nodes("system")]
    return (Turn("system", joined(texts)),)


def _text(block: Node) -> str:
    if block.need("type") != "text":
        raise block.invalid("type", "only text blocks are allowed here")
    text = block.need("text")
    if not text:
        raise Refused(400, f"{block.path}: text content blocks must be non-empty")
    if not text.strip():
        raise Refused(400, f"{block.path}: text content blocks must contain non-whitespace text")
    return text


def read_turns(root: Node) -> list[Turn]:
    messages = root.nodes("messages")
    if not messages:
        raise Refused(400, "at least one message is required", "messages")
    _check_roles(messages)
    for message in messages:
        if not message.get("content"):
            raise Refused(400, f"{message.path}: all messages must have non-empty content")
    _check_pairs(messages)
    return [_turn(message) for message in messages]


def _check_roles(messages: list[Node]) -> None:
    for message in messages:
        if message.word("role", {"user", "assistant", "system"}) is None:
            raise message.missing("role")
    roles = [message.need("role") for message in messages]
    if roles[0] != "user":
        raise Refused(400, 'first message must use the "user" role', "messages")
    before_and_after = zip(roles, [*roles[2:], "assistant"], strict=False)
    for role, (before, after) in zip(roles[1:], before_and_after, strict=False):
        if role == "system" and (before != "user" or after != "assistant"):
            raise Refused(
                400,
                "a system message must follow a user turn and precede an assistant turn",
                "messages",
            )
    if roles[-1] == "assistant":
        raise Refused(
            400,
            "This model does not support assistant message prefill. "
            "The conversation must end with a user message.",
        )


def _blocks(message: Node) -> list[Node]:
    content = message.get("content")
    if isinstance(content, str):
        return [Node({"type": "text", "text": content}, message.at("content"))]
    return message.nodes("content")


def _check_pairs(messages: list[Node]) -> None:
    """The turn after tool calls begins with their results, and results stand nowhere else."""
    waiting: set[str] = set()
    talk = (message for message in messages if message.get("role") != "system")
    for role, group in groupby(talk, lambda message: message.need("role")):
        blocks = [block for message in group for block in _blocks(message)]
        leading: set[str] = set()
        for block in blocks:
            if block.get("type") != "tool_result":
                break
            leading.add(block.need("tool_use_id"))
        if unanswered := waiting - leading:
            raise Refused(
                400,
                f"{blocks[0].path}: `tool_use` ids were found without `tool_result` blocks "
                f"immediately after: {', '.join(sorted(unanswered))}. Each `tool_use` block must "
                "have a corresponding `tool_result` block in the next message.",
            )
        for block in blocks:
            if block.get("type") == "tool_result" and block.need("tool_use_id") not in waiting:
                raise Refused(
                    400,
                    f"{block.path}: unexpected `tool_use_id` found in `tool_result` blocks: "
                    f"{block.need('tool_use_id')}. Each `tool_result` block must have a "
                    "corresponding `tool_use` block in the previous message.",
                )
        calls = [block.need("id") for block in blocks if block.get("type") == "tool_use"]
        if len(calls) != len(set(calls)):
            raise Refused(400, "`tool_use` ids must be unique", "messages")
        waiting = set(calls) if role == "assistant" else set()


def _turn(message: Node) -> Turn:
    role = message.need("role")
    texts: list[str] = []
    attachments: list[Attachment] = []
    calls: list[tuple[str, str]] = []
    results: list[tuple[str, str]] = []
    for block in _blocks(message):
        match role, block.need("type"):
            case _, "text":
                texts.append(_text(block))
            case "user", "image" | "document":
                attachments.append(_source(block))
            case "user", "tool_result":
                results.append((block.need("tool_use_id"), _result(block)))
            case "assistant", "tool_use":
                calls.append(_tool_use(block))
            case "assistant", "thinking":
                _check_signature(block)
            case "assistant", "redacted_thinking":
                block.need("data")
            case "user" | "assistant", _ if _is_server_block(block):
                pass
            case "system", kind if kind in _SYSTEM_NOTES:
                pass
            case _, other:
                raise Refused(
                    400, f"Input tag '{other}' is not allowed for role {role}", block.path
                )
    return Turn(
        "user" if role == "user" else "assistant" if role == "assistant" else "system",
        joined(texts),
        tuple(attachments),
        tuple(calls),
        tuple(results),
    )


def _is_server_block(block: Node) -> bool:
    kind = block.need("type")
    return kind in _SERVER_BLOCKS or kind.endswith("_tool_result")


def _tool_use(block: Node) -> tuple[str, str]:
    tool_id, name = block.need("id"), block.need("name")
    for value, pattern, field in ((tool_id, _TOOL_ID, "id"), (name, TOOL_NAME, "name")):
        if pattern.fullmatch(value) is None:
            raise Refused(
                400, f"String should match pattern '^{pattern.pattern}$'", block.at(field)
            )
    block.need_node("input")
    return tool_id, name


def _check_signature(block: Node) -> None:
    signature, text = block.need("signature"), block.need("thinking")
    if not is_ours(signature) or (text and sign(text) != signature):
        raise Refused(400, f"{block.path}: Invalid `signature` in `thinking` block")


def _result(block: Node) -> str:
    content = block.get("content")
    if content is None or isinstance(content, str):
        return content or ""
    texts = []
    for part in block.nodes("content"):
        match part.need("type"):
            case "text":
                texts.append(_text(part))
            case "image" | "document":
                texts.append(_source(part).describe())
            case "search_result":
                texts.append(part.need("title"))
            case "tool_reference":
                texts.append(part.need("tool_name"))
            case other:
                raise Refused(400, f"Input tag '{other}' is not allowed in a result", part.path)
    return joined(texts)


def _source(block: Node) -> Attachment:
    source = block.need_node("source")
    match source.need("type"):
        case "base64":
            media_type = source.need("media_type")
            if block.get("type") == "image" and media_type not in _MEDIA_TYPES:
                allowed = ", ".join(sorted(_MEDIA_TYPES))
                raise Refused(400, f"Input should be one of {allowed}", source.at("media_type"))
            found = attachment(media_type, source.need("data"))
            if found is None:
                raise Refused(400, "Input should be valid base64", source.at("data"))
            return found
        case "url":
            if not source.need("url").startswith("https://"):
                raise Refused(400, "Only HTTPS URLs are supported", source.at("url"))
            return Attachment("image", url=source.need("url"))
        case "file":
            return Attachment("file", url=source.need("file_id"))
        case "text":
            return Attachment("text/plain", len(source.need("data").encode()))
        case other:
            raise Refused(400, f"Input tag '{other}' is not a source", source.at("type"))
