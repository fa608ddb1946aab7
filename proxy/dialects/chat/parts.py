"""The content of a chat message, a string or a list of parts, in the neutral form."""

from __future__ import annotations

import re
from collections.abc import Callable

from proxy.dialects.conversation import Audio, File, Image, Json, Refusal, Text
from proxy.dialects.fields import (
    TEXT_OR_PARTS,
    Object,
    entries,
    join,
    mapping,
    needed_mapping,
    needed_string,
    shown,
    string,
)
from proxy.errors import invalid, unsupported

Content = Text | Image | File | Audio | Refusal

_DATA_URL = re.compile(r"data:([^;,]*)((?:;[^;,]*)*),", re.IGNORECASE)
_LONGEST_HEAD = 256
"""Characters in which the head of a data URL must end: the rest is megabytes of base64."""


def read_content(message: Object, at: str) -> list[Content]:
    """Return the parts of a message's ``content``; none where it is null, absent or an empty string."""
    content = message.get("content")
    if content is None:
        return []
    if isinstance(content, str):
        return [Text(content)] if content else []
    parts = entries(content, join(at, "content"), TEXT_OR_PARTS)
    read = [_part(part, where) for where, part in parts]
    return [part for part in read if part is not None]


def read_cache(holder: Object, at: str) -> Json | None:
    """Return where a prompt cache may end, as Anthropic says it; OpenAI's ``prompt_cache_breakpoint`` means the same."""
    cache = mapping(holder, "cache_control", at)
    if cache is not None:
        return cache
    mark = mapping(holder, "prompt_cache_breakpoint", at)
    if mark is None:
        return None
    # OpenAI's longer lifetime is twelve hours, Anthropic's is one.
    longer = string(mark, "ttl", join(at, "prompt_cache_breakpoint")) == "12h"
    return {"type": "ephemeral", "ttl": "1h"} if longer else {"type": "ephemeral"}


def _part(part: Object, at: str) -> Content | None:
    kind = needed_string(part, "type", at)
    read = _READERS.get(kind)
    if read is None:
        raise unsupported(
            join(at, "type"), f"`{at}`: parts of the type {shown(kind)} are not supported."
        )
    return read(part, at)


def _text(part: Object, at: str) -> Text:
    return Text(needed_string(part, "text", at), read_cache(part, at))


def _refusal(part: Object, at: str) -> Refusal:
    return Refusal(needed_string(part, "refusal", at))


def _image(part: Object, at: str) -> Image:
    where = join(at, "image_url")
    held = part.get("image_url")
    # Mistral takes the address itself, too.
    url = (
        held
        if isinstance(held, str)
        else needed_string(needed_mapping(part, "image_url", at), "url", where)
    )
    detail = string(held, "detail", where) if isinstance(held, dict) else None
    where = where if isinstance(held, str) else join(where, "url")
    image = Image(detail=detail, cache=read_cache(part, at), path=where)
    if url[:5].lower() == "data:":
        image.mime, image.data = _data_url(url, where)
    else:
        image.url = url
    return image


def _file(part: Object, at: str) -> File:
    file = needed_mapping(part, "file", at)
    at = join(at, "file")
    made = File(
        file_id=string(file, "file_id", at),
        name=string(file, "filename", at),
        cache=read_cache(part, at),
        path=at,
    )
    if made.file_id:
        return made
    where = made.path = join(at, "file_data")
    data = needed_string(file, "file_data", at)
    if data[:5].lower() == "data:":
        made.mime, made.data = _data_url(data, where)
    elif data.startswith(("https://", "http://")):
        made.url = data
    else:
        raise invalid(
            where, f"`{where}`: expected a data URL such as data:application/pdf;base64,…"
        )
    return made


def _audio(part: Object, at: str) -> Audio:
    audio = needed_mapping(part, "input_audio", at)
    where = join(at, "input_audio")
    return Audio(
        needed_string(audio, "data", where), needed_string(audio, "format", where), path=where
    )


def _thinking(part: Object, at: str) -> None:
    """Mistral's reasoning inside the content has no seal, so nobody wants it back."""


def _data_url(url: str, at: str) -> tuple[str, str]:
    """Return the media type and the base64 data of a data URL."""
    head = _DATA_URL.match(url[:_LONGEST_HEAD])
    if head is None or not head[1] or not head[2].lower().endswith(";base64"):
        raise invalid(at, f"`{at}`: expected a data URL such as data:image/png;base64,…")
    return head[1].lower(), url[head.end() :]


_READERS: dict[str, Callable[[Object, str], Content | None]] = {
    "text": _text,
    "refusal": _refusal,
    "image_url": _image,
    "file": _file,
    "input_audio": _audio,
    "thinking": _thinking,
}
