"""The paths of OpenAI's API whose calls are passed on: what each takes, whose it is, and what it makes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from proxy.billing.objects import Kind
from proxy.providers import Offer

Takes = Literal["json", "form", "either", "nothing"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Surface:
    """One method of one path."""

    offer: Offer
    takes: Takes = "nothing"
    named: bool = False
    """The request names a model; where it is ``free`` the provider has one of its own."""
    inherits: bool = False
    """It is made of a video, which says of which model it was made."""
    makes: Kind | None = None
    """What its answer is the first word of."""
    lists: Kind | None = None
    deletes: bool = False
    of: Kind | None = None
    """What the id in the path is one of."""
    raw: bool = False
    """Its answer is somebody's file, whatever it is labelled."""
    free: bool = False
    """Nothing of it is paid for."""
    ends: bool = False
    """Its events say when they are over."""


_Verbs = dict[str, Surface]

PATHS: dict[str, _Verbs] = {
    "/v1/completions": {"POST": Surface(offer="completions", takes="json", named=True, ends=True)},
    "/v1/moderations": {"POST": Surface(offer="moderations", takes="json", named=True, free=True)},
    "/v1/rerank": {"POST": Surface(offer="rerank", takes="json", named=True)},
    "/v1/images/generations": {"POST": Surface(offer="images", takes="json", named=True)},
    "/v1/images/edits": {"POST": Surface(offer="images", takes="either", named=True)},
    "/v1/images/variations": {"POST": Surface(offer="images", takes="form", named=True)},
    "/v1/audio/speech": {"POST": Surface(offer="audio", takes="json", named=True)},
    "/v1/audio/transcriptions": {"POST": Surface(offer="audio", takes="form", named=True)},
    "/v1/audio/translations": {"POST": Surface(offer="audio", takes="form", named=True)},
    "/v1/files": {
        "POST": Surface(offer="files", takes="form", makes=Kind.file, free=True),
        "GET": Surface(offer="files", lists=Kind.file, free=True),
    },
    "/v1/files/{id}": {
        "GET": Surface(offer="files", of=Kind.file, free=True),
        "DELETE": Surface(offer="files", of=Kind.file, deletes=True, free=True),
    },
    "/v1/files/{id}/content": {"GET": Surface(offer="files", of=Kind.file, raw=True, free=True)},
    "/v1/batches": {
        "POST": Surface(offer="batches", takes="json", makes=Kind.batch, free=True),
        "GET": Surface(offer="batches", lists=Kind.batch, free=True),
    },
    "/v1/batches/{id}": {"GET": Surface(offer="batches", of=Kind.batch, free=True)},
    "/v1/batches/{id}/cancel": {
        "POST": Surface(offer="batches", takes="json", of=Kind.batch, free=True)
    },
    "/v1/videos": {
        "POST": Surface(offer="videos", takes="either", named=True, makes=Kind.video),
        "GET": Surface(offer="videos", lists=Kind.video, free=True),
    },
    "/v1/videos/edits": {
        "POST": Surface(offer="videos", takes="either", named=True, inherits=True, makes=Kind.video)
    },
    "/v1/videos/extensions": {
        "POST": Surface(offer="videos", takes="either", named=True, inherits=True, makes=Kind.video)
    },
    "/v1/videos/{id}": {
        "GET": Surface(offer="videos", of=Kind.video, free=True),
        "DELETE": Surface(offer="videos", of=Kind.video, deletes=True, free=True),
    },
    "/v1/videos/{id}/content": {"GET": Surface(offer="videos", of=Kind.video, raw=True, free=True)},
    "/v1/videos/{id}/remix": {
        "POST": Surface(
            offer="videos", takes="json", of=Kind.video, inherits=True, makes=Kind.video
        )
    },
}
"""By the path with its id taken out, and by method."""

_ID = r"([A-Za-z0-9][A-Za-z0-9._\-]{0,255})"
_OF_AN_OBJECT = [
    (re.compile(re.escape(path).replace(r"\{id\}", _ID)), path) for path in PATHS if "{id}" in path
]
_BEGINNINGS = ("/v1/files/", "/v1/batches/", "/v1/videos/")


def template(path: str) -> str | None:
    """Return the entry of ``PATHS`` that a path belongs to; None if it is none of these."""
    if path in PATHS:
        return path
    if path.startswith(_BEGINNINGS):
        for pattern, found in _OF_AN_OBJECT:
            if pattern.fullmatch(path):
                return found
    return None


def object_in(path: str, form: str) -> str | None:
    """Return the id that stands in ``path``, whose template is ``form``."""
    for pattern, found in _OF_AN_OBJECT:
        if found == form:
            match = pattern.fullmatch(path)
            return match[1] if match is not None else None
    return None
