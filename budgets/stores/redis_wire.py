"""How the ledger's values are said to its scripts, and how their answers are read."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, cast

import orjson
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from budgets.ledger import Hold, HoldState, LedgerError, Settlement
from budgets.port import OutboxEvent, OutboxRow, RestoredEntry

Answer = list[bytes]
NO_EVENT = (b"", b"", b"", b"null")


def reader(url: str, timeout_s: float) -> Redis:
    """A client for other threads, which asks once and waits no longer than the timeout."""
    return Redis.from_url(
        url,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), 0),
    )


def read_stream(client: Redis, key: bytes, seq: int, limit: int) -> list[Any]:
    """The entries of the outbox after a number, as they come."""
    return cast(list[Any], client.xrange(key, f"({seq}-0", "+", limit))


def outbox_row(entry_id: bytes, fields: Mapping[bytes, bytes]) -> OutboxRow:
    """A stream entry as the collector knows it."""
    return OutboxRow(int(entry_id.partition(b"-")[0]), fields[b"id"].decode(), fields[b"payload"])


@lru_cache(maxsize=4096)
def accounts_json(accounts: tuple[str, ...]) -> bytes:
    return orjson.dumps(accounts)


def json_text(text: str) -> bytes:
    return orjson.dumps(text)


def event_parts(event: OutboxEvent) -> tuple[bytes, ...]:
    return (
        event.event_id.encode(),
        event.payload,
        b"%d" % event.ended_ms,
        json_text(event.event_id),
    )


def restored_parts(entry: RestoredEntry, payload: bytes) -> tuple[bytes, ...]:
    settlement = entry.settlement
    return (
        settlement.hold_id.encode(),
        b"1" if settlement.correction else b"",
        settlement.state.value.encode(),
        b"%d" % settlement.posted_nano,
        b"%d" % settlement.overrun_nano,
        b"%d" % entry.ended_ms,
        entry.event_id.encode(),
        payload,
        json_text(entry.event_id),
        accounts_json(entry.accounts),
    )


def checked(hold: Hold, answer: Answer) -> Answer:
    if answer[0] == b"error":
        raise LedgerError(f"hold {hold.hold_id} {answer[1].decode()}")
    return answer


def settlement_of(hold: Hold, answer: Answer) -> Settlement:
    _, state, posted, overrun, repeated, correction = answer
    return Settlement(
        hold.hold_id,
        HoldState(state.decode()),
        int(posted),
        int(overrun),
        repeated == b"1",
        correction == b"1",
    )
