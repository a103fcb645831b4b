"""What only Redis has: scripts that other lives call, sums of 64 bits, and keys that must go."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from budgets.ledger import Account, Bill, Hold, HoldState, LedgerError, Settlement
from budgets.port import RestoredEntry
from budgets.scopes import Charge, Scopes, Unit
from budgets.stores.redis_books import open_books
from budgets.stores.redis_scripts import NAMES, scripts
from tests.contracts.ledger_backends import (
    LEASE_MS,
    NOON_MS,
    bill,
    charge,
    event,
    gate,
    held,
    reservation,
    sent,
    spent,
)
from tests.contracts.two_gateways import Pair, play

pytestmark = pytest.mark.redis
OVER_MS = NOON_MS + LEASE_MS
HALF_RANGE = 1 << 62
ANA = Scopes(org="o", team="t", key="k", workflow="t/w", run="")
TOKENS, REQUESTS = "key:k|month/tokens|0", "key:k|month/requests|0"
MIXED = ("org:o", TOKENS, REQUESTS)


def say(pair: Pair, script: str, *arguments: bytes | str | int) -> Any:
    """Call a script as it stands, with the arguments of somebody who means it."""
    keys = pair.keys.all()
    return pair.client.evalsha(scripts()[script].sha.decode(), len(keys), *keys, *arguments)


def everything(pair: Pair) -> dict[bytes, bytes]:
    return {key: pair.client.dump(key) for key in pair.keys.all()}


LATER_LIFE = {
    "reserve": ("h9", 1, "", 1, "null", "-", 1, 1, '["org:o"]', "org:o", ""),
    "extend": ("h1", 20, "", 1, "null", "-", 1, 1, '["org:o"]', "org:o", ""),
    "dispatch": ("h1", "draft"),
    "settle": ("h2", '["org:o"]', 5, "", 0, '""', "e", "{}", 1, '"e"'),
    "correct": (
        *("h3", "1", "expired_charged", 1, 0, "", "", 1, '"e"', 1, "null", 0, '["org:o"]'),
        *("e", "{}"),
    ),
    "release": ("h1", "e", "{}", 1, '"e"'),
    "record": ("e", "{}"),
    "survey": ("org:o",),
    "due": (10,),
    "expire": ("h1", f'held|10;|{NOON_MS}|{OVER_MS}|null|["org:o"]', "", "", 1, "null"),
    "trim": ("9999999999999999-0", "whoever collects"),
    "open": ("", "", 1, "key:k", '["key:k"]', 7),
    "counting": (),
    "note": ("gateway", "budget"),
    "oldest": (),
}


def test_a_script_does_nothing_in_another_life_and_its_work_in_this_one(tmp_path: Path) -> None:
    async def story(pair: Pair) -> None:
        assert set(LATER_LIFE) == set(NAMES) - {"found", "restore"}
        epoch, collector = pair.client.hmget(pair.keys.meta, "epoch", "collector")
        for name, arguments in LATER_LIFE.items():
            await held(pair.first, reservation(f"h1-{name}", 10))
            await sent(pair.first, reservation(f"h2-{name}", 10))
            await sent(pair.first, reservation(f"h3-{name}", 10, lease_ms=0))
            await pair.first.expire(NOON_MS)
            # The hold of a test of its own, under the name that the arguments say.
            said = [f"{part}-{name}" if part in ("h1", "h2", "h3") else part for part in arguments]
            said = [collector if part == "whoever collects" else part for part in said]
            before = everything(pair)
            for other in (b"", b"0-0", epoch + b"x"):
                assert say(pair, name, other, OVER_MS, *said) == [b"lost"]
            assert everything(pair) == before
            answer = say(pair, name, epoch, OVER_MS, *said)
            assert answer[0] not in (b"lost", b"error", b"unknown"), (name, answer)
            reads = ("survey", "due", "counting", "oldest")
            assert (everything(pair) == before) == (name in reads), name

    play(tmp_path, story)


def test_holds_that_have_ended_leave_only_their_entries(tmp_path: Path) -> None:
    async def story(pair: Pair) -> None:
        await spent(pair.first, reservation("settled", 10), 7)
        await pair.first.release(await sent(pair.first, reservation("released", 10)), None)
        await held(pair.first, reservation("freed", 10))
        away = await held(pair.first, reservation("charged", 10))
        await pair.first.dispatch(away, b"what is known so far")
        assert pair.client.hkeys(pair.keys.draft) == [b"charged"]
        ended = await pair.first.expire(OVER_MS)
        assert {done.hold_id for done in ended} == {"freed", "charged"}
        keys = pair.keys
        assert pair.client.exists(keys.hold, keys.draft, keys.lease) == 0
        entries = pair.client.hgetall(keys.entry)
        assert set(entries) == {b"settled", b"released", b"freed", b"charged"}
        assert [row.event_id for row in pair.first.outbox_after(0, 9)] == [
            "settled",
            "what is known so far-assumed",
        ]
        # What ended without an event ended when it was admitted, or when its lease was over.
        assert f",{NOON_MS},null," in entries[b"released"].decode()
        assert f",{OVER_MS},null," in entries[b"freed"].decode()
        assert pair.client.exists(keys.overrun) == 0

    play(tmp_path, story)


def test_an_entry_says_what_ended_how_when_and_for_whom(tmp_path: Path) -> None:
    parties, ended_ms = ["o", "t", "k", "t/w", ""], event("any").ended_ms

    async def story(pair: Pair) -> None:
        async def away(name: str, *charges: Charge) -> Hold:
            asked = reservation(name, 10, *charges, tokens=300, lease_ms=5)
            return await sent(pair.first, replace(asked, scopes=ANA))

        mixed = (charge("org:o"), charge(TOKENS))
        even = await away("even")
        done = await pair.first.settle(even, 12, event("e1"), Bill(250, "mini"))
        assert done == Settlement("even", HoldState.SETTLED, 12, 2)
        again = await pair.first.settle(even, 9, event("e1"), Bill(250, "mini"))
        assert again == replace(done, repeated=True)
        await pair.first.settle(await away("each", *mixed), 7, event("e2"), Bill(9, "", (7, 301)))
        await pair.first.release(await away("given back", *mixed), event("e3"))
        await pair.first.release(await away("silent"), None)
        late = await away("late", *mixed)
        await pair.first.expire(NOON_MS + 5)
        await pair.first.settle(late, 8, event("e4"), Bill(20, "mini", (8, 310)))

        def entries(key: bytes) -> dict[str, list[Any]]:
            found = pair.client.hgetall(key)
            return {name.decode(): orjson.loads(text) for name, text in found.items()}

        org, both = ["org:o"], ["org:o", TOKENS]
        told, alone = (NOON_MS, parties), (NOON_MS, parties, "", 0)
        over, late_ms = [[10, 300], [0, 0]], NOON_MS + 5
        assert entries(pair.keys.entry) == {
            "even": ["settled", 12, 2, ended_ms, "e1", *told, "mini", 250, None, org],
            "each": ["settled", 7, 0, ended_ms, "e2", *told, "", 9, [[7, 301], [0, 1]], both],
            "given back": ["released", 0, 0, ended_ms, "e3", *alone, None, both],
            "silent": ["released", 0, 0, NOON_MS, None, *alone, None, org],
            "late": ["expired_charged", 10, 0, late_ms, "late-assumed", *alone, over, both],
        }
        [text] = entries(pair.keys.correction).values()
        assert text[:5] == ["expired_charged", -2, 0, ended_ms, "e4-correction"]
        assert text[5:] == [*told, "", 20, [[-2, 10], [0, 10]], both]

    play(tmp_path, story)


def test_of_two_late_truths_at_once_one_is_posted(tmp_path: Path) -> None:
    async def story(pair: Pair) -> None:
        late = await sent(pair.first, reservation("h1", 70))
        await pair.first.expire(OVER_MS)
        endings = await asyncio.gather(
            pair.first.settle(late, 40, event("e1")), pair.second.settle(late, 45, event("e2"))
        )
        assert sorted(ending.repeated for ending in endings) == [False, True]
        assert all(ending.correction for ending in endings)
        [delta] = {ending.posted_nano for ending in endings}
        assert delta in (-30, -25)
        epoch = pair.client.hget(pair.keys.meta, "epoch")
        told = ("h1", "1", "expired_charged", 9, 0, "", "", 1, '"e"', 1, "null", 0, '["org:o"]')
        answer = say(pair, "correct", epoch, "", *told, "e", "{}")
        assert answer == [b"ended", b"expired_charged", b"%d" % delta, b"0", b"1", b"1"]
        assert (await pair.second.survey(["org:o"]))["org:o"] == Account(70 + delta)

    play(tmp_path, story)


def test_a_hold_that_changed_since_it_was_due_is_left_alone(tmp_path: Path) -> None:
    async def story(pair: Pair) -> None:
        for name in ("h1", "h2", "h3"):
            await held(pair.first, reservation(name, 10))
        epoch = pair.client.hget(pair.keys.meta, "epoch")
        answer = say(pair, "due", epoch, OVER_MS, 2)
        assert [answer[0], answer[1], answer[2::3]] == [b"due", b"%d" % OVER_MS, [b"h1", b"h2"]]
        hold = pair.client.hget(pair.keys.hold, "h2")
        assert answer[3::3] == [pair.client.hget(pair.keys.hold, "h1"), hold]
        await sent(pair.second, reservation("h1", 10))
        asked = [
            part
            for name, stored in zip(answer[2::3], answer[3::3], strict=True)
            for part in (name, stored, "", "", OVER_MS, "null")
        ]
        assert say(pair, "expire", epoch, "", *asked) == [b"expired", b"h2"]
        assert (await pair.first.survey(["org:o"]))["org:o"] == Account(0, 20, 0)

    play(tmp_path, story)


def test_events_are_numbered_by_the_clock_and_never_twice(tmp_path: Path) -> None:
    async def story(pair: Pair) -> None:
        before_s, before_us = pair.client.time()
        await pair.first.record(event("e1"))
        await pair.first.record(event("e2"))
        after_s, after_us = pair.client.time()
        first, second = [row.seq for row in pair.first.outbox_after(0, 9)]
        assert before_s * 10**6 + before_us <= first < second <= after_s * 10**6 + after_us
        ahead = second + 10**12
        pair.client.hset(pair.keys.meta, "seq", ahead)
        await pair.first.record(event("e3"))
        await pair.first.record(event("e4"))
        assert [row.seq for row in pair.first.outbox_after(second, 9)] == [ahead + 1, ahead + 2]

    play(tmp_path, story)


def test_sums_are_kept_far_from_where_they_would_leave_the_integers(tmp_path: Path) -> None:
    async def story(pair: Pair) -> None:
        hold = await held(pair.first, reservation("h1", 1_024))
        almost = HALF_RANGE - 2**20
        pair.client.hset(pair.keys.posted, "org:o", almost)
        wish = reservation("h2", 2**21, charge("key:k"), charge("org:o"))
        for ask in (pair.first.reserve(wish), pair.first.extend(hold, reservation("h1", 2**21))):
            with pytest.raises(LedgerError, match="the sum of org:o leaves the 64-bit integers"):
                await ask
        assert await pair.first.survey(["key:k"]) == {}
        # A limit that cannot bear it is the better reason.
        refusal = await pair.first.reserve(replace(wish, charges=(charge("org:o", 5),)))
        assert refusal.spent_nano == almost
        rest = 2**20 - 1_024
        fits = await held(pair.first, reservation("h3", rest, charge("key:k"), charge("org:o")))
        assert (await pair.first.survey(["org:o"]))["org:o"] == Account(almost, 2**20)
        await pair.first.release(fits, None)
        pair.client.hset(pair.keys.posted, "org:o", 0)

    play(tmp_path, story)


def restored(name: str, settlement: Settlement, taken: tuple[int, ...] = ()) -> RestoredEntry:
    told = Bill(200, "mini", taken)
    return RestoredEntry(settlement, MIXED, name, NOON_MS + 5, NOON_MS, ANA, told)


def test_what_is_put_back_takes_the_place_of_what_its_hold_still_held(tmp_path: Path) -> None:
    async def story(pair: Pair) -> None:
        charges = [charge(name, 1_000) for name in MIXED]
        wish = replace(reservation("h1", 10, *charges, tokens=300), scopes=ANA)
        await sent(pair.first, wish)
        await sent(pair.first, reservation("h2", 5))
        late = await sent(pair.first, replace(wish, hold_id="h3", lease_ms=1))
        await pair.first.expire(NOON_MS + 1)
        settled = Settlement("h1", HoldState.SETTLED, 12, 2)
        assumed = Settlement("h3", HoldState.EXPIRED_CHARGED, 10, 0)
        truth = Settlement("h3", HoldState.EXPIRED_CHARGED, -3, 0, correction=True)
        # A correction that is here while its hold is held again frees nothing.
        odd = Settlement("h2", HoldState.EXPIRED_CHARGED, 2, 2, correction=True)
        known = [
            restored("e1", settled, (12, 200, 1)),
            restored("e3", assumed, (10, 300, 1)),
            restored("e3-correction", truth, (-3, -100, 0)),
            replace(restored("e2-correction", odd), accounts=("org:o",)),
        ]
        assert await pair.second.rebuild([*known, *known]) == 3
        assert await pair.second.rebuild(known) == 0
        found = await pair.first.survey(MIXED)
        assert found == {
            "org:o": Account(21, 5, 4),
            TOKENS: Account(400),
            REQUESTS: Account(2),
        }
        again = await pair.first.settle(late, 1, event("h3"), bill(wish, 1, 1))
        assert (again.posted_nano, again.correction, again.repeated) == (-3, True, True)
        # The warehouse tells of these events, so they need not be told again.
        assert [row.event_id for row in pair.first.outbox_after(0, 9)] == ["h3-assumed"]
        uneven = pair.client.hget(pair.keys.entry, "h1")
        assert orjson.loads(uneven)[-2:] == [[[12, 200, 1], [2, 0, 0]], list(MIXED)]
        even = pair.client.hget(pair.keys.correction, "h2")
        assert orjson.loads(even)[-2:] == [None, ["org:o"]]
        with open_books(pair.url, pair.org) as books:
            rows = list(books.spent_by_party(0, None))
            assert books.entries_of_day("2026-11-01") == {
                "e1": 12,
                "h3-assumed": 10,
                "e3-correction": -3,
                "e2-correction": 2,
            }
        # The expiry was here before, and knew neither model nor tokens.
        told = {(row.scopes.model, len(row.accounts)): row.amount(Unit.TOKENS) for row in rows}
        assert told == {("mini", 3): 400, ("mini", 1): 200, ("", 3): 0}

    play(tmp_path, story)


def test_an_ending_of_an_earlier_life_is_told_with_its_event(tmp_path: Path) -> None:
    async def story(pair: Pair) -> None:
        asked = reservation("h1", 10, charge("org:o"), charge(TOKENS), tokens=300)
        away = await sent(pair.first, asked)
        freed = await sent(pair.first, reservation("h2", 5, charge("org:o")))
        pair.client.delete(*pair.keys.all()[1:])
        await pair.second.rebuild([])
        assert await pair.first.survey(["org:o"]) == {}
        done = await pair.first.settle(away, 12, event("e1"), Bill(350, posted=(12, 350)))
        assert done == Settlement("h1", HoldState.SETTLED, 12, 2)
        await pair.first.release(freed, event("e2"))
        assert [row.event_id for row in pair.first.outbox_after(0, 9)] == ["e1", "e2"]
        found = await pair.first.survey(["org:o", TOKENS])
        assert found == {"org:o": Account(12, 0, 2), TOKENS: Account(350, 0, 50)}

    play(tmp_path, story)


def test_a_hold_of_another_gateway_that_is_lost_is_put_back_where_its_life_is_told(
    tmp_path: Path,
) -> None:
    async def story(pair: Pair) -> None:
        life = pair.first.life
        held = await sent(pair.first, reservation("h1", 10, charge("org:o")))
        pair.client.delete(*pair.keys.all()[1:])
        await pair.first.rebuild([])
        assert await pair.second.survey(["org:o"]) == {}
        with pytest.raises(LedgerError, match="unknown"):
            await pair.second.settle(held, 12, event("e1"))
        pair.second.recall("h1", life)
        done = await pair.second.settle(held, 12, event("e1"))
        assert done == Settlement("h1", HoldState.SETTLED, 12, 2)
        assert await pair.second.survey(["org:o"]) == {"org:o": Account(12, 0, 2)}
        pair.second.recall("h1", life)
        assert (await pair.second.settle(held, 12, event("e1"))).repeated
        assert pair.second.life != life

    play(tmp_path, story)


@pytest.mark.parametrize("shut", [0, 1, 2])
def test_each_of_several_limits_that_count_others_is_kept(tmp_path: Path, shut: int) -> None:
    gates = [gate(f"run:{number}", f"run:{number}b") for number in range(3)]

    async def story(pair: Pair) -> None:
        wish = reservation("h1", 5, charge("org:o"), *gates, charge("key:k", 50))
        hold = await held(pair.first, wish)
        await pair.first.carry_over({f"run:{shut}b": 1}, NOON_MS)
        refusal = await pair.first.reserve(replace(wish, hold_id="h2"))
        assert (refusal.unit, refusal.spent_nano) == (Unit.GATE, 1)
        refusal = await pair.first.extend(hold, replace(wish, amount_nano=6))
        assert (refusal.unit, refusal.spent_nano) == (Unit.GATE, 1)
        await pair.first.carry_over({f"run:{shut}b": 0}, NOON_MS)
        await held(pair.first, replace(wish, hold_id="h2"))
        refusal = await pair.first.reserve(replace(wish, hold_id="h3", amount_nano=41))
        assert (refusal.account, refusal.held_nano) == ("key:k", 10)

    play(tmp_path, story)


def test_of_two_that_begin_a_life_one_does_and_the_other_joins(tmp_path: Path) -> None:
    async def story(pair: Pair) -> None:
        epoch = pair.client.hget(pair.keys.meta, "epoch")
        run_id = pair.client.hget(pair.keys.meta, "run_id")
        late = say(pair, "found", b"", b"", b"7-late", b"another", b"somebody")
        assert late[:3] == [b"founded", epoch, run_id]
        now = say(pair, "found", epoch, b"", b"8-next", run_id, b"somebody")
        assert now == [b"founded", b"8-next", run_id, b"somebody"]
        assert await pair.first.survey(["org:o"]) == {}
        assert pair.first.collects is False

    play(tmp_path, story)


def test_no_account_is_asked_for_nothing(tmp_path: Path) -> None:
    async def story(pair: Pair) -> None:
        assert await pair.first.survey([]) == {}
        lone = replace(charge("run:r", 50), lone=True)
        hold = await held(pair.first, reservation("h1", 50, lone))
        assert hold.accounts == ()
        assert await pair.first.extend(hold, reservation("h1", 50, lone)) == hold
        refusal = await pair.first.extend(hold, reservation("h1", 51, lone))
        assert (refusal.needed_nano, refusal.limit_nano) == (51, 50)
        away = await pair.first.dispatch(hold, b"h1")
        await pair.first.settle(away, 7, event("h1"))
        assert pair.client.exists(pair.keys.held) == 0

    play(tmp_path, story)
