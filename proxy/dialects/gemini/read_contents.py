"""What was said, from a Gemini client's ``contents``: turns, and the calls and results in them.

A call may come without an id: it then gets one that depends on its name and on how many calls of that
name came before it, so that the next request finds the same. A result without an id answers the
oldest open call of its name.

Clients that streamed an answer send it back in the pieces in which it came, so the model's pieces are
put together again here.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable
from itertools import groupby
from typing import Any

import orjson

from proxy.dialects import envelope
from proxy.dialects.conversation import (
    Audio,
    Call,
    File,
    Image,
    Part,
    Redacted,
    Result,
    Role,
    Text,
    Thinking,
    Turn,
)
from proxy.dialects.gemini.fields import Fields
from proxy.dialects.gemini.media import guess_type
from proxy.dialects.gemini.seal import read_seal, standard_base64
from proxy.dialects.names import hashed_id
from proxy.errors import invalid

_ROLES: dict[str | None, Role] = {
    "user": "user",
    "model": "assistant",
    "function": "user",
    None: "user",
}
_AUDIO_FORMATS = {"mpeg": "mp3", "x-wav": "wav", "wave": "wav", "vnd.wave": "wav", "x-aac": "aac"}
_SERVER_SIDE = ("executableCode", "codeExecutionResult", "toolCall", "toolResponse")
"""What Google's own tools did at its place; another provider's model was not there."""


def read_system(content: Fields | None) -> list[Text]:
    """Return the texts of ``systemInstruction``."""
    texts = []
    for part in content.objects("parts") if content is not None else ():
        text = part.string("text")
        if text is None:
            raise part.wrong("text", "a text; system instructions have no other parts")
        texts.append(Text(text))
    return texts


class Contents:
    """Reads contents one after the other, knowing the calls that were made so far."""

    def __init__(self) -> None:
        self.lost: set[str] = set()
        """Kinds of parts that have no neutral form."""
        self._made: dict[str, int] = defaultdict(int)
        self._open: set[str] = set()
        self._in_order: dict[str, deque[str]] = defaultdict(deque)

    def turn(self, content: Fields) -> Turn:
        """Return the turn that ``content`` is."""
        word = content.string("role")
        role = _ROLES.get(word or None)
        if role is None:
            raise content.wrong("role", '"user" or "model"')
        parts: list[Part] = []
        for part in content.objects("parts"):
            self._read(part, parts)
            if role == "user" and "functionCall" in part.values:
                raise invalid(
                    f"{part.path}.functionCall",
                    f'`{part.path}`: found a functionCall of the user, expected it in a content of the role "model".',
                )
        if role == "user":
            # A seal is the model's, and has no words that could be lost.
            parts = [part for part in parts if not isinstance(part, Redacted)]
        return Turn(role, parts)

    def _read(self, part: Fields, parts: list[Part]) -> None:
        values = part.values
        for name, read in _READERS:
            if name in values:
                read(self, part, parts)
                return
        lost = next((name for name in _SERVER_SIDE if name in values), None)
        if lost is not None:
            self.lost.add(lost)
        elif "thoughtSignature" not in values and "thought" not in values:
            raise invalid(
                part.path,
                f"`{part.path}`: found no part that is known, expected text, inlineData, fileData, "
                "functionCall or functionResponse.",
            )

    def _text(self, part: Fields, parts: list[Part]) -> None:
        text = part.string("text") or ""
        if not part.flag("thought"):
            parts.append(Text(text))
            return
        seal = read_seal(part.string("thoughtSignature") or "")
        parts += envelope.open_blocks(seal) or [Thinking(text, seal)]

    def _inline(self, part: Fields, parts: list[Part]) -> None:
        parts.append(_inline_data(part))

    def _file(self, part: Fields, parts: list[Part]) -> None:
        data = part.needed_object("fileData")
        uri = data.string("fileUri")
        if not uri:
            raise data.wrong("fileUri", "a URI")
        mime = data.string("mimeType") or guess_type(uri)
        if mime is not None and mime.startswith("image/"):
            parts.append(Image(url=uri, mime=mime, path=data.path))
        else:
            name = data.string("displayName")
            parts.append(File(url=uri, mime=mime, name=name, path=data.path))

    def _call(self, part: Fields, parts: list[Part]) -> None:
        call = part.needed_object("functionCall")
        name = call.string("name")
        if not name:
            raise call.wrong("name", "the name of a function")
        args = call.mapping("args")
        call_id = call.string("id") or hashed_id(name, str(self._made[name]))
        self._made[name] += 1
        self._open.add(call_id)
        self._in_order[name].append(call_id)
        seal = read_seal(part.string("thoughtSignature") or "")
        blocks = envelope.open_blocks(seal)
        if blocks:
            parts += blocks
            seal = ""
        arguments = "" if args is None else orjson.dumps(args).decode()
        parts.append(Call(call_id, name, arguments, seal))

    def _result(self, part: Fields, parts: list[Part]) -> None:
        result = part.needed_object("functionResponse")
        name = result.string("name") or ""
        said, is_error = _said(result.mapping("response") or {})
        content: list[Text | Image | File | Audio] = [Text(said)]
        attached = result.objects("parts")
        content += [_inline_data(blob) for blob in attached if "inlineData" in blob.values]
        call_id = self._answered(result.string("id"), name)
        parts.append(Result(call_id, content, is_error, name=name or None))

    def _answered(self, given: str | None, name: str) -> str:
        """Return the id of the call that a result of ``name`` answers; it is answered afterwards."""
        if given and given in self._open:
            self._open.discard(given)
            return given
        waiting = self._in_order[name]
        while waiting:
            oldest = waiting.popleft()
            if oldest in self._open:
                self._open.discard(oldest)
                return oldest
        return given or name


_Reader = Callable[[Contents, Fields, list[Part]], None]
_READERS: tuple[tuple[str, _Reader], ...] = (
    ("functionCall", Contents._call),  # noqa: SLF001 - the class's own table
    ("functionResponse", Contents._result),  # noqa: SLF001
    ("inlineData", Contents._inline),  # noqa: SLF001
    ("fileData", Contents._file),  # noqa: SLF001
    ("text", Contents._text),  # noqa: SLF001
)


def whole_turns(turns: list[Turn]) -> list[Turn]:
    """Return ``turns`` with the pieces of one answer of the model as one turn."""
    out: list[Turn] = []
    for is_model, run in groupby(turns, key=lambda turn: turn.role == "assistant"):
        if is_model:
            parts = [part for turn in run for part in turn.parts]
            out.append(Turn("assistant", _joined(_sealed_first(parts))))
        else:
            out += run
    return out


def _sealed_first(parts: list[Part]) -> list[Part]:
    """Return ``parts`` with the sealed thinking that came on a call where the model had thought it.

    That is before what it said on the way to the call, in place of the copy without a seal that the
    client was shown. Providers that seal their thinking refuse it in another place.
    """
    out: list[Part] = []
    since: list[Part] = []
    for part in parts:
        since.append(part)
        if isinstance(part, Call):
            sealed = [p for p in since if _is_sealed(p)]
            out += sealed
            out += [p for p in since if not sealed or not isinstance(p, Thinking | Redacted)]
            since = []
    return out + since


def _is_sealed(part: Part) -> bool:
    return isinstance(part, Redacted) or (isinstance(part, Thinking) and part.signature != "")


def _joined(parts: list[Part]) -> list[Part]:
    out: list[Part] = []
    for kind, run in groupby(parts, key=_kind):
        if kind is Text:
            text = "".join(part.text for part in run if isinstance(part, Text))
            if text.strip(" "):  # one space is what an answer without text is given
                out.append(Text(text))
        elif kind is Thinking:
            out.append(Thinking("".join(p.text for p in run if isinstance(p, Thinking))))
        else:
            out += run
    return out


def _kind(part: Part) -> type[Part] | None:
    """Return the kind of a part that is joined with its like."""
    if isinstance(part, Text) or (isinstance(part, Thinking) and not part.signature):
        return type(part)
    return None


def _inline_data(part: Fields) -> Image | File | Audio:
    blob = part.needed_object("inlineData")
    data = standard_base64(blob.string("data") or "")
    mime = blob.string("mimeType")
    if not mime:
        raise blob.wrong("mimeType", "a media type such as image/png")
    kind, _, subtype = mime.partition(";")[0].strip().lower().partition("/")
    if kind == "image":
        return Image(data=data, mime=mime, path=blob.path)
    if kind == "audio":
        return Audio(data, _AUDIO_FORMATS.get(subtype, subtype), path=blob.path)
    return File(data=data, mime=mime, name=blob.string("displayName"), path=blob.path)


def _said(response: dict[str, Any]) -> tuple[str, bool]:
    """Return what a function returned as text, and whether it failed.

    ``output`` and ``error`` are the documented keys, ``result`` is what the SDKs write.
    """
    if len(response) == 1:
        ((key, value),) = response.items()
        if key in {"output", "result", "error"}:
            text = value if isinstance(value, str) else orjson.dumps(value).decode()
            return text, key == "error"
    return orjson.dumps(response).decode() if response else "", False
