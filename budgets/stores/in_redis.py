"""The ledger in Redis: many gateways, one set of accounts.

Every move is one Lua script (`budgets/lua/`), so it is one step for all gateways; the rules are
those of `budgets/ledger.py`. Leases are counted by the server's clock. Where Redis does not answer
in time, the move fails and the request is denied, with one exception: what a provider was paid for.
Such an ending is written to a local file and carried out when Redis is back (`redis_endings`). What
a Redis that was restarted, replaced or flushed says is not believed until a rebuild (`redis_life`).
"""

import asyncio
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError

from budgets.ledger import (
    PLAIN,
    Account,
    Bill,
    BudgetsChangedError,
    Hold,
    HoldState,
    LedgerError,
    Refusal,
    Reservation,
    Settlement,
    dispatched,
    extended,
    open_hold,
)
from budgets.port import EventShaper, OutboxEvent, OutboxRow, RestoredEntry
from budgets.stores.redis_allowance import Allowance
from budgets.stores.redis_endings import Endings
from budgets.stores.redis_greeting import found, meet
from budgets.stores.redis_journal import EndingJournal
from budgets.stores.redis_lane import Lane
from budgets.stores.redis_life import (
    Epoch,
    EpochMemory,
    LedgerLostError,
    LedgerUnreachableError,
    check_life,
    gateway_name,
)
from budgets.stores.redis_openings import Openings
from budgets.stores.redis_scripts import Keys
from budgets.stores.redis_texts import entry_of
from budgets.stores.redis_wire import (
    Answer,
    asked_parts,
    checked,
    entry_parts,
    outbox_row,
    read_stream,
    reader,
    refusal_of,
)

RESTORE_BATCH = 200
MAX_DOUBTFUL = 10_000
REBUILD_TIMEOUT_S = 10.0
STATELESS = "gateways"


class RedisLedger:
    """`SeedingLedger` on a Redis server, for one event loop; only `outbox_after` is free."""

    def __init__(
        self,
        url: str,
        org: str,
        shaper: EventShaper,
        directory: Path,
        *,
        timeout_ms: int = 250,
        may_found: bool = False,
        stateless: bool = False,
        server_time: bool = True,
    ) -> None:
        """Use `directory` for what must outlive this process; nothing is connected yet.

        `may_found`: a server without a ledger is a first start, not a loss. `stateless`: one of
        many that come and go, do not collect and are told apart by nobody. Without `server_time`
        leases are counted by the times that callers give.
        """
        self._keys = Keys.of(org)
        self._url = url
        self._may_found = may_found
        self._server_time = server_time
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LedgerError(f"{directory} cannot be made: {error}") from error
        self._memory = EpochMemory(directory / "epoch")
        self._name = STATELESS if stateless else gateway_name(directory / "gateway")
        self.collects = False  # whether the outbox is this gateway's to collect
        self._lane = Lane(url, self._keys, timeout_ms / 1000, self._greet)
        journal = EndingJournal(directory)
        self._allowance = Allowance(journal, shaper)
        self._endings = Endings(self._lane, journal, shaper, self._allowance)
        self._openings = Openings(self._lane, self._name)
        self._reader = reader(url, timeout_ms / 1000)
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
        return {
            name: Account(int(posted or 0), int(held), int(overrun or 0))
            for name, posted, held, overrun in zip(accounts, *answer[1:], strict=True)
            if held
        }

    async def reserve(self, reservation: Reservation) -> Hold | Refusal:
        hold = open_hold(reservation)
        parts = asked_parts(reservation, hold)
        try:
            answer = await self._lane.call("reserve", self._clock(reservation.now_ms), *parts)
        except LedgerUnreachableError:
            if len(self._doubtful) < MAX_DOUBTFUL:
                self._doubtful[hold.hold_id] = None
            raise
        self._doubtful.pop(hold.hold_id, None)
        return self._answered(reservation, hold, answer)

    def set_allowance(self, limit_nano: int) -> None:
        """How much may be held here while Redis cannot be asked; nothing until this is called."""
        self._allowance.limit_nano = limit_nano

    def allow(self, reservation: Reservation) -> Hold | None:
        """Hold within this gateway's allowance what Redis could not be asked for.

        None where a budget of the request is hard, or the allowance does not bear it.
        """
        hold = self._allowance.reserve(reservation)
        if hold is not None:
            self._doubtful.pop(hold.hold_id, None)  # its ending ends one that Redis made, too
        return hold

    def allowance_left_nano(self) -> int:
        """What may still be held without Redis."""
        return self._allowance.left_nano

    def _answered(self, reservation: Reservation, hold: Hold, answer: Answer) -> Hold | Refusal:
        """What reserve and extend come to; `hold` is what was asked for."""
        checked(hold.hold_id, answer)
        if answer[0] == b"budgets_changed":
            raise BudgetsChangedError("other budgets are in force")
        if answer[0] == b"refused":
            self._hear_time(int(answer[1]))
            return refusal_of(reservation, answer)
        self._hear_time(int(answer[4]))
        return Hold(
            hold.hold_id,
            HoldState(answer[1].decode()),
            hold.amount_nano,
            hold.accounts,
            int(answer[2]),
            int(answer[3]),
            hold.scopes,
            hold.amounts,
        )

    async def extend(self, hold: Hold, reservation: Reservation) -> Hold | Refusal:
        """An extension that gets no answer may have been made: it is given back with the hold."""
        if hold.hold_id != reservation.hold_id:
            raise LedgerError(f"hold {hold.hold_id} is not there to extend")
        larger = extended(hold, reservation)
        if self._allowance.holds(hold.hold_id):
            return self._allowance.extend(larger)
        parts = asked_parts(reservation, larger)
        answer = await self._lane.call("extend", self._clock(reservation.now_ms), *parts)
        return self._answered(reservation, larger, answer)

    async def dispatch(self, hold: Hold, draft: bytes) -> Hold:
        after = dispatched(hold)
        if self._allowance.holds(hold.hold_id):
            self._allowance.sent(after, draft)
            return after
        answer = await self._lane.call("dispatch", b"", hold.hold_id.encode(), draft)
        checked(hold.hold_id, answer)
        self._endings.sent(hold.hold_id)
        return after

    async def settle(
        self, hold: Hold, cost_nano: int, event: OutboxEvent, bill: Bill = PLAIN
    ) -> Settlement:
        return await self._endings.settle(hold, cost_nano, event, bill)

    async def release(self, hold: Hold, event: OutboxEvent | None) -> Settlement:
        return await self._endings.release(hold, event)

    @property
    def life(self) -> str:
        return self._lane.epoch

    def recall(self, hold_id: str, life: str) -> None:
        self._endings.recall(hold_id, life)

    async def record(self, event: OutboxEvent) -> None:
        await self._lane.call("record", b"", event.event_id.encode(), event.payload)

    async def expire(self, now_ms: int) -> Sequence[Settlement]:
        """End every open hold whose lease ran out; first carry out what is owed."""
        await self.settle_debts()
        return await self._endings.expire(self._clock(now_ms))

    async def settle_debts(self) -> None:
        """`replay`, and give back holds whose reservation failed for want of an answer."""
        await self.replay()
        for hold_id in list(self._doubtful):
            await self._endings.give_back(hold_id)
            self._doubtful.pop(hold_id, None)

    async def replay(self) -> int:
        """Carry out the endings that are owed, each once; how many there were."""
        return await self._endings.replay()

    async def carry_over(self, totals: Mapping[str, int], now_ms: int, as_of: str = "") -> None:
        await self._openings.carry_over(totals, now_ms, as_of)

    async def counting(self) -> Collection[str]:
        return await self._openings.counting()

    async def note_counting(self, names: Collection[str]) -> None:
        await self._openings.note_counting(names)

    async def oldest_hold_ms(self) -> int | None:
        return await self._openings.oldest_hold_ms()

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
        """Forget events, unless another gateway has become the one that collects."""
        first = b"%d-0" % (up_to_seq + 1)
        await self._lane.call("trim", b"", first, self._name.encode())

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
                parts = [part for entry in chunk for part in entry_parts(entry_of(entry), b"")]
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
