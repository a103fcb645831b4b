"""How holds end in Redis: at once, or as soon as Redis can be told.

What a provider was paid for is never forgotten. Where Redis does not answer, the ending is written
to a local file (`redis_journal`) and carried out later; carrying it out twice changes nothing.
"""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace

import orjson

from budgets.ledger import (
    PLAIN,
    Bill,
    Closing,
    Hold,
    HoldState,
    LedgerError,
    Move,
    Settlement,
    close,
    correct,
    correction_of,
)
from budgets.port import EventShaper, OutboxEvent
from budgets.stores.engine import Entry
from budgets.stores.redis_allowance import ALLOWED, Allowance
from budgets.stores.redis_journal import EndingJournal, Pending
from budgets.stores.redis_lane import Lane
from budgets.stores.redis_life import LedgerUnreachableError
from budgets.stores.redis_texts import (
    accounts_json,
    amounts_text,
    json_text,
    read_entry,
    read_hold,
)
from budgets.stores.redis_wire import (
    NO_EVENT,
    Answer,
    checked,
    entry_parts,
    event_parts,
    settlement_of,
)

EXPIRE_BATCH = 100
_log = logging.getLogger(__name__)


class Endings:
    """Settles, releases and expires the holds of one gateway, each once."""

    def __init__(
        self, lane: Lane, journal: EndingJournal, shaper: EventShaper, allowance: Allowance
    ) -> None:
        self._lane = lane
        self._journal = journal
        self._shaper = shaper
        self._allowance = allowance
        self._replaying = asyncio.Lock()
        self._sent_in: dict[str, str] = {}

    def sent(self, hold_id: str) -> None:
        """Remember in which life of the ledger a hold was dispatched."""
        self._sent_in[hold_id] = self._lane.epoch

    def recall(self, hold_id: str, epoch: str) -> None:
        """The same of a hold that another process dispatched."""
        self._sent_in.setdefault(hold_id, epoch)

    async def settle(
        self, hold: Hold, cost_nano: int, event: OutboxEvent, bill: Bill
    ) -> Settlement:
        closing = close(hold, Move.SETTLE, cost_nano, bill.posted)
        promise = Settlement(hold.hold_id, closing.state, closing.posted_nano, closing.overrun_nano)
        return await self._end(hold, cost_nano, event, bill, promise)

    async def release(self, hold: Hold, event: OutboxEvent | None) -> Settlement:
        promise = Settlement(hold.hold_id, HoldState.RELEASED, 0, 0)
        return await self._end(hold, None, event, PLAIN, promise)

    async def _end(
        self,
        hold: Hold,
        cost_nano: int | None,
        event: OutboxEvent | None,
        bill: Bill,
        promise: Settlement,
    ) -> Settlement:
        """Carry an ending out, or write down that it is owed."""
        epoch = self._sent_in.get(hold.hold_id, self._lane.epoch)
        if self._allowance.holds(hold.hold_id):
            epoch = ALLOWED
        pending = Pending(hold, cost_nano, event, epoch, bill)
        try:
            settlement = await self._carry_out(pending)
            self._allowance.told(hold.hold_id)
        except LedgerUnreachableError as error:
            _log.error("hold %s is settled in the local journal: %s", hold.hold_id, error)
            self._journal.append(pending)
            self._allowance.ended(pending)
            settlement = promise
        self._sent_in.pop(hold.hold_id, None)
        return settlement

    async def _carry_out(self, pending: Pending) -> Settlement:
        if pending.epoch == ALLOWED:
            settlement = await self._put_back(pending)
            if not settlement.repeated:
                return settlement
            # Redis made a hold before it fell silent, and has ended it since: the truth is late.
        hold, cost_nano, event, bill = pending.hold, pending.cost_nano, pending.event, pending.bill
        hold_id = hold.hold_id.encode()
        if cost_nano is None or event is None:
            parts = NO_EVENT if event is None else event_parts(event)
            answer = await self._lane.call("release", b"", hold_id, *parts)
        else:
            answer = await self._lane.call(
                "settle",
                b"",
                hold_id,
                accounts_json(hold.accounts),
                b"%d" % cost_nano,
                amounts_text(bill.posted),
                b"%d" % bill.tokens,
                json_text(bill.model),
                *event_parts(event),
            )
            if answer[0] == b"late":
                return await self._correct(pending, cost_nano, event, answer)
        if answer[0] == b"unknown":
            return await self._put_back(pending)
        return settlement_of(hold.hold_id, checked(hold.hold_id, answer))

    async def _correct(
        self, pending: Pending, cost_nano: int, event: OutboxEvent, late: Answer
    ) -> Settlement:
        """Post what the truth adds to an expiry; the expiry itself never changes again."""
        hold_id, bill = pending.hold.hold_id, pending.bill
        entry = read_entry(hold_id, orjson.loads(late[1]), correction=False)
        correction = correct(entry.settlement, cost_nano)
        taken = [posted for posted, _ in entry.each]
        closing = correction_of(entry.settlement, taken, correction, bill.posted)
        shaped = self._shaper.correction(event, correction.posted_nano)
        told = Entry(
            correction,
            entry.accounts,
            shaped.event_id,
            shaped.ended_ms,
            entry.admitted_ms,
            entry.scopes,
            _each(closing),
            bill.tokens - entry.tokens,
        )
        answer = await self._lane.call("correct", b"", *entry_parts(told, shaped.payload))
        return settlement_of(hold_id, checked(hold_id, answer))

    async def _put_back(self, pending: Pending) -> Settlement:
        """The ending of a hold that an earlier life of the ledger knew, and this one does not."""
        hold, cost_nano, event, bill = pending.hold, pending.cost_nano, pending.event, pending.bill
        if pending.epoch == self._lane.epoch:
            raise LedgerError(f"hold {hold.hold_id} is unknown or was never dispatched")
        if cost_nano is None:
            closing = Closing(HoldState.RELEASED, 0, 0, 0)
        else:
            closing = close(hold, Move.SETTLE, cost_nano, bill.posted)
        settlement = Settlement(
            hold.hold_id, closing.state, closing.posted_nano, closing.overrun_nano
        )
        if event is None:
            return settlement
        scopes = hold.scopes
        if scopes is not None and bill.model:
            scopes = scopes.with_model(bill.model)
        entry = Entry(
            settlement,
            hold.accounts,
            event.event_id,
            event.ended_ms,
            hold.admitted_ms,
            scopes,
            _each(closing),
            bill.tokens,
        )
        answer = await self._lane.call("restore", b"", *entry_parts(entry, event.payload))
        return settlement if int(answer[1]) else replace(settlement, repeated=True)

    async def replay(self) -> int:
        """Carry out the endings that are owed, each once; how many there were.

        One that the ledger contradicts is kept aside in `rejected.jsonl`.
        """
        async with self._replaying:
            owed = self._journal.take()
            for pending in owed:
                try:
                    await self._carry_out(pending)
                except LedgerUnreachableError:
                    raise
                except LedgerError as error:
                    _log.error("hold %s: an owed ending is rejected: %s", pending.hold, error)
                    self._journal.reject(pending)
                self._allowance.told(pending.hold.hold_id)
            if owed:
                self._journal.done()
                _log.warning("carried out %d endings that were owed to Redis", len(owed))
            return len(owed)

    async def give_back(self, hold_id: str) -> None:
        """Free what may be held under an id whose reservation got no answer."""
        await self._lane.call("release", b"", hold_id.encode(), *NO_EVENT)

    async def expire(self, clock: bytes) -> Sequence[Settlement]:
        """End every open hold whose lease ran out by `clock`, or by the time of Redis."""
        ended = list[Settlement]()
        while True:
            due = await self._lane.call("due", clock, b"%d" % EXPIRE_BATCH)
            at_ms, rows = int(due[1]), list(zip(due[2::3], due[3::3], due[4::3], strict=True))
            endings = {row[0]: self._expiry(*row, at_ms) for row in rows}
            if endings:
                ended += await self._end_due(endings)
            if len(rows) < EXPIRE_BATCH:
                return ended

    async def _end_due(
        self, endings: "dict[bytes, tuple[Settlement, tuple[bytes, ...]]]"
    ) -> Iterable[Settlement]:
        groups = [part for _, parts in endings.values() for part in parts]
        answer = await self._lane.call("expire", b"", *groups)
        return [endings[hold_id][0] for hold_id in answer[1:]]

    def _expiry(
        self, name: bytes, stored: bytes, draft: bytes, now_ms: int
    ) -> tuple[Settlement, tuple[bytes, ...]]:
        """What the expiry of a hold comes to, and how it is said to the script."""
        hold = read_hold(name.decode(), stored)
        closing = close(hold, Move.EXPIRE)
        settlement = Settlement(hold.hold_id, closing.state, closing.posted_nano, 0)
        # The entry of an expiry is of the moment it happened, whatever its event says.
        moment = b"%d" % now_ms
        if closing.state is HoldState.EXPIRED_FREED:
            return settlement, (name, stored, b"", b"", moment, b"null")
        event = self._shaper.assumed(draft, hold.amount_nano, now_ms)
        parts = event_parts(event)
        return settlement, (name, stored, *parts[:2], moment, parts[3])


def _each(closing: Closing) -> tuple[tuple[int, int], ...]:
    return tuple([(posted, overrun) for posted, _, overrun in closing.each])
