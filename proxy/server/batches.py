"""What a batch has used: told by its provider when it is done, and booked when its key first reads that.

Its results cannot be had otherwise: the files that a batch has written are its key's only once it has read the batch as done.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from proxy.billing.objects import Kind, Object
from proxy.config.model import Key
from proxy.dialects.passed import read_usage
from proxy.relay.record import Record
from proxy.server.gateway import Gateway

ROUTE = "/v1/batches"
_PAID = ".paid"


async def is_paid(gateway: Gateway, batch: Object) -> bool:
    """Tell whether what ``batch`` has used is booked."""
    return await gateway.books.objects.owner(batch.key_hash, batch.id + _PAID) is not None


def book(gateway: Gateway, key: Key, batch: Object, document: Mapping[str, Any]) -> None:
    """Book what ``document`` says that ``batch`` has used, if it says so.

    The id of what is booked is made of the batch's, so the ledger takes it once, whoever reads the batch at the same time.
    """
    seat = gateway.pool.seat(batch.account)
    usage = None if seat is None else read_usage(document, seat.provider.flags)
    if seat is None or usage is None or not usage.total:
        return
    usage = usage._replace(tier="batch")
    model = document.get("model")
    model = model if isinstance(model, str) else ""
    name = f"{batch.provider}/{model}"
    now, wall = gateway.now(), gateway.clock()
    digest = hashlib.sha256(f"{batch.account} {batch.id} {key.hash}".encode()).hexdigest()
    record = Record(
        request_id="req_" + digest[:26],
        started=now,
        route=ROUTE,
        dialect="chat",
        key=key.name,
        key_hash=key.hash,
        team=key.team,
        model=name if model else None,
        model_asked=model or None,
        upstream_model=model or None,
        account=batch.account,
        provider=batch.provider,
        answer_id=batch.id,
        status=200,
        attempts=1,
        usage=usage,
        ended=now,
    )
    quote = gateway.means.tariff.quotes(key.price_multiplier).of(seat.account, model, name)
    record.cost_micro, record.price_micro = quote.charge(usage, wall)
    record.priced = quote.priced
    if seat.budget is not None:
        seat.spend(record.cost_micro, now, wall)
    gateway.means.settle(record)
    gateway.books.objects.bind(
        batch._replace(id=batch.id + _PAID, kind=Kind.other.value, created=int(wall * 1e6))
    )
