"""The registries' one suite: what any store of keys, budgets and alerts does, shared by several."""

import asyncio
import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from gateway.auth import Role
from gateway.registries.port import ALERT_STATES, STANDING, Crossing, KeyRecord, StoredKey
from tests.contracts.registry_backends import STORES, parties, told

pytestmark = [pytest.mark.redis, pytest.mark.parametrize("name", STORES)]

RECORD = KeyRecord("k1", "Ana's laptop", "lab", "notes", Role.DATA, "cheap", 5, None)
ANA = StoredKey(bytes(range(32)), RECORD)
BEN = StoredKey(b"b" * 32, KeyRecord("k0", "Ben · 本", "ops", "a b/c", Role.ADMIN, None, 6, None))
TERMS = json.dumps({"limit_usd": "1.000000000", "scope": "org", "window": "day"}, sort_keys=True)
MORE = TERMS.replace("1.0", "2.0")
CROSSING = Crossing("workflow:*/24h", "workflow:lab/a b", STANDING, 500, 10, 5, 7_000)


def test_a_key_is_known_to_all_as_it_was_made(name: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with parties(name, tmp_path, 2) as (first, second):
            before = await second.keys.version()
            await first.keys.add([BEN])
            await first.keys.add([ANA])
            version, keys = await second.keys.load()
            assert keys == [ANA, BEN]
            assert version != before
            assert version == await second.keys.version()

    told(story)


def test_a_key_that_is_there_is_not_replaced(name: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with parties(name, tmp_path) as [party]:
            await party.keys.add([ANA])
            other = replace(ANA, record=replace(RECORD, team="thieves", revoked_ms=9))
            await party.keys.add([other])
            _, [kept] = await party.keys.load()
            assert kept == replace(ANA, record=replace(RECORD, revoked_ms=9))

    told(story)


def test_a_key_is_revoked_for_all_and_only_once(name: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with parties(name, tmp_path, 2) as (first, second):
            await first.keys.add([ANA])
            before = await second.keys.version()
            assert await first.keys.revoke("k1", 8) == replace(RECORD, revoked_ms=8)
            assert await second.keys.version() != before
            assert await second.keys.revoke("k1", 9) == replace(RECORD, revoked_ms=8)
            assert await second.keys.revoke("k2", 9) is None
            await second.keys.add([ANA])
            _, [kept] = await first.keys.load()
            assert kept.record.revoked_ms == 8

    told(story)


def test_a_version_stays_as_long_as_nothing_changes(name: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with parties(name, tmp_path, 2) as (first, second):
            await first.keys.add([ANA])
            await first.budgets.change("org:*/day", TERMS, "k1", 5)
            for store in (first.keys, second.keys, first.budgets, second.budgets):
                version, _ = await store.load()
                assert await store.version() == version == (await store.load())[0]

    told(story)


def test_a_change_of_a_budget_is_known_to_all_and_on_record(name: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with parties(name, tmp_path, 2) as (first, second):
            versions = [await second.budgets.version()]
            assert not await first.budgets.change("org:*/day", TERMS, "k1", 5)
            versions.append(await second.budgets.version())
            assert await second.budgets.change("org:*/day", MORE, "k2", 6)
            versions.append(await first.budgets.version())
            assert (await first.budgets.load())[1] == {"org:*/day": MORE}
            assert await first.budgets.change("org:*/day", None, "k3", 7)
            assert not await second.budgets.change("org:*/day", None, "k4", 8)
            versions.append(await second.budgets.version())
            assert len(set(versions)) == 4
            assert (await second.budgets.load())[1] == {}
            changes = await second.budgets.changes(10)
            rows = [(c.change_id, c.at_ms, c.who, c.what, c.before, c.after) for c in changes]
            one, two = json.loads(TERMS), json.loads(MORE)
            assert rows == [
                (3, 7, "k3", "deleted", two, None),
                (2, 6, "k2", "set", one, two),
                (1, 5, "k1", "set", None, one),
            ]
            assert [change.change_id for change in await first.budgets.changes(2)] == [3, 2]

    told(story)


def test_changes_at_once_are_all_on_record_one_after_the_other(name: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with parties(name, tmp_path, 2) as both:
            work = [
                both[number % 2].budgets.change("org:*/day", json.dumps({"n": number}), "k", number)
                for number in range(20)
            ]
            before = await asyncio.gather(*work)
            assert before.count(False) == 1
            changes = (await both[0].budgets.changes(100))[::-1]
            assert [change.change_id for change in changes] == list(range(1, 21))
            for earlier, later in pairwise(changes):
                assert later.before == earlier.after

    told(story)


def test_a_crossing_is_told_of_once_by_all_together(name: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with parties(name, tmp_path, 3) as three:
            noted = await asyncio.gather(
                *[party.alerts.note(CROSSING, deliver=True) for party in three * 5]
            )
            assert noted.count(True) == 1
            first = three[0].alerts
            await first.note(replace(CROSSING, permille=800), deliver=False)
            await first.note(replace(CROSSING, start_s=1, permille=900), deliver=False)
            await first.note(
                replace(CROSSING, scope="workflow:lab/a", permille=1_000), deliver=False
            )
            for party in three:
                assert await party.alerts.told(CROSSING.budget, CROSSING.scope, STANDING) == {
                    500,
                    800,
                }

    told(story)


def test_a_threshold_of_a_rolling_window_is_told_again_once_it_was_rearmed(
    name: str, tmp_path: Path
) -> None:
    async def story() -> None:
        async with parties(name, tmp_path) as [party]:
            await party.alerts.note(CROSSING, deliver=True)
            await party.alerts.rearm(CROSSING.budget, CROSSING.scope, 500)
            assert await party.alerts.told(CROSSING.budget, CROSSING.scope, STANDING) == set()
            assert await party.alerts.note(replace(CROSSING, crossed_ms=99_000), deliver=True)

    told(story)


def test_an_alert_is_in_one_hand_at_a_time_until_it_is_delivered(name: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with parties(name, tmp_path, 2) as (first, second):
            await first.alerts.note(CROSSING, deliver=True)
            await first.alerts.note(replace(CROSSING, permille=800), deliver=False)
            taken = await asyncio.gather(first.alerts.take(10, 20), second.alerts.take(10, 20))
            [alert] = [one for one in taken if one is not None]
            assert (alert.alert_id, alert.crossing, alert.attempts) == (1, CROSSING, 0)
            assert await second.alerts.take(19, 30) is None
            await first.alerts.failed(1, 40)
            assert await second.alerts.take(39, 50) is None
            again = await second.alerts.take(40, 50)
            assert again is not None
            assert (again.alert_id, again.attempts) == (1, 1)
            await second.alerts.delivered(1)
            assert await first.alerts.take(10**12, 10**13) is None

    told(story)


def test_an_alert_that_is_given_up_comes_back_to_nobody(name: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with parties(name, tmp_path) as [party]:
            for permille in (500, 800):
                await party.alerts.note(replace(CROSSING, permille=permille), deliver=True)
            first = await party.alerts.take(1, 10**13)
            second = await party.alerts.take(1, 10**13)
            assert first is not None and second is not None
            assert [first.crossing.permille, second.crossing.permille] == [500, 800]
            await party.alerts.failed(first.alert_id, None)
            await party.alerts.failed(second.alert_id, None)
            assert await party.alerts.take(10**12, 10**13) is None

    told(story)


def test_alerts_are_counted_by_what_became_of_them(name: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with parties(name, tmp_path) as [party]:
            assert await party.alerts.counts() == dict.fromkeys(ALERT_STATES, 0)
            for permille in (100, 200, 300, 400):
                await party.alerts.note(replace(CROSSING, permille=permille), deliver=True)
            await party.alerts.note(replace(CROSSING, permille=500), deliver=False)
            for end in (
                party.alerts.delivered,
                lambda alert_id: party.alerts.failed(alert_id, None),
            ):
                alert = await party.alerts.take(1, 10**13)
                assert alert is not None
                await end(alert.alert_id)
            assert await party.alerts.counts() == {
                "logged": 1,
                "pending": 2,
                "delivered": 1,
                "given_up": 1,
            }

    told(story)
