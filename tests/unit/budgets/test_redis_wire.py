"""How the ledger talks to Redis: bytes on the wire, keys of one slot, answers read back."""

import asyncio

import pytest

from budgets.ledger import HoldState, LedgerError, Settlement
from budgets.port import OutboxRow
from budgets.stores.redis_greeting import meet
from budgets.stores.redis_lane import Lane
from budgets.stores.redis_scripts import PARTS, Keys, Packer, pack, scripts
from budgets.stores.redis_wire import checked, outbox_row, settlement_of


def test_a_command_is_packed_with_the_length_of_everything() -> None:
    assert pack((b"GET", b"\xc3\xbc")) == b"*2\r\n$3\r\nGET\r\n$2\r\n\xc3\xbc\r\n"


def test_a_call_names_the_script_and_every_key_of_the_ledger() -> None:
    keys = Keys.of("acme")
    packed = Packer(keys).call("record", (b"1-a", b"", b"e1", b"{}"))
    sha = scripts()["record"].sha
    assert packed == pack((b"EVALSHA", sha, b"12", *keys.all(), b"1-a", b"", b"e1", b"{}"))


def test_every_key_of_an_organisation_has_the_same_hash_tag() -> None:
    keys = Keys.of("acme")
    assert [key for key in keys.all() if not key.startswith(b"{weir:acme}:")] == []
    assert len(set(keys.all())) == len(PARTS)


def test_answers_are_read_as_settlements_and_outbox_rows() -> None:
    answer = [b"ended", b"settled", b"12", b"2", b"1", b"0"]
    expected = Settlement("h1", HoldState.SETTLED, 12, 2, repeated=True)
    assert settlement_of("h1", checked("h1", answer)) == expected
    row = outbox_row(b"1790000000000001-0", {b"id": b"e1", b"payload": b"{}"})
    assert row == OutboxRow(1_790_000_000_000_001, "e1", b"{}")
    with pytest.raises(LedgerError, match="hold h1 has ended before"):
        checked("h1", [b"error", b"has ended before"])


def test_an_address_that_is_none_is_an_error_that_says_so() -> None:
    async def story() -> None:
        keys = Keys.of("acme")
        with pytest.raises(LedgerError, match="not an address of a Redis server"):
            Lane("localhost:6379", keys, 0.25, lambda c: _greeting(c, keys))

    async def _greeting(connection: object, keys: Keys) -> bytes:
        raise AssertionError((connection, keys, meet))

    asyncio.run(story())
