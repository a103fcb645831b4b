"""What the Redis ledger holds, read as one consistent snapshot for the audit."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from typing import Any

import orjson
from redis import Redis
from redis.exceptions import RedisError

from budgets.ledger import NOTHING, Account, joined
from budgets.openings import PartySpend
from budgets.port import EntryTotal, OutboxRow
from budgets.scopes import AnyWindow, ScopeKind, Unit
from budgets.stores.account_names import accounts_in
from budgets.stores.redis_life import LedgerUnreachableError
from budgets.stores.redis_scripts import Keys
from budgets.stores.redis_spending import RedisSpending, open_spending
from budgets.stores.redis_texts import read_entry, read_hold
from budgets.stores.redis_wire import outbox_row, reader

Sums = dict[bytes, bytes]
SNAPSHOT_TIMEOUT_S = 60.0


class RedisBooks:
    """`SeedingBooks` over what one transaction read; each entry in memory is about 300 bytes."""

    def __init__(
        self,
        accounts: Mapping[str, Account],
        holds: Mapping[bytes, bytes],
        entries: Iterable[bytes],
        outbox: Iterable[tuple[bytes, Mapping[bytes, bytes]]],
        spending: RedisSpending,
    ) -> None:
        self._accounts = accounts
        self._holds = [read_hold(name.decode(), stored) for name, stored in holds.items()]
        self._entries = [read_entry("", orjson.loads(text), correction=False) for text in entries]
        self._outbox = [outbox_row(*entry) for entry in outbox]
        self._spending = spending
        self.as_of = spending.as_of

    def totals_by_day(self) -> Iterable[EntryTotal]:
        by_day: dict[str, list[int]] = {}
        for entry in self._entries:
            if entry.event_id is not None:
                by_day.setdefault(_day(entry.ended_ms), []).append(entry.settlement.posted_nano)
        return [EntryTotal(day, len(posted), sum(posted)) for day, posted in sorted(by_day.items())]

    def entries_of_day(self, day: str) -> Mapping[str, int]:
        return {
            entry.event_id: entry.settlement.posted_nano
            for entry in self._entries
            if entry.event_id is not None and _day(entry.ended_ms) == day
        }

    def spent_by_party(self, since_ms: int, bucket_s: int | None) -> Iterable[PartySpend]:
        return self._spending.spent_by_party(since_ms, bucket_s)

    def outbox(self) -> Iterable[OutboxRow]:
        return self._outbox

    def accounts(
        self,
        kind: ScopeKind,
        window: AnyWindow,
        starts: Collection[int],
        unit: Unit = Unit.USD,
    ) -> Mapping[str, Account]:
        """What is in the accounts of a kind that begin at any of `starts`, by scope id."""
        return accounts_in(self._accounts.items(), kind, window, starts, unit)

    def faults(self) -> Sequence[str]:
        told: dict[str, Account] = {}
        moves = [
            (name, Account(posted, 0, overrun))
            for entry in self._entries
            for name, posted, overrun in entry.amounts()
        ]
        moves += [
            (name, Account(0, amount, 0))
            for hold in self._holds
            for name, amount in zip(hold.accounts, hold.on_each(), strict=True)
        ]
        for name, took in moves:
            told[name] = joined(told.get(name, NOTHING), took)
        return [
            f"account {name}: is {self._accounts.get(name)} but entries and open holds say "
            f"{told.get(name)}"
            for name in sorted(told.keys() | self._accounts.keys())
            if self._accounts.get(name) != told.get(name)
        ]


def _day(ended_ms: int) -> str:
    return datetime.fromtimestamp(ended_ms / 1000, UTC).strftime("%Y-%m-%d")


def _accounts(posted: Sums, held: Sums, overrun: Sums) -> dict[str, Account]:
    return {
        name.decode(): Account(int(posted.get(name, 0)), int(nano), int(overrun.get(name, 0)))
        for name, nano in held.items()
    }


def _transaction(client: "Redis", *reads: tuple[str, bytes]) -> list[Any]:
    pipeline = client.pipeline(transaction=True)
    for command, key in reads:
        if command == "HGETALL":
            pipeline.hgetall(key)
        elif command == "HVALS":
            pipeline.hvals(key)
        else:
            pipeline.xrange(key)
    return list(pipeline.execute())


@contextmanager
def open_books(url: str, org: str) -> Iterator[RedisBooks]:
    """The whole ledger as it is at one moment, read in one transaction.

    Redis serves nobody else meanwhile, so this is for the audit. Raise LedgerError where Redis
    cannot be read.
    """
    keys = Keys.of(org)
    try:
        with closing(reader(url, SNAPSHOT_TIMEOUT_S)) as client:
            posted, held, overrun, holds, entries, corrections, outbox = _transaction(
                client,
                ("HGETALL", keys.posted),
                ("HGETALL", keys.held),
                ("HGETALL", keys.overrun),
                ("HGETALL", keys.hold),
                ("HVALS", keys.entry),
                ("HVALS", keys.correction),
                ("XRANGE", keys.outbox),
            )
    except (RedisError, OSError) as error:
        raise LedgerUnreachableError(f"the ledger could not be read: {error}") from error
    with open_spending(url, org) as spending:
        known = _accounts(posted, held, overrun)
        yield RedisBooks(known, holds, [*entries, *corrections], outbox, spending)


def read_accounts(url: str, org: str, timeout_s: float) -> Mapping[str, Account]:
    """Every account as it is at one moment; raise LedgerError where Redis cannot be read."""
    keys = Keys.of(org)
    try:
        with closing(reader(url, timeout_s)) as client:
            sums = _transaction(
                client,
                ("HGETALL", keys.posted),
                ("HGETALL", keys.held),
                ("HGETALL", keys.overrun),
            )
    except (RedisError, OSError) as error:
        raise LedgerUnreachableError(f"the accounts could not be read: {error}") from error
    return _accounts(*sums)
