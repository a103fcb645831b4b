"""The ledger in Redis: many gateways, one set of accounts.

Every move is one Lua script (`budgets/lua/`), so it is one step for all gateways; the rules are
those of `budgets/ledger.py`. Leases are counted by the server's clock. Where Redis does not answer
in time, the move fails and the request is denied, with one exception: what a provider was paid for.
Such an ending is written to a local file and carried out when Redis is back (`redis_journal`). What
a Redis that was restarted, replaced or flushed says is not believed until a rebuild (`redis_life`).
"""

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError

from budgets.ledger import (
    Account,
    Hold,
    HoldState,
    LedgerError,
    Move,
    Refusal,
    Reservation,
    Settlement,
    close,
    correct,
    dispatched,
    open_hold,
)
from budgets.port import EventShaper, OutboxEvent, OutboxRow, RestoredEntry
from budgets.stores.redis_greeting import found, meet
from budgets.stores.redis_journal import EndingJournal, Pending
from budgets.stores.redis_lane import Lane
from budgets.stores.redis_life import (
    Epoch,
    EpochMemory,
    LedgerLostError,
    LedgerUnreachableError,
    check_life,
    gateway_name,
)
from budgets.stores.redis_scripts import Keys
from budgets.stores.redis_wire import (
    NO_EVENT,
    Answer,
    accounts_json,
    checked,
    event_parts,
    json_text,
    outbox_row,
    read_stream,
    reader,
    restored_parts,
    settlement_of,
)

EXPIRE_BATCH = 100
RESTORE_BATCH = 200
MAX_DOUBTFUL = 10_000
REBUILD_TIMEOUT_S = 10.0
_log = logging.getLogger(__name__)


class RedisLedger:
    """`LedgerStore` on a Redis server. Use it from one event loop; only `outbox_after` is free."""

    def __init__(
        self,
        url: str,
        org: str,
        shaper: EventShaper,
        directory: Path,
        *,
        timeout_ms: int = 250,
        may_found: bool = False,
        server_time: bool = True,
    ) -> None:
        """Use `directory` for what must outlive this process; nothing is connected yet.

        `may_found`: a server without a ledger is a first start, not a loss. Without `server_time`
        leases are counted by the times that callers give.
        """
        self._keys = Keys.of(org)
        self._url = url
        self._shaper = shaper
        self._may_found = may_found
        self._server_time = server_time
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LedgerError(f"{directory} cannot be made: {error}") from error
        self._memory = EpochMemory(directory / "epoch")
        self._name = gateway_name(directory / "gateway")
        self.collects = False  # whether the outbox is this gateway's to collect
        self._journal = EndingJournal(directory)
        self._replaying = asyncio.Lock()
        self._lane = Lane(url, self._keys, timeout_ms / 1000, self._greet)
        self._reader = reader(url, timeout_ms / 1000)
        self._sent_in: dict[str, str] = {}
        self._doubtful: dict[str, None] = {}  # in the order in which they were asked for
        self._newest_seq = 0
        self._ahead_ms = 0
        self._closing: asyncio.Task[None] | None = None

    # -- the server -------------------------------------------------------------------------

    async def open(self) -> None:
        """Find Redis fit for a ledger, and carry out what is owed; raise LedgerError otherwise."""
        await self._lane.greet()
        await self.replay()

    async def _greet(self, connection: AbstractConnection) -> bytes:
        server = await meet(connection, self._keys)
        if server.epoch is None and self._memory.known is None and self._may_found:
            server = await found(connection, self._keys, server, Epoch.after(), self._name)
        self._hear_time(server.now_ms)
        epoch = check_life(server, self._memory.known)
        if server.newest_seq < self._newest_seq:
            raise LedgerLostError("Redis holds fewer events than this gateway has read from it")
        self._memory.remember(epoch)
        self.collects = server.collector == self._name
        return epoch.text.encode()

    async def _greet_to_rebuild(self, connection: AbstractConnection) -> bytes:
        server = await meet(connection, self._keys)
        return b"" if server.epoch is None else server.epoch.text.encode()

    def now_ms(self) -> int:
        """The time of Redis, by which leases and windows are counted, whatever this host's is."""
        return int(time.monotonic() * 1000) + self._ahead_ms

    def _hear_time(self, server_ms: int) -> None:
        self._ahead_ms = server_ms - int(time.monotonic() * 1000)

    def _clock(self, now_ms: int) -> bytes:
        return b"" if self._server_time else b"%d" % now_ms

    # -- LedgerStore ------------------------------------------------------------------------

    async def survey(self, accounts: Sequence[str]) -> Mapping[str, Account]:
        answer = await self._lane.call("survey", b"", *[name.encode() for name in accounts])
        sums = zip(accounts, answer[1::3], answer[2::3], answer[3::3], strict=True)
        return {
            name: Account(int(posted), int(held), int(overrun))
            for name, posted, held, overrun in sums
            if held
        }

    async def reserve(self, reservation: Reservation) -> Hold | Refusal:
        hold = open_hold(reservation)
        arguments = [
            self._clock(reservation.now_ms),
            hold.hold_id.encode(),
            b"%d" % hold.amount_nano,
            b"%d" % reservation.lease_ms,
            accounts_json(hold.accounts),
        ]
        for charge in reservation.charges:
            arguments.append(charge.account.encode())
            arguments.append(b"" if charge.limit_nano is None else b"%d" % charge.limit_nano)
            arguments.append(b"lone" if charge.lone else b"")
        try:
            answer = checked(hold, await self._lane.call("reserve", *arguments))
        except LedgerUnreachableError:
            if len(self._doubtful) < MAX_DOUBTFUL:
                self._doubtful[hold.hold_id] = None
            raise
        self._doubtful.pop(hold.hold_id, None)
        self._hear_time(int(answer[4]))
        if answer[0] == b"refused":
            charge = reservation.charges[int(answer[1])]
            return Refusal(
                scope=charge.scope,
                window=charge.window,
                limit_nano=charge.limit_nano or 0,
                spent_nano=int(answer[2]),
                held_nano=int(answer[3]),
                needed_nano=hold.amount_nano,
                resets_at_s=charge.resets_at_s,
            )
        return Hold(
            hold.hold_id,
            HoldState(answer[1].decode()),
            hold.amount_nano,
            hold.accounts,
            int(answer[2]),
            int(answer[3]),
        )

    async def dispatch(self, hold: Hold, draft: bytes) -> Hold:
        after = dispatched(hold)
        checked(hold, await self._lane.call("dispatch", b"", hold.hold_id.encode(), draft))
        self._sent_in[hold.hold_id] = self._lane.epoch
        return after

    async def settle(self, hold: Hold, cost_nano: int, event: OutboxEvent) -> Settlement:
        closing = close(hold, Move.SETTLE, cost_nano)
        promise = Settlement(hold.hold_id, closing.state, closing.posted_nano, closing.overrun_nano)
        return await self._end(hold, cost_nano, event, promise)

    async def release(self, hold: Hold, event: OutboxEvent | None) -> Settlement:
        promise = Settlement(hold.hold_id, HoldState.RELEASED, 0, 0)
        return await self._end(hold, None, event, promise)

    async def record(self, event: OutboxEvent) -> None:
        await self._lane.call("record", b"", event.event_id.encode(), event.payload)

    async def expire(self, now_ms: int) -> Sequence[Settlement]:
        """End every open hold whose lease ran out; first carry out what is owed.

        A hold whose reservation failed for want of an answer goes back as well, if there is one.
        """
        await self.replay()
        for hold_id in list(self._doubtful):
            await self._lane.call("release", b"", hold_id.encode(), *NO_EVENT)
            self._doubtful.pop(hold_id, None)
        clock, ended = self._clock(now_ms), list[Settlement]()
        while True:
            due = await self._lane.call("due", clock, b"%d" % EXPIRE_BATCH)
            at_ms, rows = int(due[1]), list(zip(due[2::3], due[3::3], due[4::3], strict=True))
            endings = {row[0]: self._expiry(*row, at_ms) for row in rows}
            if endings:
                groups = [part for _, parts in endings.values() for part in parts]
                answer = await self._lane.call("expire", b"", *groups)
                ended += [endings[hold_id][0] for hold_id in answer[1:]]
            if len(rows) < EXPIRE_BATCH:
                return ended

    def _expiry(
        self, hold_id: bytes, stored: bytes, draft: bytes, now_ms: int
    ) -> tuple[Settlement, tuple[bytes, ...]]:
        """What the expiry of a hold comes to, and how it is said to the script."""
        state, amount, _ = stored.split(b"|", 2)
        name = hold_id.decode()
        if state == b"held":
            freed = Settlement(name, HoldState.EXPIRED_FREED, 0, 0)
            return freed, (hold_id, stored, b"", b"", b"%d" % now_ms, b"null")
        event = self._shaper.assumed(draft, int(amount), now_ms)
        charged = Settlement(name, HoldState.EXPIRED_CHARGED, int(amount), 0)
        # The entry of an expiry is of the moment it happened, whatever its event says.
        moment = b"%d" % now_ms
        return charged, (
            hold_id,
            stored,
            *event_parts(event)[:2],
            moment,
            json_text(event.event_id),
        )

    def outbox_after(self, seq: int, limit: int) -> Sequence[OutboxRow]:
        try:
            entries = read_stream(self._reader, self._keys.outbox, seq, limit)
        except RedisError as error:
            raise LedgerUnreachableError(f"the outbox could not be read: {error}") from error
        rows = [outbox_row(*entry) for entry in entries]
        if rows:
            self._newest_seq = max(self._newest_seq, rows[-1].seq)
        return rows

    async def trim_outbox(self, up_to_seq: int) -> None:
        await self._lane.call("trim", b"", b"%d-0" % (up_to_seq + 1))

    def close(self) -> None:
        """Hang up; a loop that runs finishes what is under way first."""
        self._reader.close()
        try:
            self._closing = asyncio.get_running_loop().create_task(self._lane.aclose())
        except RuntimeError:
            return  # no loop runs, and without one nothing can be under way

    async def aclose(self) -> None:
        """Finish what is under way and hang up."""
        self._reader.close()
        await self._lane.aclose()

    # -- endings ----------------------------------------------------------------------------

    async def _end(
        self, hold: Hold, cost_nano: int | None, event: OutboxEvent | None, promise: Settlement
    ) -> Settlement:
        """Carry an ending out, or write down that it is owed."""
        epoch = self._sent_in.get(hold.hold_id, self._lane.epoch)
        pending = Pending(hold, cost_nano, event, epoch)
        try:
            settlement = await self._carry_out(pending)
        except LedgerUnreachableError as error:
            _log.error("hold %s is settled in the local journal: %s", hold.hold_id, error)
            self._journal.append(pending)
            settlement = promise
        self._sent_in.pop(hold.hold_id, None)
        return settlement

    async def _carry_out(self, pending: Pending) -> Settlement:
        hold, cost_nano, event = pending.hold, pending.cost_nano, pending.event
        hold_id = hold.hold_id.encode()
        if cost_nano is None or event is None:
            parts = NO_EVENT if event is None else event_parts(event)
            answer = await self._lane.call("release", b"", hold_id, *parts)
        else:
            answer = await self._lane.call(
                "settle",
                b"",
                hold_id,
                b"%d" % hold.amount_nano,
                accounts_json(hold.accounts),
                b"%d" % cost_nano,
                *event_parts(event),
            )
            if answer[0] == b"late":
                return await self._correct(hold, cost_nano, event, answer)
        if answer[0] == b"unknown":
            return await self._put_back(pending)
        return settlement_of(hold, checked(hold, answer))

    async def _correct(
        self, hold: Hold, cost_nano: int, event: OutboxEvent, late: Answer
    ) -> Settlement:
        """Post what the truth adds to an expiry; the expiry itself never changes again."""
        first = Settlement(hold.hold_id, HoldState(late[1].decode()), int(late[2]), 0)
        correction = correct(first, cost_nano)
        shaped = self._shaper.correction(event, correction.posted_nano)
        answer = await self._lane.call(
            "correct",
            b"",
            hold.hold_id.encode(),
            accounts_json(hold.accounts),
            late[1],
            b"%d" % correction.posted_nano,
            b"%d" % correction.overrun_nano,
            *event_parts(shaped),
        )
        return settlement_of(hold, checked(hold, answer))

    async def _put_back(self, pending: Pending) -> Settlement:
        """The ending of a hold that an earlier life of the ledger knew, and this one does not."""
        hold, cost_nano, event = pending.hold, pending.cost_nano, pending.event
        if pending.epoch == self._lane.epoch:
            raise LedgerError(f"hold {hold.hold_id} is unknown or was never dispatched")
        state = HoldState.RELEASED if cost_nano is None else HoldState.SETTLED
        posted = cost_nano or 0
        settlement = Settlement(hold.hold_id, state, posted, max(0, posted - hold.amount_nano))
        if event is None:
            return settlement
        entry = RestoredEntry(settlement, hold.accounts, event.event_id, event.ended_ms)
        answer = await self._lane.call("restore", b"", *restored_parts(entry, event.payload))
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
            if owed:
                self._journal.done()
                _log.warning("carried out %d endings that were owed to Redis", len(owed))
            return len(owed)

    # -- after a loss -----------------------------------------------------------------------

    async def rebuild(self, entries: Iterable[RestoredEntry]) -> int:
        """Put back what is missing and begin the next life of the ledger; how many entries were.

        Entries that are there stay as they are, so any number of rebuilds, at once or one after
        the other, post each entry once. Raise LedgerError where Redis cannot be reached.
        """
        lane = Lane(self._url, self._keys, REBUILD_TIMEOUT_S, self._greet_to_rebuild)
        try:
            await lane.greet()
            added, remaining = 0, iter(entries)
            while chunk := list(islice(remaining, RESTORE_BATCH)):
                parts = [part for entry in chunk for part in restored_parts(entry, b"")]
                added += int((await lane.call("restore", b"", *parts))[1])
            connection = await lane.connected()
            server = await meet(connection, self._keys)
            later = Epoch.after(server.epoch, self._memory.known)
            server = await found(connection, self._keys, server, later, self._name)
            self._memory.remember(check_life(server, self._memory.known))
        finally:
            await lane.aclose()
        self._newest_seq = 0
        return added
