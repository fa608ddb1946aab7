"""One call from its first try to its last byte."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from proxy.billing.credit import Wallet
from proxy.billing.objects import Object
from proxy.billing.tariff import Quotes
from proxy.config.model import ReadOn, Target
from proxy.dialects.answer import Answer, Translation, Whole
from proxy.dialects.asked import Asked
from proxy.dialects.passed import answer_lines, content_type
from proxy.dialects.plan import Passed, Plan, continued
from proxy.dialects.responses.decode import response_usage
from proxy.errors import GatewayError, Kind
from proxy.metrics import Phase
from proxy.providers import Provider
from proxy.relay import background
from proxy.relay.attempt import Attempt, Continues, Delivered, Outcome, Refused
from proxy.relay.bill import Bill
from proxy.relay.delivery import Delivery
from proxy.relay.head import (
    cost_field,
    dropped_fields,
    exposed_fields,
    timing_fields,
    upstream_request_id,
    usage_fields,
)
from proxy.relay.means import Means
from proxy.relay.record import Record
from proxy.relay.search import Search
from proxy.relay.upload import Upload, framing, pump
from proxy.routing.catalog import Route
from proxy.routing.cooldown import verdict
from proxy.routing.pool import Lease
from proxy.routing.seat import Seat
from proxy.upstream.connections import ConnectFailed, post
from proxy.upstream.headers import client_lines, head_bytes
from proxy.upstream.http1 import Failure
from proxy.usage import Usage

CLIENT_LEFT = 499
"""The status of a call whose client has not waited for its end: nobody is told it."""
_NOTED_AFTER = 1.0
_NOTED_EVERY = 5.0
"""Seconds of a call between the notes by which it is settled if the process dies: what a crash may take of its output."""
_TIMEOUTS = frozenset((Kind.TIMEOUT_FIRST_CONTENT, Kind.TIMEOUT_IDLE))
"""The upstream has the request and may bill it: this is not bought three times. One that cannot be reached has nothing to bill."""
_CONNECT_FAILURES: Mapping[Failure, Kind] = {Failure.connect_timeout: Kind.TIMEOUT_CONNECT}


class CannotCount(Exception):
    """The account that would be asked for a count has no way to count."""


class Call:
    """A client's request on its way. ``run`` carries it; ``sweep`` is called several times a second while it runs."""

    def __init__(
        self,
        means: Means,
        asked: Asked,
        route: Route,
        delivery: Delivery,
        record: Record,
        headers: Mapping[str, str],
        draw: float,
        make_plan: Callable[[Provider, str], Plan | None],
        task: asyncio.Task[None],
        *,
        key: str,
        tokens: int,
        quotes: Quotes | None,
        wallets: Sequence[Wallet] = (),
        fallbacks: Sequence[Route] = (),
        upload: Upload | None = None,
    ) -> None:
        """``quotes`` is what the key pays; None: the call costs nothing. ``wallets`` must cover what it may cost.

        ``upload`` is what follows the body of the plan.
        """
        self._means = means
        self._asked = asked
        self._route = route
        self._headers = headers
        self._search = Search(
            means,
            asked,
            record,
            (route, *fallbacks),
            headers,
            draw=draw,
            key=key,
            tokens=tokens,
        )
        self._make_plan = make_plan
        self._upload = upload
        self.task = task
        """What ``run`` runs in; may be set before that."""
        self._bill = Bill(means, asked, quotes, wallets)
        self._lease: Lease | None = None
        self._loop = means.loop
        self._started = self._loop.time()
        self._quiet_since = self._started
        self._resumed_at = self._started
        self._attempt: Attempt | None = None
        self._plan: Plan | None = None
        self._settled = False
        self.watch = background.Watch() if asked.in_background else None
        """Of a call that may go on when its client has an answer."""
        self._key = key
        self._bound = 0
        self._note_at = self._started + _NOTED_AFTER
        self._waiting: asyncio.Task[None] | None = None
        self._last_word: GatewayError | None = None
        self._interrupted = False
        self.delivery = delivery
        self.record = record
        self.wants_stream = asked.stream

    async def run(self) -> None:
        """Bring the answer to the client, or raise the GatewayError that it shall be told.

        Once a head is out, a failure is told in the stream and nothing is raised.
        """
        self._waiting = self.task
        try:
            delivered = await self._try_accounts()
        except GatewayError as error:
            if not self.delivery.started:
                raise
            self._fail_stream(error)
            return
        except asyncio.CancelledError:
            # The client has left, unless it was ourselves who ended the wait for a connection.
            last_word = self._last_word
            if not self._interrupted or last_word is None:
                raise
            if self._waiting is not None:
                self._waiting.uncancel()
            if not self.delivery.started:
                raise last_word from None
            self._fail_stream(last_word)
            return
        finally:
            self._waiting = None
            attempt = self._attempt
            # A task that is cancelled cancels what it waits for: such an outcome has not come either.
            if attempt is not None:
                if attempt.outcome.cancelled() or not attempt.outcome.done():
                    attempt.abort()
                else:
                    attempt.linger(self._loop)
        document = delivered.document
        if document is None:
            return
        watch = self.watch
        name = background.pending(document) if watch is not None else None
        if watch is None or name is None:
            self._deliver_document(document)
        else:
            await self._look_after(watch, name, document)

    # Tries.

    async def _try_accounts(self) -> Delivered:
        search = self._search
        self._bill.hold(search)
        timed_out = 0
        refused: GatewayError | None = None
        while len(search.tried) < self._means.retry.attempts:
            picked = search.pick() or await search.wait()
            if picked is None:
                break
            if refused is not None:
                self._means.metrics.failovers.add((_cause(refused),))
            outcome = await self._try(*picked)
            if isinstance(outcome, Delivered):
                return outcome
            refused = outcome.error
            timed_out += refused.kind in _TIMEOUTS
            if not refused.row.another or timed_out > 1 or self._last_word is not None:
                break
            if self._upload is not None and self._upload.begun:
                # What has been read of it is gone.
                break
        if refused is not None:
            refused.everybody_failed = len(search.tried) > 1 and refused.status >= 500
            search.date(refused)
        raise self._last_word or refused or GatewayError(Kind.NOBODY, retry_after=1)

    async def _try(self, lease: Lease, target: Target) -> Delivered | Refused:
        self._lease = lease
        self._attempt = None
        used: int | None = None
        try:
            outcome = await self._ask(lease.seat, target)
            used = self._weigh(outcome)
        except GatewayError:
            used = 0
            raise
        except asyncio.CancelledError:
            self._tried("cancelled")
            raise
        finally:
            lease.release(self._loop.time(), used)
            self._means.queue.wake()
        if isinstance(outcome, Refused):
            self._lease = None
        return outcome

    def _weigh(self, outcome: Delivered | Refused) -> int | None:
        """Tell the account's place how the try went; return the tokens that it used, None if nobody knows."""
        if isinstance(outcome, Refused):
            self.record.asking = False
            self._tried(outcome.error.row.error_type)
            self._bench(outcome.error)
            return 0
        if outcome.document is not None:
            self._succeeded()
        record = self.record
        answer = self._attempt.answer if self._attempt is not None else None
        broken = answer.error if answer is not None else None
        self._tried("success" if broken is None else broken.row.error_type)
        if record.usage is None and answer is not None:
            record.usage = answer.usage()
        return None if record.usage is None else record.usage.total

    def _tried(self, outcome: str) -> None:
        """Count a try of an account."""
        record = self.record
        labels = (record.provider or "", record.account or "", outcome)
        self._means.metrics.attempts.add(labels)

    async def _ask(self, seat: Seat, target: Target) -> Delivered | Refused:
        plan = self._make_plan(seat.provider, target.model)
        if plan is None:
            raise CannotCount
        plan.model = target.model
        self._plan = plan
        self.record.attempts += 1
        self.record.asking = True
        self.record.account = seat.account.name
        self.record.provider = target.provider
        self.record.upstream_model = target.model or None
        self._bill.find_prices(seat, target, self._search.name_of(target))
        outcome = await self._send(seat, plan, plan.body)
        while isinstance(outcome, Continues):
            outcome = await self._continue(seat, plan, outcome.token)
        return outcome

    def _succeeded(self) -> None:
        """Tell the account's place that content has come, and what the provider said about its limits."""
        lease, attempt = self._lease, self._attempt
        if lease is not None:
            if lease.succeed():
                self._means.queue.wake()
            if attempt is not None:
                lease.learn(attempt.headers, self._loop.time(), self._means.clock())

    def _bench(self, error: GatewayError) -> None:
        """Tell the account's place that it failed; whether that benches the account is for the place to know."""
        lease, attempt = self._lease, self._attempt
        if lease is not None:
            status = attempt.status if attempt is not None else None
            headers = attempt.headers if attempt is not None else None
            lease.fail(error, self._loop.time(), self._means.clock(), status or None, headers)

    async def _continue(self, seat: Seat, plan: Plan, token: str) -> Outcome:
        before = self._attempt
        answer = before.answer if before is not None else None
        if before is None or not isinstance(answer, Translation | Whole):
            raise GatewayError(Kind.MALFORMED, evidence="a continuation of an answer that has none")
        answer.resume()
        outcome = await self._send(seat, plan, continued(plan, token), before)
        if not isinstance(outcome, Refused):
            return outcome
        last_word = self._last_word
        if self.wants_stream and not before.committed:
            # The client has nothing of it.
            return outcome
        if not self.wants_stream:
            return outcome if last_word is not None else Delivered(answer.give_up())
        # What came so far is an answer that stopped early, unless it is ourselves who ended it.
        rest = answer.give_up() if last_word is None else answer.fail(last_word)
        self.settle(answer)
        self.delivery.finish(rest)
        return Delivered()

    async def _send(
        self, seat: Seat, plan: Plan, body: bytes, before: Attempt | None = None
    ) -> Outcome:
        outcome = await self._exchange(seat, plan, body, before, fresh=False)
        if isinstance(outcome, Refused) and outcome.stale and self._upload is None:
            # The connection had died while idle: nobody has seen this request.
            outcome = await self._exchange(seat, plan, body, before, fresh=True)
        return outcome

    async def _exchange(
        self, seat: Seat, plan: Plan, body: bytes, before: Attempt | None, *, fresh: bool
    ) -> Outcome:
        origin, head = self._means.ways.of(seat, plan)
        lines = client_lines(plan.dialect, self._headers, native=plan.native, key=self._key)
        if lines:
            head += head_bytes(lines)
        upload = self._upload
        began = self._loop.time()
        try:
            connection = await self._means.connections.acquire(
                origin, self._route.timeouts.connect, fresh=fresh or upload is not None
            )
        except ConnectFailed as failed:
            kind = _CONNECT_FAILURES.get(failed.failure, Kind.UNREACHABLE)
            return Refused(GatewayError(kind, evidence=failed.detail))
        finally:
            self.record.connect += self._loop.time() - began
        self._attempt = attempt = Attempt(
            self,
            plan,
            connection,
            self._loop,
            after=before,
            secret=seat.account.api_key,
        )
        if self._bill.grows:
            attempt.watch(self._hold_more)
        pumping = None
        if upload is not None:
            connection.begin(head + framing(upload, body), attempt)
            pumping = pump(upload, connection, attempt, self._loop.time)
        elif plan.method != "POST" and not body:
            connection.send(head + b"\r\n", attempt)
        else:
            connection.send(post(head, body), attempt)
        if self.delivery.paused_at is not None:
            connection.pause()
        try:
            outcome = await attempt.outcome
        finally:
            if pumping is not None:
                pumping.cancel()
        if not isinstance(outcome, Delivered):
            self.record.upstream += self._loop.time() - attempt.sent_at
        return outcome

    # What a try tells.

    def first_byte(self, now: float) -> None:
        self.record.first_byte = now
        if self._upload is not None and not self._upload.ended:
            # Whatever of the request still comes is not another one.
            self.delivery.close_after()

    def passes(self, answer: Passed, status: int, headers: Mapping[bytes, bytes]) -> None:
        self.wants_stream = answer.form != "document"
        self.record.stream = answer.form == "events"
        self.record.status = status
        length = headers.get(b"content-length", b"")
        sized = answer.form != "events" and length.isdigit()
        self.delivery.pass_on(status, answer_lines(headers), int(length) if sized else None)

    def first_content(self, now: float) -> bytes:
        if self._plan is None or self._plan.passing is None or self.record.stream:
            # The first byte of a file is nobody's first word.
            self.record.first_content = now
        self._succeeded()
        self._bind()
        return self._fields()

    def _bind(self) -> None:
        """Note whose it is what the upstream has made, before its id goes out."""
        attempt, record = self._attempt, self.record
        made = attempt.answer.made if attempt is not None and attempt.answer is not None else ()
        if len(made) > self._bound:
            created = int(self._means.clock() * 1e6)
            account, provider = record.account or "", record.provider or ""
            for kind, name in made[self._bound :]:
                self._means.bind(Object(self._key, name, kind, provider, account, created))
            self._bound = len(made)

    def _hold_more(self) -> None:
        """Hold more for a stream that has used most of what is held; end it if that is not there."""
        attempt = self._attempt
        if attempt is not None and attempt.answer is not None:
            short = self._bill.outgrown(attempt.answer.seen)
            if short is not None:
                attempt.expire(short.error())

    def settle(self, answer: Answer) -> None:
        """Close the books: once, before the last frame goes out, whatever that frame says."""
        if self._settled:
            return
        self._settled = True
        self._bind()
        record = self.record
        attempt = self._attempt
        if record.usage is None:
            record.usage = answer.usage()
        record.events = answer.events
        record.answer_id = answer.answer_id or None
        record.error = record.error or answer.error
        if answer.error is not None and record.status != CLIENT_LEFT:
            self._bench(answer.error)
        record.status = record.status or 200
        record.ended = self._loop.time()
        if attempt is not None:
            record.upstream_request_id = upstream_request_id(attempt.headers)
            record.upstream += max(attempt.connection.last_read - attempt.sent_at, 0.0)
        if answer.committed or answer.error is None:
            self._bill.price(record)
            self._spend()
        self._bill.close(record)

    def settle_failed(self, error: GatewayError, status: int) -> None:
        """Close the books of a call that failed, or whose client left."""
        record, attempt = self.record, self._attempt
        record.error = error
        record.status = status
        if (
            attempt is not None
            and attempt.answer is not None
            and (attempt.committed or attempt.is_whole)
        ):
            self.settle(attempt.answer)
        elif not self._settled:
            self._settled = True
            record.ended = self._loop.time()
            if attempt is not None and attempt.was_at_work and self._bill.costs:
                # The key has got nothing and pays nothing, but whoever was asked may bill us.
                record.usage = self._used_so_far(attempt)
                self._bill.price(record)
                record.price_micro = 0
                self._spend()
            self._bill.close(record)

    def _spend(self) -> None:
        """Take what the call costs us out of the account's budget."""
        lease = self._lease
        if lease is not None and lease.seat.budget is not None:
            lease.seat.spend(self.record.cost_micro, self._loop.time(), self._means.clock())

    def _used_so_far(self, attempt: Attempt) -> Usage:
        """Return an estimate of what a try has used that has not ended."""
        if attempt.answer is None:
            return Usage(input=self._asked.estimate_input(), estimated=True)
        return attempt.answer.usage()._replace(estimated=True)

    def client_left(self) -> float | None:
        """Return for how many seconds to read on to learn what was used; None: not at all.

        If it is read on, nobody else is asked for it, and its books close when its upstream, or that time, ends.
        """
        attempt, lease = self._attempt, self._lease
        if attempt is None or lease is None or attempt.outcome.done():
            return None
        chosen = lease.seat.account.on_disconnect or self._means.streaming.on_disconnect
        if self._asked.in_background:
            # It goes on whether anybody listens or not.
            chosen = ReadOn(self._route.timeouts.total)
        if not isinstance(chosen, ReadOn):
            return None
        self.record.status = CLIENT_LEFT
        self.record.error = self._last_word = GatewayError(
            Kind.CLIENT_CLOSED, evidence="the client left, and its answer was read on"
        )
        self.resume()
        return chosen.seconds

    def release(self) -> None:
        """Let go of what is held, if the books were closed by nobody, and of the last try.

        That knows this call: a cycle would live until the collector came.
        """
        self._attempt = None
        self._bill.abandon()

    # What an operator sees, made out from what the call holds: nothing is kept for whoever may ask.

    @property
    def phase(self) -> Phase:
        attempt = self._attempt
        if self.watch is not None and self.watch.answered.is_set():
            return Phase.WAITING
        if attempt is None or attempt.outcome.done():
            return Phase.QUEUED if self._lease is None else Phase.CONNECTING
        return Phase.STREAMING if attempt.has_content else Phase.WAITING

    @property
    def is_settled(self) -> bool:
        """Whether its books are closed."""
        return self._settled

    @property
    def output_so_far(self) -> int:
        """About how many tokens of output have come."""
        answer = self._attempt.answer if self._attempt is not None else None
        return 0 if answer is None else answer.seen

    # Time.

    def sweep(self, now: float) -> None:
        """Enforce the call's times and keep its client's connection warm."""
        times = self._route.timeouts
        attempt = self._attempt
        delivery = self.delivery
        if (
            delivery.paused_at is not None
            and now - delivery.paused_at > times.client_write
            and not delivery.finished
        ):
            delivery.abort()
            return
        if now - self._started > times.total:
            self._end_early(GatewayError(Kind.TIMEOUT_TOTAL))
            return
        if attempt is not None and not attempt.outcome.done():
            if attempt.has_content:
                # While the client did not read nobody looked at what the upstream said.
                idle = now - max(attempt.connection.last_read, attempt.sent_at, self._resumed_at)
                if delivery.paused_at is None:
                    self.record.max_gap = max(self.record.max_gap, idle)
                    if idle > times.idle:
                        attempt.expire(GatewayError(Kind.TIMEOUT_IDLE))
                        return
            elif now - attempt.sent_at > (
                times.first_content if self.wants_stream else times.response
            ):
                attempt.expire(GatewayError(Kind.TIMEOUT_FIRST_CONTENT))
                return
        self._beat(now)

    def progress(self, now: float) -> Record | None:
        """Return the record as it stands, with what was used so far, if it is time to note that and an upstream is at work."""
        attempt = self._attempt
        if now < self._note_at or self._settled or attempt is None:
            return None
        self._note_at = now + _NOTED_EVERY
        usage = self._used_so_far(attempt)
        noted = replace(self.record, usage=usage, status=self.record.status or 200, ended=now)
        if attempt.has_content:
            self._bill.note(noted)
        return noted

    def pause(self) -> None:
        """Stop reading from the upstream: the client does not read."""
        self.delivery.paused_at = self._loop.time()
        if self._attempt is not None:
            self._attempt.connection.pause()

    def resume(self) -> None:
        self.delivery.paused_at = None
        self._resumed_at = self._loop.time()
        if self._attempt is not None:
            self._attempt.connection.resume()

    def _beat(self, now: float) -> None:
        delivery = self.delivery
        if delivery.wrote:
            delivery.wrote = False
            self._quiet_since = now
            return
        if (
            not self.wants_stream
            or delivery.finished
            or now - self._quiet_since < self._means.streaming.heartbeat
        ):
            return
        beat = self._asked.heartbeat
        if beat is None:
            return
        attempt = self._attempt
        if not delivery.started:
            delivery.start(self._dropped_field(), b": keep-alive\n\n")
        elif attempt is not None and attempt.committed:
            delivery.write(beat)
        else:
            # An event of the dialect may not come before its first one; a comment always may.
            delivery.write(b": keep-alive\n\n")

    def dismiss(self) -> None:
        """End the call because the gateway stops."""
        self._end_early(
            GatewayError(Kind.DRAINING, "The gateway is shutting down; try again.", retry_after=1)
        )

    def cancel(self) -> bool:
        """End the call because an operator says so; return False if its answer is complete already."""
        if self.delivery.finished:
            return False
        self._end_early(GatewayError(Kind.CANCELLED, evidence="cancelled by an operator"))
        return True

    def _end_early(self, error: GatewayError) -> None:
        """End the call with ``error``, whatever it waits for; no other account is tried."""
        if self.delivery.finished:
            # Its task has yet to hear of the end, and would append an error to a whole answer.
            if self.watch is not None:
                self.watch.end()
            return
        self._last_word = error
        attempt = self._attempt
        if attempt is not None and not attempt.outcome.done():
            attempt.expire(error)
        elif self._waiting is not None and not self._interrupted:
            self._interrupted = True
            self._waiting.cancel()

    # The end.

    def _fail_stream(self, error: GatewayError) -> None:
        self.settle_failed(error, 200)
        frame = self._means.frame_error[self._asked.dialect](error, self._asked.request_id)
        self.delivery.finish(frame)

    async def _look_after(self, watch: background.Watch, name: str, document: bytes) -> None:
        """Answer with ``document``, and close the books when the response ``name`` has ended, which may take an hour."""
        attempt, lease, record = self._attempt, self._lease, self.record
        if attempt is None or attempt.answer is None or lease is None:
            return
        self._bind()
        self.delivery.document(200, self._fields(), document)
        watch.name = name
        watch.answered.set()
        record.usage = None
        try:
            found = await background.ended(self._means, lease.seat, watch, self._loop.time)
        finally:
            watch.looked()
        if found is not None:
            record.usage = response_usage(found, lease.seat.provider.flags) or Usage()
        self.settle(attempt.answer)

    def _deliver_document(self, document: bytes) -> None:
        attempt = self._attempt
        if attempt is not None and attempt.answer is not None:
            self.settle(attempt.answer)
        fields = self._fields() + usage_fields(self.record.usage)
        if self._bill.costs:
            fields += cost_field(self.record.price_micro)
        passing = self._plan.passing if self._plan is not None else None
        if passing is not None and attempt is not None:
            kind = content_type(attempt.headers)
            self.delivery.document(attempt.status, fields, document, kind)
        else:
            self.delivery.document(200, fields, document)

    def _fields(self) -> bytes:
        """Return the header lines that are known once an account has answered."""
        fields = timing_fields(self.record, self._started, self._loop.time())
        fields += self._dropped_field()
        expose = self._means.expose
        if expose:
            attempt = self._attempt
            upstream_id = upstream_request_id(attempt.headers) if attempt is not None else None
            fields += exposed_fields(expose, self.record, upstream_id)
        return fields

    def _dropped_field(self) -> bytes:
        return dropped_fields(self._plan.dropped) if self._plan is not None else b""


def _cause(error: GatewayError) -> str:
    """Return why another account is tried after ``error``, as the metrics tell it."""
    found = verdict(error)
    return "model" if found is None else found.cause.value
