"""The configured ledger: the only file that picks a store."""

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from budgets.ledger import Account, LedgerError
from budgets.port import EventShaper, LedgerBooks, OutboxRow, SeedingBooks
from budgets.scopes import ANY, Budget, Unit, decided_by, window_starts
from budgets.stores.account_names import accounts_in, largest_of, open_runs_in
from budgets.stores.in_sqlite import SqliteLedger
from budgets.stores.sqlite_books import open_books
from gateway.budget_report import Accounts
from gateway.clock import now_ms
from gateway.config import Settings
from gateway.data_dir import DataDir
from gateway.desk import Allow
from gateway.slots import left_slots, slot_paths
from gateway.tally import Tally
from telemetry.event import assumed_event, correction_event

if TYPE_CHECKING:
    from budgets.stores.in_redis import RedisLedger
    from telemetry.warehouse import Warehouse

# What speaks Redis is imported where a ledger is in Redis: it takes 7 MB that others do not need.
# So is the warehouse, which processes that only answer requests do without.
# ruff: noqa: PLC0415

LOG = logging.getLogger("weir.app")
AnyLedger: TypeAlias = "SqliteLedger | RedisLedger"


class LedgerChoice:
    """Opens the ledger that the configuration names, and reads its books.

    `directory` is for what a ledger in Redis remembers of this process, where several share the
    data directory. Only who `owns_warehouse` can tell a first start from a loss.
    """

    def __init__(
        self,
        settings: Settings,
        data: DataDir,
        *,
        directory: Path | None = None,
        owns_warehouse: bool = True,
    ) -> None:
        self._settings = settings
        self._data = data
        self._directory = data.redis if directory is None else directory
        self._owns_warehouse = owns_warehouse
        self._in_redis = settings.ledger.store == "redis"

    async def open(self, stack: AsyncExitStack, tally: Tally) -> AnyLedger:
        """The ledger with nothing left to do from before; the stack closes it."""
        if self._in_redis:
            shared = self._redis_ledger()
            shared.set_allowance(self._settings.ledger.allowance_usd)
            stack.push_async_callback(shared.aclose)
            await shared.open()
            if self._owns_warehouse:
                tally.ended_leases(await shared.expire(now_ms()))
            return shared
        ledger = SqliteLedger(
            self._data.ledger,
            EventShaper(assumed_event, correction_event),
            journal_sync_ms=self._settings.server.journal_sync_ms,
        )
        stack.callback(ledger.close)
        await _end_orphans(ledger, tally)
        return ledger

    def _redis_ledger(self) -> "RedisLedger":
        """Not connected yet. Where there is a warehouse nothing is new, so no ledger can be."""
        from budgets.stores.in_redis import RedisLedger

        return RedisLedger(
            self._redis_url,
            self._settings.server.org,
            EventShaper(assumed_event, correction_event),
            self._directory,
            timeout_ms=self._settings.ledger.timeout_ms,
            may_found=self._owns_warehouse and not self._data.warehouse.exists(),
            stateless=not self._owns_warehouse,
        )

    @property
    def _redis_url(self) -> str:
        return self._settings.env[self._settings.ledger.redis_url_env]

    def books(self) -> AbstractContextManager[LedgerBooks]:
        """The books as one snapshot, for the audit."""
        if self._in_redis:
            from budgets.stores import redis_books

            return redis_books.open_books(self._redis_url, self._settings.server.org)
        return open_books(self._data.ledger)

    @contextmanager
    def accounts(self) -> Iterator[Accounts]:
        """The accounts as they stand, by kind and window."""
        if self._in_redis:
            yield partial(accounts_in, self._redis_accounts().items())
            return
        with open_books(self._data.ledger) as books:
            yield books.accounts

    def largest(
        self, budget: Budget, now_s: int, closer: Sequence[Budget], limit: int
    ) -> tuple[int, Mapping[str, Account]]:
        """How many scopes of a wide budget have an account now, and the largest.

        Those that `closer` budgets stand in for are left out.
        """
        starts = window_starts(budget.window, budget.timezone, now_s)
        plain = budget.scope_id == ANY and budget.unit is Unit.USD
        if plain and not self._in_redis and not any(one.is_wide for one in closer):
            own = [one.scope_id for one in closer]
            with open_books(self._data.ledger) as books:
                return books.largest(budget.kind, budget.window, starts, own, limit)
        decides = decided_by(budget, closer)
        with self.accounts() as accounts:
            found = accounts(budget.kind, budget.window, starts, budget.unit)
        own_accounts = {name: account for name, account in found.items() if decides(name)}
        return largest_of(own_accounts, (), limit)

    def open_runs(self) -> Collection[str]:
        """The runs (`TEAM/NAME`) with a request under way; in Redis, those that have a budget."""
        if self._in_redis:
            return open_runs_in(self._redis_accounts().items())
        with open_books(self._data.ledger) as books:
            return books.open_runs()

    def open_holds(self) -> int:
        """How many requests have money held, on every gateway of this ledger."""
        if self._in_redis:
            from budgets.stores import redis_books

            return redis_books.read_open_holds(*self._redis_address)
        with open_books(self._data.ledger) as books:
            return books.open_holds()

    def owed_endings(self) -> tuple[int, int]:
        """Endings that Redis is to be told of, and those it contradicts; LedgerError on a fault.

        Those of worker processes are among them.
        """
        if not self._in_redis:
            return 0, 0
        from budgets.stores.redis_journal import EndingJournal

        directories = (self._directory, *slot_paths(self._directory))
        journals = [EndingJournal(directory) for directory in directories]
        return sum(one.owed() for one in journals), sum(one.rejected() for one in journals)

    @property
    def _redis_address(self) -> tuple[str, str, float]:
        timeout_s = self._settings.ledger.timeout_ms / 1000
        return self._redis_url, self._settings.server.org, timeout_s

    def _redis_accounts(self) -> Mapping[str, Account]:
        from budgets.stores import redis_books

        return redis_books.read_accounts(*self._redis_address)

    def spending(self) -> AbstractContextManager[SeedingBooks]:
        """Who spent what, from which new budgets are opened."""
        if self._in_redis:
            from budgets.stores.redis_spending import open_spending

            return open_spending(self._redis_url, self._settings.server.org)
        return open_books(self._data.ledger)

    async def rebuild(self, warehouse: "Warehouse") -> int:
        """Put back every entry that a Redis ledger lacks; how many there were."""
        if not self._in_redis:
            raise LedgerError('only a ledger in Redis is rebuilt, and config.toml says "sqlite"')
        from gateway.ledger_rebuild import restored_entries

        ledger = self._redis_ledger()
        try:
            added = await ledger.rebuild(restored_entries(warehouse, self._settings.budgets))
            await ledger.open()
            return added
        finally:
            await ledger.aclose()


def check_collects(ledger: AnyLedger) -> None:
    """Raise LedgerError where the events of this ledger are another gateway's to collect."""
    if not (isinstance(ledger, SqliteLedger) or ledger.collects):
        raise LedgerError(
            "another gateway collects the events of this ledger, and its warehouse holds those "
            "before: start this one on that one's data directory. Where that is lost, `weir ledger "
            "rebuild` on this data directory makes this one the collector"
        )


async def settle_debts(ledger: AnyLedger) -> None:
    """Carry out endings that Redis could not be told of; nothing for a ledger in a file."""
    if not isinstance(ledger, SqliteLedger):
        await ledger.settle_debts()


async def settle_left_debts(settings: Settings, data: DataDir) -> None:
    """The same for worker processes that are gone; raise LedgerError where Redis is away."""
    if settings.ledger.store != "redis":
        return
    from budgets.stores.redis_journal import EndingJournal

    for slot in left_slots(data.redis):
        if EndingJournal(slot.path).is_left():
            async with AsyncExitStack() as stack:
                choice = LedgerChoice(settings, data, directory=slot.path, owns_warehouse=False)
                await choice.open(stack, Tally())


def allowance_of(ledger: AnyLedger, settings: Settings) -> Allow | None:
    """How money is held while the ledger cannot be asked; None where nothing may be."""
    if isinstance(ledger, SqliteLedger) or not settings.ledger.allowance_usd:
        return None
    return ledger.allow


def allowance_left(ledger: AnyLedger, settings: Settings) -> Callable[[], int] | None:
    """What may still be held so, in nano-USD; None where nothing may be."""
    if isinstance(ledger, SqliteLedger) or not settings.ledger.allowance_usd:
        return None
    return ledger.allowance_left_nano


def shared_prefix(org: str) -> str:
    """What the names of everything begin with that an organisation keeps in Redis."""
    from budgets.stores.redis_scripts import Keys

    return Keys.of(org).meta.decode().removesuffix("meta")


def clock_of(ledger: AnyLedger) -> Callable[[], int]:
    """Gateways that share accounts share the clock by which their windows begin."""
    return now_ms if isinstance(ledger, SqliteLedger) else ledger.now_ms


def collectable(ledger: AnyLedger, seq: int, limit: int) -> Sequence[OutboxRow]:
    """The outbox, where it is this gateway's to collect: of those on one Redis, one does."""
    if isinstance(ledger, SqliteLedger) or ledger.collects:
        return ledger.outbox_after(seq, limit)
    return ()


async def _end_orphans(ledger: SqliteLedger, tally: Tally) -> None:
    """Settle what a killed gateway left open; this process owns the ledger now."""
    await ledger.abandon_leases()
    while ended := await ledger.expire(now_ms()):
        tally.ended_leases(ended)
        LOG.warning("ended %d holds that an earlier process left open", len(ended))
