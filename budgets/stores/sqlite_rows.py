"""How values stand in the rows of the ledger file: JSON, as short as it can be.

What holds for most rows is NULL, so that it costs them nothing.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import orjson

from budgets.ledger import Hold, HoldState, Settlement
from budgets.scopes import Scopes
from budgets.stores.engine import Entry

# The columns of `hold` and `entry` that `hold_of` and `entry_of` read, in their order.
HOLD_COLUMNS = (
    "hold_id, state, amount_nano, accounts, admitted_ms, lease_until_ms, parties, amounts"
)
ENTRY_COLUMNS = (
    "state, posted_nano, overrun_nano, accounts, event_id, ended_ms, admitted_ms, parties, "
    "postings, tokens"
)
_OLD_PARTIES = 5


@lru_cache(maxsize=4096)
def accounts_json(accounts: tuple[str, ...]) -> str:
    return orjson.dumps(accounts).decode()


@lru_cache(maxsize=4096)
def parties_json(scopes: Scopes) -> str:
    """Who is charged; of the parties that came later, only up to the last that is there."""
    parties = [scopes.org, scopes.team, scopes.key, scopes.workflow, scopes.run]
    later = [scopes.parents, scopes.user, scopes.tags, scopes.model]
    while later and not later[-1]:
        del later[-1]
    return orjson.dumps(parties + later).decode()


def parties_of(text: str) -> Scopes:
    """The parties of a row that has them; those that came later are empty where it has not."""
    parties = orjson.loads(text)
    if len(parties) > _OLD_PARTIES:
        parties = [tuple(each) if isinstance(each, list) else each for each in parties]
    return Scopes(*parties)


def amounts_json(amounts: Sequence[int] | Sequence[tuple[int, int]]) -> str:
    """What is said account by account."""
    return orjson.dumps(amounts).decode()


def hold_of(row: Sequence[Any]) -> Hold:
    """The hold in a row of `HOLD_COLUMNS`."""
    hold_id, state, amount_nano, accounts, admitted_ms, lease_until_ms, parties, amounts = row
    return Hold(
        hold_id,
        HoldState(state),
        amount_nano,
        tuple(orjson.loads(accounts)),
        admitted_ms,
        lease_until_ms,
        None if parties is None else parties_of(parties),
        () if amounts is None else tuple(orjson.loads(amounts)),
    )


def entry_of(hold_id: str, correction: bool, row: Sequence[Any]) -> Entry:
    """The entry in a row of `ENTRY_COLUMNS`."""
    state, posted_nano, overrun_nano, accounts, event_id, ended_ms, admitted_ms = row[:7]
    parties, postings, tokens = row[7:]
    return Entry(
        Settlement(hold_id, HoldState(state), posted_nano, overrun_nano, correction=correction),
        tuple(orjson.loads(accounts)),
        event_id,
        ended_ms,
        admitted_ms,
        None if parties is None else parties_of(parties),
        () if postings is None else tuple([(took, over) for took, over in orjson.loads(postings)]),
        tokens,
    )
