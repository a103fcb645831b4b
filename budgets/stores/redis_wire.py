"""How the ledger's values are said to its scripts, and how their answers are read."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, cast

from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from budgets.admission import admit, surveyed
from budgets.ledger import (
    Account,
    Hold,
    HoldState,
    LedgerError,
    Refusal,
    Reservation,
    Settlement,
    amount_of,
)
from budgets.port import OutboxEvent, OutboxRow
from budgets.stores.engine import Entry
from budgets.stores.redis_texts import (
    accounts_json,
    amounts_text,
    json_text,
    parties_json,
    read_hold,
)

Answer = list[Any]
"""What a script says: bytes, and lists of bytes or None."""
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


def asked_parts(reservation: Reservation, hold: Hold) -> list[bytes]:
    """What reserve and extend are told (`limits.lua`): the hold that shall be, and its limits.

    The names to read are those that `surveyed` gives, in its order.
    """
    counted: list[bytes] = []
    limits: list[bytes] = []
    wide: list[bytes] = []
    kept = len(hold.accounts)
    for charge in reservation.charges:
        limit = b"" if charge.limit_nano is None else b"%d" % charge.limit_nano
        if not (charge.lone or charge.counted):
            limits.append(limit)
            continue
        first = kept + len(counted) + 1
        counted += [name.encode() for name in charge.counted]
        if not charge.lone:
            limits.append(b"")
        if limit:
            own = 0 if charge.lone else len(limits)
            places = (own, first, kept + len(counted))
            wide += [limit, b"%d" % amount_of(reservation, charge), *map(_number, places)]
    return [
        hold.hold_id.encode(),
        b"%d" % hold.amount_nano,
        amounts_text(hold.amounts),
        b"%d" % reservation.lease_ms,
        parties_json(hold.scopes),
        b"-" if reservation.budgets is None else reservation.budgets.encode(),
        b"%d" % (kept + len(counted)),
        *_kept_parts(hold.accounts),
        *counted,
        *limits,
        *wide,
    ]


@lru_cache(maxsize=4096)
def _kept_parts(accounts: tuple[str, ...]) -> tuple[bytes, ...]:
    """How many accounts are kept, all of them as JSON, and each of them."""
    names = [name.encode() for name in accounts]
    return (_number(len(names)), accounts_json(accounts), *names)


def _number(number: int) -> bytes:
    return b"%d" % number


def refusal_of(reservation: Reservation, answer: Answer) -> Refusal:
    """Why the script refused: what the rules say of the sums that it saw."""
    _, _, stored, posted, held = answer
    sums = zip(surveyed(reservation.charges), posted, held, strict=True)
    accounts = {name: Account(int(spent or 0), int(aside or 0)) for name, spent, aside in sums}
    before = read_hold(reservation.hold_id, stored) if stored else None
    refusal = admit(accounts, reservation, before)
    if refusal is None:
        raise LedgerError(f"hold {reservation.hold_id} is refused, and no account says why")
    return refusal


def event_parts(event: OutboxEvent) -> tuple[bytes, ...]:
    return (
        event.event_id.encode(),
        event.payload,
        b"%d" % event.ended_ms,
        json_text(event.event_id),
    )


def entry_parts(entry: Entry, payload: bytes) -> tuple[bytes, ...]:
    """An entry as `add_entry` takes it; its event is appended where there is a payload."""
    settlement, event_id = entry.settlement, entry.event_id or ""
    return (
        settlement.hold_id.encode(),
        b"1" if settlement.correction else b"",
        settlement.state.value.encode(),
        b"%d" % settlement.posted_nano,
        b"%d" % settlement.overrun_nano,
        amounts_text([posted for posted, _ in entry.each]),
        amounts_text([overrun for _, overrun in entry.each]),
        b"%d" % entry.ended_ms,
        json_text(event_id),
        b"%d" % entry.admitted_ms,
        parties_json(entry.scopes),
        b"%d" % entry.tokens,
        accounts_json(entry.accounts),
        event_id.encode(),
        payload,
    )


def checked(hold_id: str, answer: Answer) -> Answer:
    if answer[0] == b"error":
        raise LedgerError(f"hold {hold_id} {answer[1].decode()}")
    return answer


def settlement_of(hold_id: str, answer: Answer) -> Settlement:
    _, state, posted, overrun, repeated, correction = answer
    return Settlement(
        hold_id,
        HoldState(state.decode()),
        int(posted),
        int(overrun),
        repeated == b"1",
        correction == b"1",
    )
