"""What Redis keeps as text comes back as it was, also where it was written before."""

import orjson
import pytest

from budgets.ledger import Bill, Hold, HoldState, LedgerError, Settlement
from budgets.port import RestoredEntry
from budgets.scopes import Scopes
from budgets.stores.engine import Entry
from budgets.stores.redis_texts import (
    amounts_text,
    entry_of,
    parties_json,
    read_entry,
    read_hold,
    read_parties,
)

ANA = Scopes("o", "t", "k", "t/w", "")
ODD = Scopes("o|1", "t", 'k"]|[', "t/w", "t/r", ("t/q",), "t/u", ("t/a=|",), "gpt")
PLAIN_ACCOUNTS = ("org:o|total|0", "key:k|month|1")


@pytest.mark.parametrize("scopes", [None, ANA, ODD])
def test_parties_come_back_and_never_hold_a_bar(scopes: Scopes | None) -> None:
    text = parties_json(scopes)
    assert b"|" not in text
    assert read_parties(orjson.loads(text)) == scopes


def test_the_model_of_an_entry_stands_before_that_of_its_parties() -> None:
    assert read_parties(orjson.loads(parties_json(ANA)), "mini") == ANA.with_model("mini")
    assert read_parties(orjson.loads(parties_json(ODD)), "mini") == ODD.with_model("mini")


def test_a_hold_is_read_with_and_without_amounts_of_its_own() -> None:
    accounts = b'["org:o|total|0","key:k|month|1"]'
    even = read_hold("h", b"held|70;|5|65|" + parties_json(ODD) + b"|" + accounts)
    assert even == Hold("h", HoldState.HELD, 70, PLAIN_ACCOUNTS, 5, 65, ODD)
    each = read_hold("h", b"dispatched|70;70,30|5|65|null|" + accounts)
    assert each == Hold("h", HoldState.DISPATCHED, 70, PLAIN_ACCOUNTS, 5, 65, None, (70, 30))
    assert amounts_text(each.amounts) == b"70,30"
    assert amounts_text(even.amounts) == b""


def test_a_hold_of_before_had_one_amount_and_no_parties() -> None:
    stored = b'held|70|5|65|["org:o|total|0","key:k|month|1"]'
    assert read_hold("h", stored) == Hold("h", HoldState.HELD, 70, PLAIN_ACCOUNTS, 5, 65)
    with pytest.raises(LedgerError, match="is no hold"):
        read_hold("h", b"held|70")


def test_an_entry_is_read_with_what_each_account_took() -> None:
    text = (
        '["settled",9,2,99,"e1",5,["o","t","k","t/w",""],"mini",12,[[9,12],[2,0]],'
        '["org:o|total|0","key:k|month|1"]]'
    )
    settlement = Settlement("h", HoldState.SETTLED, 9, 2)
    model = ANA.with_model("mini")
    assert read_entry("h", orjson.loads(text), correction=False) == Entry(
        settlement, PLAIN_ACCOUNTS, "e1", 99, 5, model, ((9, 2), (12, 0)), 12
    )


def test_an_entry_of_before_knows_no_parties() -> None:
    text = '["expired_charged",-9,0,99,null,["org:o|total|0","key:k|month|1"]]'
    settlement = Settlement("h", HoldState.EXPIRED_CHARGED, -9, 0, correction=True)
    found = read_entry("h", orjson.loads(text), correction=True)
    assert found == Entry(settlement, PLAIN_ACCOUNTS, None, 99, 0, None)


def test_what_an_event_tells_of_is_an_entry_whose_money_alone_has_overrun() -> None:
    settlement = Settlement("h", HoldState.SETTLED, 9, 2)
    accounts = ("org:o|total|0", "team:t|day/tokens|0", "model:b|day|0")
    restored = RestoredEntry(
        settlement, accounts, "e1", 99, 5, ANA, Bill(12, "mini", posted=(9, 12, 0))
    )
    model = ANA.with_model("mini")
    each = ((9, 2), (12, 0), (0, 0))
    assert entry_of(restored) == Entry(settlement, accounts, "e1", 99, 5, model, each, 12)
    bare = RestoredEntry(settlement, PLAIN_ACCOUNTS, "e1", 99)
    assert entry_of(bare) == Entry(settlement, PLAIN_ACCOUNTS, "e1", 99, 0, None)
