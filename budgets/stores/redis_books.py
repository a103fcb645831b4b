"""What the Redis ledger holds, read as one consistent snapshot for the audit."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from typing import Any

import orjson
from redis import Redis
from redis.exceptions import RedisError

from budgets.ledger import Account
from budgets.port import EntryTotal, OutboxRow
from budgets.scopes import AnyWindow, ScopeKind
from budgets.stores.account_names import accounts_in
from budgets.stores.redis_life import LedgerUnreachableError
from budgets.stores.redis_scripts import Keys
from budgets.stores.redis_wire import outbox_row, reader

Sums = dict[bytes, bytes]
SNAPSHOT_TIMEOUT_S = 60.0


class RedisBooks:
    """`LedgerBooks` over what one transaction read; each entry in memory is about 300 bytes."""

    def __init__(
        self,
        accounts: Mapping[str, Account],
        holds: Iterable[bytes],
        entries: Iterable[bytes],
        outbox: Iterable[tuple[bytes, Mapping[bytes, bytes]]],
    ) -> None:
        self._accounts = accounts
        self._holds = list(holds)
        # state, posted, overrun, ended_ms, event id, accounts
        self._entries: list[list[Any]] = [orjson.loads(entry) for entry in entries]
        self._outbox = [outbox_row(*entry) for entry in outbox]

    def totals_by_day(self) -> Iterable[EntryTotal]:
        by_day: dict[str, list[int]] = {}
        for _, posted, _, ended_ms, event_id, _ in self._entries:
            if event_id is not None:
                by_day.setdefault(_day(ended_ms), []).append(posted)
        return [EntryTotal(day, len(posted), sum(posted)) for day, posted in sorted(by_day.items())]

    def entries_of_day(self, day: str) -> Mapping[str, int]:
        return {
            event_id: posted
            for _, posted, _, ended_ms, event_id, _ in self._entries
            if event_id is not None and _day(ended_ms) == day
        }

    def outbox(self) -> Iterable[OutboxRow]:
        return self._outbox

    def accounts(
        self, kind: ScopeKind, window: AnyWindow, starts: Collection[int]
    ) -> Mapping[str, Account]:
        """What is in the accounts of a kind that begin at any of `starts`, by scope id."""
        return accounts_in(self._accounts.items(), kind, window, starts)

    def faults(self) -> Sequence[str]:
        expected: dict[str, list[int]] = {}
        for _, posted, overrun, _, _, names in self._entries:
            for name in names:
                sums = expected.setdefault(name, [0, 0, 0])
                sums[0] += posted
                sums[2] += overrun
        for stored in self._holds:
            _, amount, _, _, accounts = stored.split(b"|", 4)
            for name in orjson.loads(accounts):
                expected.setdefault(name, [0, 0, 0])[1] += int(amount)
        told = {name: Account(*sums) for name, sums in expected.items()}
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
                ("HVALS", keys.hold),
                ("HVALS", keys.entry),
                ("HVALS", keys.correction),
                ("XRANGE", keys.outbox),
            )
    except (RedisError, OSError) as error:
        raise LedgerUnreachableError(f"the ledger could not be read: {error}") from error
    yield RedisBooks(_accounts(posted, held, overrun), holds, [*entries, *corrections], outbox)


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


def read_open_holds(url: str, org: str, timeout_s: float) -> int:
    """How many requests have money held; raise LedgerError where Redis cannot be read."""
    try:
        with closing(reader(url, timeout_s)) as client:
            return int(client.hlen(Keys.of(org).hold.decode()))
    except (RedisError, OSError) as error:
        raise LedgerUnreachableError(f"the holds could not be read: {error}") from error
