"""The content of a chat message, a string or a list of parts, in the neutral form."""

from __future__ import annotations

import re
from collections.abc import Callable

from proxy.dialects.chat.fields import (
    Object,
    json_object,
    needed_object,
    needed_string,
    objects,
    path,
    string,
    wrong,
)
from proxy.dialects.conversation import Audio, File, Image, Json, Refusal, Text
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
    if not isinstance(content, list):
        raise wrong(path(at, "content"), content, "a string or an array of parts")
    read = [_part(part, where) for where, part in objects(message, "content", at)]
    return [part for part in read if part is not None]


def read_cache(holder: Object, at: str) -> Json | None:
    """Return where a prompt cache may end, as Anthropic says it; OpenAI's ``prompt_cache_breakpoint`` means the same."""
    cache = json_object(holder, "cache_control", at)
    if cache is not None:
        return cache
    mark = json_object(holder, "prompt_cache_breakpoint", at)
    if mark is None:
        return None
    # OpenAI's longer lifetime is twelve hours, Anthropic's is one.
    longer = string(mark, "ttl", path(at, "prompt_cache_breakpoint")) == "12h"
    return {"type": "ephemeral", "ttl": "1h"} if longer else {"type": "ephemeral"}


def _part(part: Object, at: str) -> Content | None:
    kind = needed_string(part, "type", at)
    read = _READERS.get(kind)
    if read is None:
        raise unsupported(
            path(at, "type"), f'`{at}`: parts of the type "{kind[:40]}" are not supported.'
        )
    return read(part, at)


def _text(part: Object, at: str) -> Text:
    return Text(needed_string(part, "text", at), read_cache(part, at))


def _refusal(part: Object, at: str) -> Refusal:
    return Refusal(needed_string(part, "refusal", at))


def _image(part: Object, at: str) -> Image:
    where = path(at, "image_url")
    held = part.get("image_url")
    # Mistral takes the address itself, too.
    url = (
        held
        if isinstance(held, str)
        else needed_string(needed_object(part, "image_url", at), "url", where)
    )
    detail = string(held, "detail", where) if isinstance(held, dict) else None
    where = where if isinstance(held, str) else path(where, "url")
    image = Image(detail=detail, cache=read_cache(part, at), path=where)
    if url[:5].lower() == "data:":
        image.mime, image.data = _data_url(url, where)
    else:
        image.url = url
    return image


def _file(part: Object, at: str) -> File:
    file = needed_object(part, "file", at)
    at = path(at, "file")
    made = File(
        file_id=string(file, "file_id", at),
        name=string(file, "filename", at),
        cache=read_cache(part, at),
        path=at,
    )
    if made.file_id:
        return made
    where = made.path = path(at, "file_data")
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
    audio = needed_object(part, "input_audio", at)
    where = path(at, "input_audio")
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
