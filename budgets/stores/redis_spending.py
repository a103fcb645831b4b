"""Who spent what, read from a Redis ledger that goes on working meanwhile."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any

import orjson
from redis import Redis
from redis.exceptions import RedisError

from budgets.openings import PartySpend
from budgets.stores.redis_life import LedgerUnreachableError
from budgets.stores.redis_scripts import Keys
from budgets.stores.redis_texts import read_entry
from budgets.stores.redis_wire import reader

SCAN_COUNT = 1_000
SCAN_TIMEOUT_S = 5.0


class RedisSpending:
    """`SeedingBooks` over every entry, a thousand at a time.

    Entries are only ever added, so what was there when it began is in it; what is added while it
    reads may be. `as_of` names that moment: the life of the ledger and its newest event.
    """

    def __init__(self, client: "Redis", keys: Keys) -> None:
        """Raise LedgerError where Redis cannot be read."""
        self._client = client
        self._keys = keys
        epoch, seq = _read(lambda: client.hmget(keys.meta, ["epoch", "seq"]))
        self.as_of = f"{(epoch or b'none').decode()} {(seq or b'0').decode()}"

    def spent_by_party(self, since_ms: int, bucket_s: int | None) -> Iterable[PartySpend]:
        """What was posted for requests admitted since a moment, by who spent it."""
        sums: dict[tuple[Any, ...], list[int]] = {}
        # An entry is there before its correction, so no correction is read without it.
        for key, correction in ((self._keys.correction, True), (self._keys.entry, False)):
            seen: set[bytes] = set()  # a scan may say the same entry twice
            for page in self._pages(key):
                for hold_id, text in page.items():
                    entry = read_entry("", orjson.loads(text), correction=correction)
                    if entry.scopes is None or entry.admitted_ms < since_ms or hold_id in seen:
                        continue
                    seen.add(hold_id)
                    moment_s = entry.admitted_ms // 1_000
                    start_s = 0 if bucket_s is None else moment_s - moment_s % bucket_s
                    total = sums.setdefault((entry.scopes, entry.accounts, start_s), [0, 0, 0])
                    total[0] += entry.settlement.posted_nano
                    total[1] += entry.tokens
                    total[2] += entry.requests
        return [PartySpend(*party, *total) for party, total in sums.items()]

    def _pages(self, key: bytes) -> Iterator[Mapping[bytes, bytes]]:
        cursor = 0
        while True:
            cursor, page = _read(lambda at=cursor: self._client.hscan(key, at, count=SCAN_COUNT))
            yield page
            if cursor == 0:
                return


def _read(ask: Any) -> Any:
    try:
        return ask()
    except (RedisError, OSError) as error:
        raise LedgerUnreachableError(f"the entries could not be read: {error}") from error


@contextmanager
def open_spending(url: str, org: str) -> Iterator[RedisSpending]:
    """Who spent what, as it is from here on; raise LedgerError where Redis cannot be read."""
    with closing(reader(url, SCAN_TIMEOUT_S)) as client:
        yield RedisSpending(client, Keys.of(org))
