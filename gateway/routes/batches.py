"""`/v1/batches`: work that a provider does within a day, paid for from budgets that bear it now."""

import asyncio
import logging
import re
import time
from contextlib import suppress
from dataclasses import replace
from typing import Any

from budgets.ledger import LedgerError, dispatched
from budgets.money import format_usd
from budgets.prices import Price
from budgets.value import value
from gateway.auth import Principal
from gateway.batches.bounding import BATCH_TIER, FileBound, bound_file
from gateway.batches.errors import batch_uncertain
from gateway.batches.holding import BatchAsked, Held, hold_for
from gateway.batches.kept import BatchRecord, FileRecord, units_of
from gateway.batches.kit import Kit, object_in, passed, path_of, read_limited
from gateway.batches.lines import BATCHED
from gateway.batches.lists import page_of, read_wish
from gateway.batches.lost import UNKNOWN, lost_batch
from gateway.batches.places import terms_of
from gateway.batches.settling import DRAIN_S, ENDS, Settler
from gateway.clock import now_ms, since_ms
from gateway.errors import ApiError, bad_request
from gateway.providers.port import RawHeaders, UpstreamError, UpstreamReply
from gateway.records import end_event
from gateway.registries.objects import ObjectKind, OwnedObject, may_be_an_id
from gateway.registries.port import RegistryError
from gateway.response import Receive, Scope, Send, read_body_within
from gateway.routes.kept_objects import KeptObjects, asked, last_part, send_json, send_told
from gateway.upstream_errors import upstream_failed
from gateway.wire import parse_object
from routing.catalog import ModelCard
from telemetry.event import Ending

LOG = logging.getLogger("weir.batches")
PATH = "/v1/batches"
CANCEL = "/cancel"
DEFAULT_PAGE, MOST = 20, 100
# How long a client that asks for a batch waits for its cost to be in the books.
SETTLE_S = 30.0
_WINDOW = re.compile(r"([1-9][0-9]{0,2})([hd])")
_UNIT_S = {"h": 3_600, "d": 86_400}
MAX_WINDOW_S = 14 * 86_400


@value
class _Accepted:
    """A batch that its provider took."""

    reply: UpstreamReply
    body: bytes
    batch: OwnedObject


class BatchRoutes(KeptObjects):
    """Holds, sends, follows and settles the batches of teams."""

    def __init__(self, kit: Kit | None, settler: Settler | None) -> None:
        super().__init__(kit)
        self._settler = settler
        self._sending: set[asyncio.Future[Any]] = set()

    async def drain(self) -> None:
        """Wait for what is on its way to a provider, but not for ever: its money stays held."""
        if self._sending:
            await asyncio.wait(self._sending, timeout=DRAIN_S)

    async def create(self, scope: Scope, receive: Receive, send: Send) -> None:
        """`POST /v1/batches`: hold the most it may cost, then have the provider begin."""
        await self.answered(self._create(scope, receive, send), send)

    async def list(self, scope: Scope, receive: Receive, send: Send) -> None:
        """`GET /v1/batches`: the team's own, as they were seen last."""
        await self.answered(self._list(scope, send), send)

    async def show(self, scope: Scope, receive: Receive, send: Send) -> None:
        """`GET /v1/batches/{id}`: as the provider tells it; one that has ended is settled."""
        await self.answered(self._pass(scope, send, b"GET", ""), send)

    async def cancel(self, scope: Scope, receive: Receive, send: Send) -> None:
        """`POST /v1/batches/{id}/cancel`."""
        await self.answered(self._pass(scope, send, b"POST", CANCEL), send)

    # -- create -----------------------------------------------------------------------------

    async def _create(self, scope: Scope, receive: Receive, send: Send) -> None:
        started_s = time.perf_counter()
        principal, kit = self.caller(scope), self.kit
        limits = kit.desk.limits
        raw = await read_body_within(scope, receive, limits.body_bytes, limits.body_s)
        body = parse_object(raw)
        window_s = _window_s(body.get("completion_window"))
        file, bound = await self._input(principal, body)
        card = _card(kit, bound)
        bound, price = await self._bound_now(file, bound, card)
        wish = BatchAsked(
            started_s,
            principal,
            scope["headers"],
            raw,
            body,
            file.object_id,
            bound,
            card,
            price,
            window_s,
        )
        held = await hold_for(kit, wish)
        # From here on money may be spent: whoever asked may go, this is finished.
        sending = asyncio.ensure_future(self._send_on(wish, held))
        self._sending.add(sending)
        sending.add_done_callback(self._sending.discard)
        accepted = await asyncio.shield(sending)
        if isinstance(accepted, _Accepted):
            own = _headers(accepted.batch)
            await send_told(send, accepted.reply, accepted.body, own)
            return
        reply, text = accepted
        await send_told(send, reply, text, [_request_id(held.hold.hold_id)])

    async def _input(
        self, principal: Principal, body: dict[str, object]
    ) -> tuple[OwnedObject, FileBound]:
        """The file of a batch; raise ApiError (400, 404) for one that cannot be."""
        file_id, endpoint = body.get("input_file_id"), body.get("endpoint")
        if not isinstance(file_id, str):
            raise bad_request(
                "`input_file_id` must be the id of a file that was uploaded for batches.",
                "input_file_id",
                "missing_required_parameter",
            )
        file = await self.owned(principal, ObjectKind.FILE, file_id)
        bound = FileRecord.from_text(file.record).bound
        if bound is None:
            raise bad_request(
                f"File {file_id} was not uploaded with the purpose `batch`.", "input_file_id"
            )
        if endpoint != bound.url:
            raise bad_request(
                f"`endpoint` must be the `url` of the file's lines, {bound.url}.", "endpoint"
            )
        return file, bound

    async def _bound_now(
        self, file: OwnedObject, bound: FileBound, card: ModelCard
    ) -> tuple[FileBound, Price]:
        """The bounds of a file, and the price that they rest on.

        Where prices or limits are others now, the file is read and bounded again.
        """
        terms = await terms_of(self.kit, card, card.upstream_model)
        price = terms.price
        if terms.basis == bound.basis:
            return bound, price
        work = self.kit.ask(file.provider, b"GET", path_of("files", file.object_id, "content"))
        reply = await asked(work, file.provider)
        async with self.kit.places:
            limit_bytes = self.kit.section.max_file_bytes * 2
            content = await asked(read_limited(reply, limit_bytes), file.provider)
            if reply.status != 200:
                why = f"cannot be read at its provider (status {reply.status})."
                raise bad_request(f"File {file.object_id} {why}", "input_file_id")
            read = await asyncio.to_thread(bound_file, content, 0, len(content), terms)
        return read.bound, price

    async def _send_on(
        self, wish: BatchAsked, held: Held
    ) -> _Accepted | tuple[UpstreamReply, bytes]:
        """Dispatch and send; what the provider refused is released, the rest stays held."""
        kit, desk, provider = self.kit, self.kit.desk, wish.bound.provider
        held, hold = replace(held, hold=dispatched(held.hold)), held.hold
        lost = lost_batch(self._record(wish, held, b"{}"), provider, wish.file_id)
        try:
            await kit.objects.claim(lost)
            await desk.ledger.dispatch(hold, held.event.to_json())
        except (LedgerError, RegistryError):
            with suppress(LedgerError):
                await desk.ledger.release(hold, None)
            await self._forget(lost)
            raise
        try:
            told = passed(wish.headers)
            reply = await kit.ask(provider, b"POST", "/batches", wish.raw, told)
            body = await read_limited(reply)
        except UpstreamError as error:
            if error.reached_provider:
                raise await self._lost(wish, held, str(error)) from error
            failure = upstream_failed(error, provider)
            await self._release(held, lost, 0, failure.code)
            raise failure from error
        if 400 <= reply.status < 500 or reply.status == 503:
            await self._release(held, lost, reply.status, f"upstream_{reply.status}")
            return reply, body
        if reply.status >= 300:
            raise await self._lost(wish, held, f"status {reply.status}")
        batch = await self._claim(wish, held, body)
        await self._forget(lost)
        return _Accepted(reply, body, batch)

    async def _lost(self, wish: BatchAsked, held: Held, why: str) -> ApiError:
        """Have the provider's list looked through for a batch that may be there, from now on."""
        request_id, provider = held.hold.hold_id, wish.bound.provider
        LOG.error("batch %s: nobody knows whether it runs: %s", request_id, why)
        record = replace(self._record(wish, held, b"{}"), looked_ms=0)
        with suppress(RegistryError):  # then it is looked for a little later
            await self.kit.objects.update(lost_batch(record, provider, wish.file_id, UNKNOWN))
        return batch_uncertain(request_id, why)

    async def _forget(self, lost: OwnedObject) -> None:
        """It is known what became of a batch; if that cannot be written, it is found out again."""
        with suppress(RegistryError):
            await self.kit.objects.forget(lost.kind, lost.object_id, lost.owner)

    async def _release(self, held: Held, lost: OwnedObject, status: int, code: str) -> None:
        desk, event = self.kit.desk, held.event
        end_event(event, Ending.UPSTREAM_FAILED, status, code)
        event.batch_requests = 0
        event.ended_ms = now_ms()
        event.total_ms = event.gateway_ms
        settlement = await desk.ledger.release(held.hold, event.to_outbox())
        desk.tally.settled(event, settlement)
        desk.line.freed(held.hold.accounts)
        await self._forget(lost)

    async def _claim(self, wish: BatchAsked, held: Held, body: bytes) -> OwnedObject:
        """Write down whose the batch is and how it is settled, before anybody is told of it."""
        kit, told = self.kit, object_in(body)
        batch_id = None if told is None else told.get("id")
        if told is None or not isinstance(batch_id, str) or not may_be_an_id(batch_id):
            raise await self._lost(wish, held, "it did not say by which id")
        held.event.total_ms = since_ms(wish.started_s)
        batch = OwnedObject(
            ObjectKind.BATCH,
            batch_id,
            wish.principal.team,
            wish.bound.provider,
            now_ms(),
            self._record(wish, held, body).to_text(),
            is_open=True,
        )
        try:
            stands = await kit.objects.claim(batch)
        except RegistryError as error:
            LOG.error("batch %s: nobody could be told whose it is; it is cancelled", batch_id)
            with suppress(UpstreamError):
                path = path_of("batches", batch_id, "cancel")
                (await kit.ask(wish.bound.provider, b"POST", path)).close()
            why = "it could not be written down"
            raise batch_uncertain(held.hold.hold_id, why) from error
        if stands != batch:
            raise await self._lost(wish, held, "it gave an id that is taken")
        if told.get("status") in ENDS:
            with suppress(LedgerError, RegistryError):  # then the watcher does it
                batch = await self._saw(batch, body)
        return batch

    def _record(self, wish: BatchAsked, held: Held, told: bytes) -> BatchRecord:
        """What it takes to settle a batch, under the prices of its admission."""
        desk, now_s = self.kit.desk, held.event.admitted_ms // 1_000
        frontier = desk.frontier
        return BatchRecord(
            told=told,
            hold=held.hold,
            units=units_of(held.charges),
            bound=wish.bound,
            price=wish.price,
            frontier=None
            if frontier is None
            else desk.prices.at(frontier.price_model, now_s, BATCH_TIER),
            draft=held.event.to_json(),
            tokens_held=wish.bound.tokens,
            looked_ms=now_ms(),
            life=desk.ledger.life,
        )

    # -- what is there ----------------------------------------------------------------------

    async def _list(self, scope: Scope, send: Send) -> None:
        principal = self.caller(scope)
        wish = read_wish(scope.get("query_string", b""), DEFAULT_PAGE, MOST)
        page = await page_of(self.kit.objects, ObjectKind.BATCH, principal.team, wish, _told)
        await send_json(send, page)

    async def _pass(self, scope: Scope, send: Send, method: bytes, after: str) -> None:
        principal, batch_id = self.caller(scope), last_part(scope, PATH, after)
        batch = await self.owned(principal, ObjectKind.BATCH, batch_id)
        path = path_of("batches", batch_id) + after
        work = self.kit.ask(batch.provider, method, path, headers=passed(scope["headers"]))
        reply = await asked(work, batch.provider)
        body = await asked(read_limited(reply), batch.provider)
        if reply.status == 200:
            batch = await self._saw(batch, body)
        await send_told(send, reply, body, _headers(batch))

    async def _saw(self, batch: OwnedObject, body: bytes) -> OwnedObject:
        """Take over what the provider told; a long output is settled beside the answer."""
        if self._settler is None:
            return batch
        with suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_S):
                return await self._settler.saw(batch, body)
        return batch


def _window_s(window: object) -> int:
    """The time a provider has, in seconds; raise ApiError (400)."""
    found = _WINDOW.fullmatch(window) if isinstance(window, str) else None
    window_s = 0 if found is None else int(found[1]) * _UNIT_S[found[2]]
    if not 0 < window_s <= MAX_WINDOW_S:
        raise bad_request('`completion_window` must be a time such as "24h".', "completion_window")
    return window_s


def _card(kit: Kit, bound: FileBound) -> ModelCard:
    """The model of a file as it is configured now; raise ApiError (400) where it is not."""
    card = kit.desk.catalog.models.get(bound.model)
    for place in () if card is None else card.places:
        same = (place.provider, place.upstream_model) == (bound.provider, bound.upstream_model)
        if same and bound.provider in kit.keepers and bound.url in BATCHED:
            return place
    raise bad_request(
        f"Model {bound.model!r} is not served by {bound.provider} any more: upload the file again.",
        "input_file_id",
    )


def _request_id(request_id: str) -> tuple[bytes, bytes]:
    return b"x-weir-request-id", request_id.encode()


def _headers(batch: OwnedObject) -> RawHeaders:
    """What Weir says of a batch: what it is on record as, and what it costs or may cost."""
    record = BatchRecord.from_text(batch.record)
    own = [
        _request_id(record.hold.hold_id),
        (b"x-weir-model", record.bound.model.encode()),
        (b"x-weir-reserved-usd", format_usd(record.hold.amount_nano).encode()),
    ]
    if record.cost_nano is not None:
        own.append((b"x-weir-cost-usd", format_usd(record.cost_nano).encode()))
    return own


def _told(one: OwnedObject) -> tuple[str, bytes]:
    try:
        return "", BatchRecord.from_text(one.record).told
    except ValueError as error:
        raise RegistryError(f"batch {one.object_id}: {error}") from error
