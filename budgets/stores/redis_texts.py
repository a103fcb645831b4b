"""Holds, entries and parties as the texts that Redis keeps of them (`budgets/lua/` writes most)."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import orjson

from budgets.ledger import Hold, HoldState, LedgerError, Settlement
from budgets.port import RestoredEntry
from budgets.scopes import Scopes
from budgets.stores.account_names import counts_money
from budgets.stores.engine import Entry


@lru_cache(maxsize=4096)
def accounts_json(accounts: tuple[str, ...]) -> bytes:
    return orjson.dumps(accounts)


def json_text(text: str) -> bytes:
    return orjson.dumps(text)


def amounts_text(amounts: Sequence[int]) -> bytes:
    """`7,30,1`; empty where there are none."""
    return b",".join([b"%d" % amount for amount in amounts])


def parties_json(scopes: Scopes | None) -> bytes:
    """Who a request is charged to, without a bar in it; `null` for nobody."""
    if scopes is None:
        return b"null"
    parties: list[object] = [scopes.org, scopes.team, scopes.key, scopes.workflow, scopes.run]
    more = [scopes.parents, scopes.user, scopes.tags, scopes.model]
    if any(more):
        parties += more
    return orjson.dumps(parties).replace(b"|", b"\\u007c")


def read_parties(parties: Sequence[Any] | None, model: str = "") -> Scopes | None:
    """The parties of a text that was read, with the model that an entry names beside them."""
    if parties is None:
        return None
    if len(parties) == 5:
        return _scopes(*parties, model)
    org, team, key, workflow, run, parents, user, tags, known = parties
    model = model or known
    return Scopes(org, team, key, workflow, run, tuple(parents), user, tuple(tags), model)


@lru_cache(maxsize=4096)
def _scopes(org: str, team: str, key: str, workflow: str, run: str, model: str) -> Scopes:
    """Equal parties are one value: a million entries are of a few thousand."""
    return Scopes(org, team, key, workflow, run, model=model)


@lru_cache(maxsize=4096)
def _accounts(names: tuple[str, ...]) -> tuple[str, ...]:
    return names


def read_hold(hold_id: str, stored: bytes) -> Hold:
    """An open hold as `holds.lua` writes it; raise LedgerError for a text that is none."""
    fields = stored.split(b"|", 4)
    if len(fields) < 5:
        raise LedgerError(f"hold {hold_id} is stored as {stored!r}, which is no hold")
    state, amounts, admitted_ms, lease_until_ms, rest = fields
    amount, is_new, each = amounts.partition(b";")
    parties = b"null"
    if is_new:  # before, a hold had one amount and no parties
        parties, _, rest = rest.partition(b"|")
    return Hold(
        hold_id,
        HoldState(state.decode()),
        int(amount),
        tuple(orjson.loads(rest)),
        int(admitted_ms),
        int(lease_until_ms),
        read_parties(orjson.loads(parties)),
        tuple([int(one) for one in each.split(b",")]) if each else (),
    )


def read_entry(hold_id: str, fields: Sequence[Any], *, correction: bool) -> Entry:
    """An entry as `entries.lua` writes it, read as JSON; one of before has six fields."""
    state, posted_nano, overrun_nano, ended_ms, event_id = fields[:5]
    admitted_ms, parties, model, tokens, each = fields[5:-1] if len(fields) > 6 else _UNKNOWN
    return Entry(
        Settlement(hold_id, HoldState(state), posted_nano, overrun_nano, correction=correction),
        _accounts(tuple(fields[-1])),
        event_id,
        ended_ms,
        admitted_ms,
        read_parties(parties, model),
        tuple(zip(*each, strict=True)) if each else (),
        tokens,
    )


_UNKNOWN = (0, None, "", 0, None)


def entry_of(restored: RestoredEntry) -> Entry:
    """The entry that an event tells of. What was held is forgotten, so only money has overrun."""
    settlement, bill = restored.settlement, restored.bill
    scopes = restored.scopes
    if scopes is not None and bill.model:
        scopes = scopes.with_model(bill.model)
    each = [
        (posted, settlement.overrun_nano if posted and counts_money(account) else 0)
        for account, posted in zip(restored.accounts, bill.posted, strict=bool(bill.posted))
    ]
    return Entry(
        settlement,
        restored.accounts,
        restored.event_id,
        restored.ended_ms,
        restored.admitted_ms,
        scopes,
        tuple(each),
        bill.tokens,
    )
