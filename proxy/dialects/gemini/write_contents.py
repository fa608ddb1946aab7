"""What was said, as ``contents`` for a Gemini upstream.

Rules of the API that hold here:

1. Contents start with the user, and the roles take turns.
2. From generation 3 on the first call of a model's turn must carry the signature it was made with; for
   calls of another model, or a lost signature, there is a word that passes. Calls and results have ids.
3. The results of a turn's calls come in one content, in the order of the calls.
"""

from __future__ import annotations

import re
from typing import Any

import orjson

from proxy.dialects import envelope
from proxy.dialects.conversation import (
    Audio,
    Call,
    Conversation,
    File,
    Image,
    Part,
    Redacted,
    Refusal,
    Result,
    Text,
    Thinking,
    Turn,
)
from proxy.dialects.depth import loads
from proxy.dialects.gemini.media import guess_type
from proxy.dialects.gemini.seal import SKIP
from proxy.dialects.names import Names, flat_name
from proxy.dialects.repair import anchored, merged
from proxy.errors import unsupported

Json = dict[str, Any]

SIGNED_GENERATION = 3
"""From here on calls have ids and signatures, and results may hold images."""

_LINKS = ("https://", "http://", "gs://")
_FILES = "https://generativelanguage.googleapis.com/"
"""Google knows the type of what was uploaded to it."""
_VIDEO = re.compile(r"https?://(?:(?:www|m)\.)?(?:youtube\.com|youtu\.be)/", re.IGNORECASE)


def write_contents(
    conversation: Conversation, names: Names, generation: int, system: str = ""
) -> list[Json]:
    """Return the turns of ``conversation``; ``system`` goes before what the user says first."""
    writer = _Writer(names, signed=generation >= SIGNED_GENERATION)
    turns = anchored(merged([_said_by_user(turn) for turn in conversation.turns]))
    contents: list[Json] = [
        {"role": "model", "parts": writer.model(turn)}
        if turn.role == "assistant"
        else {"role": "user", "parts": writer.user(turn)}
        for turn in turns
    ]
    contents = [content for content in contents if content["parts"]]
    if system:
        contents[0]["parts"].insert(0, {"text": f"{system}\n\n"})
    return contents


def _said_by_user(turn: Turn) -> Turn:
    """Return a system turn in the middle of a conversation as what it is here: words of the user."""
    if turn.role != "system":
        return turn
    said = "\n\n".join(part.text for part in turn.parts if isinstance(part, Text))
    return Turn("user", [Text(f"<system>\n{said}\n</system>")])


class _Writer:
    def __init__(self, names: Names, *, signed: bool) -> None:
        self._names = names
        self._signed = signed
        self._calls: dict[str, tuple[int, str]] = {}
        """Of the last model turn: call id → its place among the calls, and the name it was sent with."""

    def model(self, turn: Turn) -> list[Json]:
        self._calls = {}
        parts: list[Json] = []
        seal: str | None = None
        for part in turn.parts:
            match part:
                case Text() | Refusal():
                    if part.text:
                        parts.append({"text": part.text})
                case Thinking():
                    seal = envelope.open_for("gem", part.signature) or seal
                case Redacted():
                    pass
                case Call():
                    seal = envelope.open_for("gem", part.signature) or seal
                    if seal is None and self._signed and not self._calls:
                        seal = SKIP
                    parts.append(self._call(part, seal))
                    seal = None
                case _:
                    parts += self._media(part)
        return parts

    def _call(self, call: Call, seal: str | None) -> Json:
        name = self._names.to_upstream(flat_name(call.namespace, call.name))
        self._calls.setdefault(call.id, (len(self._calls), name))
        function: Json = {"name": name, "args": _args(call)}
        if self._signed:
            function = {"id": call.id, **function}
        return {"functionCall": function, **({"thoughtSignature": seal} if seal else {})}

    def user(self, turn: Turn) -> list[Json]:
        results = [part for part in turn.parts if isinstance(part, Result)]
        results.sort(key=lambda result: self._called(result)[0])
        shown: list[Json] = []
        parts = [self._result(result, shown) for result in results]
        parts += shown
        for part in turn.parts:
            if isinstance(part, Text | Refusal):
                if part.text:
                    parts.append({"text": part.text})
            elif not isinstance(part, Result):
                parts += self._media(part)
        return parts

    def _called(self, result: Result) -> tuple[int, str]:
        return self._calls.get(result.call_id, (len(self._calls), result.name or "unknown"))

    def _result(self, result: Result, shown: list[Json]) -> Json:
        """Return a result; what it holds beside text goes to ``shown`` where results hold text only."""
        said = "\n".join(part.text for part in result.content if isinstance(part, Text))
        response = {"error": said or "Error"} if result.is_error else {"output": said}
        function: Json = {"name": self._called(result)[1], "response": response}
        attached = [p for part in result.content for p in self._media(part)]
        if self._signed:
            function = {"id": result.call_id, **function}
            if attached:
                function["parts"] = attached
        elif attached:
            kind = "image" if all(isinstance(p, Text | Image) for p in result.content) else "file"
            shown.append({"text": f"[{kind} returned by tool call {result.call_id}]"})
            shown += attached
        return {"functionResponse": function}

    def _media(self, part: Part) -> list[Json]:
        match part:
            case Image():
                return [_media_part(part, "image/jpeg")]
            case File():
                return [_media_part(part, None)]
            case Audio():
                return [{"inlineData": {"mimeType": f"audio/{part.format}", "data": part.data}}]
            case _:
                return []


def _media_part(part: Image | File, usual: str | None) -> Json:
    """Return a picture or document; one that is only linked is fetched by Google, by its own rules."""
    if part.data is not None:
        mime = part.mime or _guess(part) or usual or "application/octet-stream"
        return {"inlineData": {"mimeType": mime, "data": part.data}}
    if part.url is not None and part.url.startswith(_LINKS):
        mime_of_link = part.mime or _type_of_link(part.url) or _guess(part)
        if mime_of_link is None and not part.url.startswith(_FILES):
            mime_of_link = usual
        link = {"fileUri": part.url}
        return {"fileData": {**link, "mimeType": mime_of_link} if mime_of_link else link}
    raise unsupported(
        part.path,
        f"`{part.path}`: a Gemini model takes data or a link; it cannot open this reference.",
    )


def _type_of_link(url: str) -> str | None:
    return "video/*" if _VIDEO.match(url) else None


def _guess(part: Image | File) -> str | None:
    """Return the media type that a name or an address suggests."""
    name = part.url if isinstance(part, Image) else part.name or part.url
    return guess_type(name) if name else None


def _args(call: Call) -> Json:
    if call.custom:
        return {"input": call.arguments}
    if not call.arguments.strip():
        return {}
    try:
        args = loads(call.arguments)
    except orjson.JSONDecodeError:
        args = None
    return args if isinstance(args, dict) else {"_raw_arguments": call.arguments}
