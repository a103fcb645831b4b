"""A batch that was seen at its provider: its files are its owner's, and its end is settled, once.

What an output file tells is the bill. Where it cannot be read for now, nothing is settled: the hold
stands, and at the end of its lease the ledger charges it, until the truth corrects that. Who sees a
batch end does not matter, nor how often: its hold ends once, and one event tells of it.
"""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson

from budgets.ledger import LedgerError
from budgets.usage import TokenUsage
from gateway.batches.costing import (
    BatchCost,
    LineCosts,
    cost_as_held,
    cost_as_reported,
    cost_of_nothing,
    counts_in,
    reported_usage,
)
from gateway.batches.kept import BatchRecord, FileRecord
from gateway.batches.kit import Kit, object_in, path_of, read_limited
from gateway.batches.lines import BATCHED
from gateway.clock import now_ms
from gateway.providers.port import UpstreamError, UpstreamFault
from gateway.records import add_money, end_event
from gateway.registries.objects import ObjectKind, OwnedObject, may_be_an_id
from telemetry.event import Ending, TelemetryEvent, event_from_json

LOG = logging.getLogger("weir.batches")
ENDS: Mapping[str, Ending] = {
    "completed": Ending.COMPLETED,
    "failed": Ending.UPSTREAM_FAILED,
    "expired": Ending.DEADLINE_HIT,
    "cancelled": Ending.CLIENT_GONE,
}
# Lines are read in pieces of this size, off the event loop.
PIECE_BYTES = 256 * 1024
DRAIN_S = 10.0
MAX_LINE_BYTES = 64 * 1024 * 1024
GONE = frozenset({404, 410})


class UnreadableError(RuntimeError):
    """An output file that will never be read: it is gone, or no lines."""


class Settler:
    """Takes over what providers say of batches. One for each process."""

    def __init__(self, kit: Kit) -> None:
        self._kit = kit
        self._under_way: dict[str, asyncio.Task[OwnedObject]] = {}

    async def saw(self, one: OwnedObject, told: bytes) -> OwnedObject:
        """Take over a batch's object as its provider told it just now; what is known then.

        Raise LedgerError or RegistryError where that could not be written.
        """
        going = self._under_way.get(one.object_id)
        if going is None:
            going = asyncio.get_running_loop().create_task(self._take_over(one, told))
            self._under_way[one.object_id] = going
            going.add_done_callback(lambda done: self._ended(one.object_id, done))
        # Whoever asked may go: what was begun is finished, and others may wait for it as well.
        return await asyncio.shield(going)

    def _ended(self, batch_id: str, done: asyncio.Task[OwnedObject]) -> None:
        self._under_way.pop(batch_id, None)
        if not done.cancelled() and done.exception() is not None:
            LOG.error("batch %s is not settled yet: %s", batch_id, done.exception())

    async def drain(self) -> None:
        """Wait for what is under way, but not for ever: what is cut off is settled later."""
        if self._under_way:
            await asyncio.wait(self._under_way.values(), timeout=DRAIN_S)

    async def _take_over(self, one: OwnedObject, told: bytes) -> OwnedObject:
        record = BatchRecord.from_text(one.record)
        batch = object_in(told)
        if batch is None or not isinstance(batch.get("status"), str):
            return one
        looked_ms = now_ms()
        if record.batch == batch and not (one.is_open and batch["status"] in ENDS):
            half_a_look_ms = self._kit.section.poll_s * 500
            if not one.is_open or looked_ms - record.looked_ms < half_a_look_ms:
                return one  # nothing new, and the watcher need not know that somebody asked
        record = replace(record, told=told, looked_ms=looked_ms)
        record = await self._claim_files(one, record, batch)
        status = str(batch["status"])
        if one.is_open and status in ENDS:
            cost = await self._cost(one, record, batch)
            if cost is not None:
                record = await self.settle(one, record, cost, status)
        return await self._remember(one, record)

    async def give_up(self, one: OwnedObject) -> OwnedObject:
        """Charge what was held: nobody will ever tell what the batch used."""
        record = BatchRecord.from_text(one.record)
        bound = record.bound
        cost = cost_as_held(record.hold.amount_nano, record.tokens_held, bound.lines)
        LOG.warning("batch %s: nobody tells what it used; charged as held", one.object_id)
        return await self._remember(one, await self.settle(one, record, cost, ""))

    async def looked(self, one: OwnedObject) -> OwnedObject:
        """Remember that a batch was asked for, so that another process need not."""
        record = replace(BatchRecord.from_text(one.record), looked_ms=now_ms())
        return await self._remember(one, record)

    async def _remember(self, one: OwnedObject, record: BatchRecord) -> OwnedObject:
        is_open = one.is_open and record.cost_nano is None
        known = replace(one, record=record.to_text(), is_open=is_open)
        if not is_open and one.is_open:
            await self._kit.objects.update(known)
            return known
        # What another process has settled meanwhile must not be opened again.
        before = await self._kit.objects.find(one.kind, one.object_id)
        if before is not None and before.is_open is one.is_open:
            await self._kit.objects.update(known)
            return known
        return before or known

    # -- files ------------------------------------------------------------------------------

    async def _claim_files(
        self, one: OwnedObject, record: BatchRecord, batch: Mapping[str, Any]
    ) -> BatchRecord:
        """Make the files that a batch wrote those of its owner, before anybody is told of them."""
        for field in ("output_file_id", "error_file_id"):
            file_id = batch.get(field)
            if not isinstance(file_id, str) or file_id in record.output_files:
                continue
            if not may_be_an_id(file_id):
                continue
            purpose = "batch_output"
            told = await self._file_told(one.provider, file_id, purpose)
            await self._kit.objects.claim(
                OwnedObject(
                    ObjectKind.FILE,
                    file_id,
                    one.owner,
                    one.provider,
                    now_ms(),
                    FileRecord(purpose, told).to_text(),
                )
            )
            record = replace(record, output_files=(*record.output_files, file_id))
        return record

    async def _file_told(self, provider: str, file_id: str, purpose: str) -> bytes:
        """What the provider says of a file; the least that can be said where it does not."""
        try:
            reply = await self._kit.ask(provider, b"GET", path_of("files", file_id))
            body = await read_limited(reply)
            if reply.status == 200 and object_in(body) is not None:
                return body
        except UpstreamError as error:
            LOG.warning("file %s: %s", file_id, error)
        least = {
            "id": file_id,
            "object": "file",
            "bytes": 0,
            "created_at": now_ms() // 1_000,
            "filename": f"{file_id}.jsonl",
            "purpose": purpose,
        }
        return orjson.dumps(least)

    # -- money ------------------------------------------------------------------------------

    async def _cost(
        self, one: OwnedObject, record: BatchRecord, batch: Mapping[str, Any]
    ) -> BatchCost | None:
        """What an ended batch cost; None where its output cannot be read for now."""
        output_id, lines = batch.get("output_file_id"), record.bound.lines
        done, failed = counts_in(batch) or (None, 0)
        usage = reported_usage(batch)
        if isinstance(output_id, str) and output_id:
            try:
                cost = await self._read_output(one, record, output_id)
            except UpstreamError as error:
                LOG.warning("batch %s: its output cannot be read now: %s", one.object_id, error)
                return None
            except UnreadableError as error:
                LOG.warning("batch %s: its output is lost: %s", one.object_id, error)
            else:
                _compare(one, cost, usage)
                return cost
        elif done == 0 or (done is None and batch.get("status") == "failed"):
            return cost_of_nothing(lines)
        if usage is not None:
            answered = lines if done is None else done
            return cost_as_reported(usage, record.price, answered, failed)
        return cost_as_held(record.hold.amount_nano, record.tokens_held, lines)

    async def _read_output(
        self, one: OwnedObject, record: BatchRecord, output_id: str
    ) -> BatchCost:
        """Add up the lines of an output file as it streams in; raise UpstreamError to try again."""
        bound = record.bound
        costs = LineCosts(
            BATCHED[bound.url], record.price, bound.line_nano, bound.line_tokens, record.frontier
        )
        path = path_of("files", output_id, "content")
        reply = await self._kit.ask(one.provider, b"GET", path)
        try:
            if reply.status in GONE:
                raise UnreadableError(f"status {reply.status}")
            if reply.status != 200:
                raise _not_now(reply.status)
            kept: list[bytes] = []
            size = 0
            while part := await reply.read_some():
                kept.append(part)
                size += len(part)
                if size < PIECE_BYTES or b"\n" not in part:
                    if size > MAX_LINE_BYTES:
                        raise UnreadableError(f"a line is longer than {MAX_LINE_BYTES} bytes")
                    continue
                *whole, rest = b"".join(kept).split(b"\n")
                await asyncio.to_thread(costs.add, whole)
                kept, size = [rest], len(rest)
            await asyncio.to_thread(costs.add, b"".join(kept).split(b"\n"))
        finally:
            reply.close()
        return costs.total()

    async def settle_nothing(self, one: OwnedObject, record: BatchRecord) -> None:
        """Charge nothing for a batch that its provider never had."""
        try:
            await self.settle(one, record, cost_of_nothing(record.bound.lines), "failed")
        except LedgerError:
            # Its process died before it could mark the hold as sent: there is nothing to settle.
            await self._kit.desk.ledger.release(record.hold, None)

    async def settle(
        self, one: OwnedObject, record: BatchRecord, cost: BatchCost, status: str
    ) -> BatchRecord:
        """End the hold and append the batch's event, in one transaction; repeating is harmless."""
        desk = self._kit.desk
        event = event_from_json(record.draft)
        add_money(event, cost.usage, cost.source, cost.cost, cost.frontier_nano)
        ending = ENDS.get(status, Ending.UNKNOWN)
        code = "" if ending is Ending.COMPLETED else f"batch_{status or 'unknown'}"
        end_event(event, ending, 200, code)
        _tell_of(event, one, record, cost)
        event.ended_ms = now_ms()
        posted = cost.cost.total_nano
        desk.ledger.recall(record.hold.hold_id, record.life)
        settlement = await desk.ledger.settle(
            record.hold, posted, event.to_outbox(), record.bill(cost)
        )
        if not settlement.repeated:
            desk.tally.settled(event, settlement)
            desk.line.freed(record.hold.accounts)
        return replace(record, cost_nano=posted)


def _tell_of(event: TelemetryEvent, one: OwnedObject, record: BatchRecord, cost: BatchCost) -> None:
    event.upstream_request_id = one.object_id
    event.batch_requests = cost.done
    event.batch_failed = max(0, record.bound.lines - cost.done)
    evidence = orjson.loads(event.decision_json)
    batch = record.batch
    told = {name: batch.get(name) for name in ("status", "output_file_id", "error_file_id")}
    evidence["batch"] = {**evidence.get("batch", {}), "id": one.object_id, **told}
    usage = reported_usage(batch)
    if usage is not None and not _agree(cost, usage):
        evidence["batch"]["usage_reported"] = batch.get("usage")
    event.decision_json = orjson.dumps(evidence).decode()


def _agree(cost: BatchCost, usage: TokenUsage) -> bool:
    mine, theirs = cost.usage, usage
    return (mine.input_tokens, mine.output_tokens) == (theirs.input_tokens, theirs.output_tokens)


def _compare(one: OwnedObject, cost: BatchCost, usage: TokenUsage | None) -> None:
    """The lines are what is billed; a provider whose own sum differs is worth a look."""
    if usage is not None and not _agree(cost, usage):
        LOG.warning(
            "batch %s: its lines used %d and %d tokens, its own report says %d and %d",
            one.object_id,
            cost.usage.input_tokens,
            cost.usage.output_tokens,
            usage.input_tokens,
            usage.output_tokens,
        )


def _not_now(status: int) -> UpstreamError:
    return UpstreamError(UpstreamFault.BROKEN, f"status {status}")
