"""What is remembered of files and batches comes back as it was, in any process."""

from dataclasses import replace
from typing import Any

import pytest

from budgets.ledger import Hold, HoldState
from budgets.prices import cost, make_price
from budgets.scopes import Charge, Scopes, Unit, Window
from budgets.usage import TokenUsage
from gateway.batches.bounding import bound_file
from gateway.batches.costing import cost_as_held, cost_as_reported
from gateway.batches.kept import BatchRecord, FileRecord, for_lines, units_of
from tests.unit.gateway.batches.made import HALF, chat, jsonl, terms

RAW = jsonl(chat(1), chat(2))
BOUND = bound_file(RAW, 0, len(RAW), terms()).bound
PRICE = make_price(
    "tiny", HALF, version="v1", context_tiers={100: {"fresh": 5}}, service_tier="batch"
)
SCOPES = Scopes("acme", "lab", "k1", "lab/notes", "", ("lab/above",), "lab/ann", ("lab/a=b",))
HOLD = Hold("req_1", HoldState.DISPATCHED, 900, ("a", "b", "c"), 1, 2, SCOPES, (900, 70, 2))
RECORD = BatchRecord(
    told=b'{"id":"batch_1","status":"validating"}',
    hold=HOLD,
    units=(Unit.USD, Unit.TOKENS, Unit.REQUESTS),
    bound=BOUND,
    price=PRICE,
    frontier=None,
    draft=b'{"event_id":"req_1"}',
    tokens_held=70,
    life="1-ab",
    output_files=("file-2",),
)


@pytest.mark.parametrize("bound", [None, BOUND])
def test_a_file_comes_back_as_it_was(bound: Any) -> None:
    record = FileRecord("batch", b'{"id":"file-1"}', bound)
    assert FileRecord.from_text(record.to_text()) == record


@pytest.mark.parametrize(
    "record",
    [
        RECORD,
        replace(RECORD, frontier=PRICE, cost_nano=7, looked_ms=9),
        replace(RECORD, hold=replace(HOLD, scopes=None, amounts=())),
    ],
)
def test_a_batch_comes_back_as_it_was(record: BatchRecord) -> None:
    again = BatchRecord.from_text(record.to_text())
    assert again == record
    usage = TokenUsage(fresh=101, output=3)
    assert cost(again.price, usage) == cost(PRICE, usage)
    assert again.batch["id"] == "batch_1"


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"purpose":"batch"}'])
def test_what_is_no_record_is_told(text: str) -> None:
    with pytest.raises(ValueError):
        FileRecord.from_text(text)
    with pytest.raises(ValueError):
        BatchRecord.from_text(text)


def test_each_account_takes_what_it_counts() -> None:
    usage = cost_as_reported(TokenUsage(fresh=10, output=4), PRICE, done=1, failed=1)
    bill = RECORD.bill(usage)
    assert (bill.model, bill.tokens) == ("tiny", 14)
    assert bill.posted == (usage.cost.total_nano, 14, 1)
    assert replace(RECORD, hold=replace(HOLD, amounts=())).bill(usage).posted == ()
    assert RECORD.bill(cost_as_held(900, 70, 2)).posted == HOLD.amounts


def test_every_line_is_a_request_to_budgets_that_count_them() -> None:
    def charge(unit: Unit, *, lone: bool = False) -> Charge:
        return Charge(f"team:lab|day/{unit}|0", "team:lab", Window.DAY, 5, None, lone, unit=unit)

    charges = (charge(Unit.USD), charge(Unit.REQUESTS), charge(Unit.REQUESTS, lone=True))
    scaled = for_lines(charges, 8)
    assert [one.amount for one in scaled] == [None, 8, 8]
    assert units_of(scaled) == (Unit.USD, Unit.REQUESTS)
