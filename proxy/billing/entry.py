"""One request as it is kept: a row whose columns the journal, the ledger and its readers share.

Rules that hold here:

1. A row never holds a prompt, a completion or a key: a key is its digest and its name.
2. Columns are only ever added, at the end: a journal may be replayed by a later version than the one that wrote it.
3. Money is whole micro-USD, a moment is whole microseconds since 1970 in UTC, a duration is whole microseconds.
"""

from __future__ import annotations

from collections.abc import Mapping

import orjson

Value = str | int | None
Row = tuple[Value, ...]
"""Values in the order of ``COLUMNS``; ``bool`` counts as an integer."""

_TYPES = frozenset((str, int, bool, type(None)))

COLUMNS = (
    "request_id",
    "answer_id",
    "started",
    "key_hash",
    "key_name",
    "team",
    "wallet_id",
    "route",
    "dialect",
    "model_asked",
    "model",
    "upstream_model",
    "provider",
    "account",
    "status",
    "error_type",
    "stream",
    "attempts",
    # These eleven are a proxy.usage.Usage, field by field.
    "input_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "cache_write_1h_tokens",
    "output_tokens",
    "reasoning_tokens",
    "audio_input_tokens",
    "audio_output_tokens",
    "searches",
    "service_tier",
    "estimated",
    "cost_micro",
    "price_micro",
    "duration_us",
    "queue_us",
    "connect_us",
    "first_content_us",
    "upstream_request_id",
    "client_request_id",
    "trace_id",
    "key_drawn_micro",
    "team_drawn_micro",
)

REQUEST_ID = COLUMNS.index("request_id")
ANSWER_ID = COLUMNS.index("answer_id")
STARTED = COLUMNS.index("started")
KEY_HASH = COLUMNS.index("key_hash")
KEY_NAME = COLUMNS.index("key_name")
TEAM = COLUMNS.index("team")
ACCOUNT = COLUMNS.index("account")
COST = COLUMNS.index("cost_micro")
PRICE = COLUMNS.index("price_micro")
KEY_DRAWN = COLUMNS.index("key_drawn_micro")
TEAM_DRAWN = COLUMNS.index("team_drawn_micro")
STATUS = COLUMNS.index("status")
DURATION = COLUMNS.index("duration_us")
ERROR_TYPE = COLUMNS.index("error_type")

SETTLED = b"S"
"""A request that has ended: what it used, and what it costs."""
PROGRESS = b"P"
"""A request that runs, as it would be settled if nothing more were heard of it."""


def encode(kind: bytes, row: Row) -> bytes:
    """Return ``row`` as a record of the journal. Raises TypeError for what is no JSON: lone surrogates, huge integers."""
    return kind + orjson.dumps(row)


def decode(record: bytes) -> tuple[bytes, Row]:
    """Return the kind and the row of a record; columns that its writer did not know are None. Raises ValueError."""
    row = orjson.loads(record[1:])
    if (
        not isinstance(row, list)
        or len(row) > len(COLUMNS)
        or not _TYPES.issuperset(map(type, row))
    ):
        raise ValueError(f"found a record that is no row of {len(COLUMNS)} columns or fewer")
    missing = len(COLUMNS) - len(row)
    return record[:1], (*row, *(None,) * missing) if missing else tuple(row)


def cleaned(row: Row) -> Row:
    """Return ``row`` with what is no text in its strings replaced, as bytes of headers that are no UTF-8 may be."""
    return tuple(
        value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
        for value in row
    )


def interrupted(row: Row) -> Row:
    """Return the row of a request that was running when the gateway died."""
    changed = list(row)
    changed[ERROR_TYPE] = "interrupted"
    return tuple(changed)


def named(row: Row) -> Mapping[str, Value]:
    """Return ``row`` by the names of its columns."""
    return dict(zip(COLUMNS, row, strict=True))
