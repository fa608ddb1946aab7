"""Rows to keep books of."""

from __future__ import annotations

from typing import Any

from proxy.billing.entry import COLUMNS, Row

STARTED = 1_795_000_000_000_000
"""2026-11-18T13:06:40Z, in microseconds."""


def row(number: int = 0, **values: Any) -> Row:
    """Return the row of a request that went well; ``values`` are columns by name."""
    usual: dict[str, Any] = {
        "request_id": f"req_{number:026d}",
        "answer_id": f"chatcmpl-{number}",
        "started": STARTED + number,
        "key_hash": "a" * 64,
        "key_name": "tester",
        "wallet_id": "key:tester",
        "route": "/v1/chat/completions",
        "dialect": "chat",
        "model_asked": "smart",
        "model": "smart",
        "upstream_model": "m",
        "provider": "up",
        "account": "up",
        "status": 200,
        "stream": True,
        "attempts": 1,
        "input_tokens": 10,
        "cache_read_tokens": 0,
        "cache_write_tokens": 0,
        "cache_write_1h_tokens": 0,
        "output_tokens": 5,
        "reasoning_tokens": 0,
        "audio_input_tokens": 0,
        "audio_output_tokens": 0,
        "searches": 0,
        "estimated": False,
        "cost_micro": 7,
        "price_micro": 9,
        "duration_us": 1000,
        "queue_us": 0,
        "connect_us": 0,
        **values,
    }
    assert usual.keys() <= set(COLUMNS)
    return tuple(usual.get(name) for name in COLUMNS)
