"""The messages of a /v1/messages request as turns, and what they say about tools on the way."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import cast

from proxy.dialects.conversation import EFFORTS, Call, Part, Result, Role, Text, Turn
from proxy.dialects.fields import (
    Object,
    boolean,
    join,
    mapping,
    needed_mapping,
    needed_string,
    needed_word,
    shown,
    word,
)
from proxy.dialects.messages.read_blocks import (
    MEDIA,
    RESULT,
    assistant_part,
    blocks,
    cache_of,
    read_content,
    reader_of,
    text,
)
from proxy.errors import GatewayError, Kind

BILLING_HEADER = "x-anthropic-billing-header:"
"""Claude Code's first system block starts so. It changes from call to call, which spoils caches, and is not for the model."""

_ROLES: tuple[Role, ...] = ("user", "assistant", "system")
_SYSTEM_BLOCKS = ("text", "tool_addition", "tool_removal")
_FAILED = "Error"
"""What a tool that failed without a word is taken to have said: upstreams refuse empty results."""


@dataclass(slots=True)
class History:
    """What the messages hold: the leading system texts, the turns, and how the set of tools changes along the way.

    ``named_tools`` says of each tool that the messages name whether it is on offer at their end; ``definitions`` are tools
    that a message brought along, each with its path.
    """

    system: list[Text] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)
    named_tools: dict[str, bool] = field(default_factory=dict)
    definitions: list[tuple[str, Object]] = field(default_factory=list)
    lost_server_tools: bool = False


def read_system(value: object, path: str) -> list[Text]:
    """Return the texts of the ``system`` field, without the client's billing header."""
    if value is None:
        return []
    if isinstance(value, str):
        return [Text(value)]
    texts = []
    for at, block in blocks(value, path):
        texts.append(reader_of(block, at, _TEXT_ONLY)(block, at))
    return [one for one in texts if not one.text.startswith(BILLING_HEADER)]


def read_messages(messages: Iterable[tuple[str, Object]], history: History) -> None:
    """Read ``messages`` into ``history``; system messages before anybody spoke join the system texts."""
    for path, message in messages:
        match needed_word(message, "role", _ROLES, path):
            case "user":
                history.turns.append(Turn("user", _user_parts(message, path, history)))
            case "assistant":
                history.turns.append(Turn("assistant", _assistant_parts(message, path, history)))
            case _:
                _read_system_message(message, path, history)


def _read_system_message(message: Object, path: str, history: History) -> None:
    config = mapping(message, "output_config", path) or {}
    effort = word(config, "effort", EFFORTS, join(path, "output_config"))
    texts = _system_texts(message.get("content"), f"{path}.content", history)
    if not history.turns:
        history.system += texts
        texts = []
    if texts or effort is not None:
        history.turns.append(Turn("system", cast(list[Part], texts), effort))


def _system_texts(content: object, path: str, history: History) -> list[Text]:
    """Return the texts of a system message, which may also say nothing, or add and remove tools."""
    if content is None:
        return []
    if isinstance(content, str):
        return [Text(content)]
    texts = []
    for at, block in blocks(content, path):
        if needed_word(block, "type", _SYSTEM_BLOCKS, at) == "text":
            texts.append(text(block, at))
        else:
            _change_tools(block, at, history)
    return texts


def _change_tools(block: Object, path: str, history: History) -> None:
    at = f"{path}.tool"
    tool = needed_mapping(block, "tool", path)
    kind = needed_string(tool, "type", at)
    if kind == "tool_definition":
        definition = needed_mapping(tool, "definition", at)
        history.definitions.append((f"{at}.definition", definition))
        name = needed_string(definition, "name", f"{at}.definition")
    elif kind == "tool_reference":
        name = needed_string(tool, "name", at)
    else:
        raise GatewayError(
            Kind.TOOL_NOT_SUPPORTED,
            f"found {shown(kind)}, which only an Anthropic upstream knows; expected tool_reference or tool_definition",
            param=f"{at}.type",
        )
    history.named_tools[name] = block["type"] == "tool_addition"


def _user_parts(message: Object, path: str, history: History) -> list[Part]:
    content = message.get("content")
    path = f"{path}.content"
    if isinstance(content, str):
        return [Text(content)]
    parts: list[Part] = []
    for at, block in blocks(content, path):
        if block.get("type") == "tool_result":
            parts.append(_result(block, at, history))
        else:
            parts += reader_of(block, at, MEDIA)(block, at)
    return parts


def _result(block: Object, path: str, history: History) -> Result:
    content = block.get("content")
    result = Result(
        needed_string(block, "tool_use_id", path),
        [] if content is None else read_content(content, f"{path}.content", RESULT),
        is_error=bool(boolean(block, "is_error", path)),
        cache=cache_of(block, path),
        in_parts=isinstance(content, list),
    )
    for entry in content if isinstance(content, list) else ():
        if entry["type"] == "tool_reference":
            history.named_tools[entry["tool_name"]] = True
    if result.is_error and not any(
        not isinstance(part, Text) or part.text for part in result.content
    ):
        result.content = [Text(_FAILED)]
    return result


def _assistant_parts(message: Object, path: str, history: History) -> list[Part]:
    content = message.get("content")
    path = f"{path}.content"
    if isinstance(content, str):
        return [Text(content)]
    parts: list[Part] = []
    for at, block in blocks(content, path):
        read = assistant_part(block, at)
        if read is None:
            history.lost_server_tools = True
            continue
        parts += read
        for part in read:
            if isinstance(part, Call):
                history.named_tools.setdefault(part.name, True)
    return parts


_TEXT_ONLY = {"text": text}
