"""Every store: many requests at once, and the outbox that tells of them."""

import asyncio
import threading
from pathlib import Path

import pytest

from budgets.ledger import Account, Hold, HoldState, LedgerError, Refusal
from tests.contracts.ledger_backends import (
    Backend,
    Opened,
    charge,
    each_store,
    event,
    held,
    play,
    reservation,
    sent,
    spent,
)


@each_store
@pytest.mark.parametrize("fitting", [0, 1, 37, 200])
def test_of_two_hundred_at_once_exactly_those_that_fit_are_admitted(
    backend: Backend, tmp_path: Path, fitting: int
) -> None:
    async def story(ledger: Opened) -> None:
        wide = [charge("org:o"), charge("team:t", 1_000_000)]
        for repeat in range(50):
            run = f"run:{repeat}"
            asked = [
                reservation(f"{repeat}-{n}", 10, *wide, charge(run, 10 * fitting + 9))
                for n in range(200)
            ]
            answers = await asyncio.gather(*map(ledger.store.reserve, asked))
            holds = [answer for answer in answers if isinstance(answer, Hold)]
            assert len(holds) == fitting
            assert await ledger.account(run) == Account(0, 10 * fitting, 0)
            assert await ledger.account("team:t") == Account(0, 10 * fitting, 0)
            await asyncio.gather(*(ledger.store.release(hold, None) for hold in holds))

    play(backend, tmp_path, story)


@each_store
def test_two_hundred_that_the_last_of_five_scopes_refuses_leave_the_other_four_as_they_were(
    backend: Backend, tmp_path: Path
) -> None:
    async def story(ledger: Opened) -> None:
        names = ["org:o", "team:t", "key:k", "workflow:w", "run:r"]
        wide = [charge(name, 1_000_000) for name in names[:4]]
        scopes = [*wide, charge("run:r", 100)]
        await spent(ledger.store, reservation("h1", 60, *scopes), 60)
        before = await ledger.store.survey(names)
        asked = [reservation(f"a{n}", 41, *scopes) for n in range(200)]
        refusals = await asyncio.gather(*map(ledger.store.reserve, asked))
        assert {getattr(one, "scope", None) for one in refusals} == {"run:r"}
        assert await ledger.store.survey(names) == before
        # Where some of them fit, the others take nothing from anybody either.
        asked = [reservation(f"b{n}", 13, *scopes) for n in range(200)]
        answers = await asyncio.gather(*map(ledger.store.reserve, asked))
        assert sum(isinstance(one, Hold) for one in answers) == 3
        after = await ledger.store.survey(names)
        assert after == {name: Account(60, 39, 0) for name in names}

    play(backend, tmp_path, story)


@each_store
def test_requests_that_run_at_once_never_spend_more_than_the_limit(
    backend: Backend, tmp_path: Path
) -> None:
    async def story(ledger: Opened) -> None:
        limited = charge("key:k", 1_000)

        async def request(number: int) -> int:
            asked = reservation(f"h{number}", 17, limited)
            hold = await ledger.store.reserve(asked)
            if isinstance(hold, Refusal):
                return 0
            hold = await ledger.store.dispatch(hold, b"draft")
            account = await ledger.account("key:k")
            assert account.committed_nano <= 1_000
            return (await ledger.store.settle(hold, number % 18, event(f"h{number}"))).posted_nano

        posted = await asyncio.gather(*map(request, range(300)))
        assert await ledger.account("key:k") == Account(sum(posted), 0, 0)
        assert sum(posted) <= 1_000

    play(backend, tmp_path, story)


@each_store
def test_ten_settlements_at_once_are_one(backend: Backend, tmp_path: Path) -> None:
    async def story(ledger: Opened) -> None:
        for number in range(50):
            hold = await sent(ledger.store, reservation(f"h{number}", 70))
            answers = await asyncio.gather(
                *(
                    ledger.store.settle(hold, cost, event(f"h{number}-{cost}"))
                    for cost in range(40, 50)
                )
            )
            assert {answer.posted_nano for answer in answers} == {40}
            assert sorted(answer.repeated for answer in answers) == [False] + [True] * 9
        assert await ledger.account("org:o") == Account(50 * 40, 0, 0)
        assert ledger.outbox_ids() == [f"h{number}-40" for number in range(50)]

    play(backend, tmp_path, story)


@each_store
def test_a_settlement_and_a_release_at_once_end_a_hold_once(
    backend: Backend, tmp_path: Path
) -> None:
    async def story(ledger: Opened) -> None:
        for number in range(30):
            hold = await sent(ledger.store, reservation(f"h{number}", 70, charge("key:k")))
            moves = [
                ledger.store.release(hold, event(f"h{number}-release")),
                ledger.store.settle(hold, 45, event(f"h{number}-settle")),
            ]
            moves = moves[:: 1 if number % 2 else -1]
            endings = await asyncio.gather(*moves, return_exceptions=True)
            states = {ending.state for ending in endings if not isinstance(ending, BaseException)}
            assert states == {HoldState.RELEASED if number % 2 else HoldState.SETTLED}
        assert await ledger.account("key:k") == Account(15 * 45, 0, 0)
        assert len(ledger.outbox_ids()) == 30

    play(backend, tmp_path, story)


@each_store
def test_a_failing_neighbour_does_not_disturb_a_request(backend: Backend, tmp_path: Path) -> None:
    async def story(ledger: Opened) -> None:
        hold = await sent(ledger.store, reservation("h1", 70))
        unknown = Hold("nobody", HoldState.DISPATCHED, 5, ("org:o",), 0, 0)
        answers = await asyncio.gather(
            ledger.store.settle(unknown, 5, event("nobody")),
            ledger.store.settle(hold, 45, event("h1")),
            ledger.store.dispatch(hold, b"again"),
            return_exceptions=True,
        )
        assert isinstance(answers[0], LedgerError)
        assert isinstance(answers[2], LedgerError)
        assert await ledger.account("org:o") == Account(45, 0, 0)
        assert ledger.outbox_ids() == ["h1"]

    play(backend, tmp_path, story)


@each_store
def test_a_request_that_is_cancelled_while_it_settles_is_settled_and_alone(
    backend: Backend, tmp_path: Path
) -> None:
    async def story(ledger: Opened) -> None:
        one = await sent(ledger.store, reservation("h1", 70))
        two = await sent(ledger.store, reservation("h2", 70))
        leaving = asyncio.ensure_future(ledger.store.settle(one, 40, event("h1")))
        staying = asyncio.ensure_future(ledger.store.settle(two, 41, event("h2")))
        asyncio.get_running_loop().call_soon(leaving.cancel)
        assert (await staying).posted_nano == 41
        await asyncio.wait([leaving])
        assert await ledger.account("org:o") == Account(81, 0, 0)
        assert ledger.outbox_ids() == ["h1", "h2"]
        assert (await ledger.store.settle(one, 40, event("h1"))).repeated

    play(backend, tmp_path, story)


@each_store
def test_the_outbox_keeps_the_order_of_what_happened(backend: Backend, tmp_path: Path) -> None:
    async def story(ledger: Opened) -> None:
        await spent(ledger.store, reservation("h1", 5), 5)
        await ledger.store.record(event("refused"))
        await spent(ledger.store, reservation("h2", 5), 5)
        rows = ledger.store.outbox_after(0, 100)
        assert [row.event_id for row in rows] == ["h1", "refused", "h2"]
        assert rows[1].payload == event("refused").payload
        assert [row.seq for row in rows] == sorted({row.seq for row in rows})
        assert list(ledger.store.outbox_after(0, 2)) == list(rows[:2])
        assert list(ledger.store.outbox_after(rows[0].seq, 1)) == [rows[1]]
        assert list(ledger.store.outbox_after(rows[2].seq, 100)) == []
        assert await ledger.account("org:o") == Account(10, 0, 0)

    play(backend, tmp_path, story)


@each_store
def test_trimming_forgets_what_is_stored_and_never_reuses_a_number(
    backend: Backend, tmp_path: Path
) -> None:
    async def story(ledger: Opened) -> None:
        await asyncio.gather(*(ledger.store.record(event(f"e{n}")) for n in range(1_203)))
        rows = ledger.store.outbox_after(0, 2_000)
        await ledger.store.trim_outbox(rows[1_199].seq)
        assert ledger.outbox_ids() == ["e1200", "e1201", "e1202"]
        await ledger.store.trim_outbox(rows[-1].seq)
        assert ledger.outbox_ids() == []
        await ledger.store.record(event("next"))
        assert ledger.store.outbox_after(0, 10)[0].seq > rows[-1].seq

    play(backend, tmp_path, story)


@each_store
def test_another_thread_reads_the_outbox_while_it_grows_and_shrinks(
    backend: Backend, tmp_path: Path
) -> None:
    async def story(ledger: Opened) -> None:
        seen: list[str] = []
        written = threading.Event()

        def collect() -> None:
            after = 0
            while True:
                last = written.is_set()
                rows = ledger.store.outbox_after(after, 7)
                seen.extend(row.event_id for row in rows)
                after = rows[-1].seq if rows else after
                if last and not rows:
                    return

        collector = threading.Thread(target=collect)
        collector.start()
        for number in range(300):
            await spent(ledger.store, reservation(f"h{number}", 5), 5)
        written.set()
        await asyncio.to_thread(collector.join)
        assert seen == [f"h{number}" for number in range(300)]

    play(backend, tmp_path, story)


@each_store
def test_every_posted_entry_has_its_event_and_every_event_its_entry(
    backend: Backend, tmp_path: Path
) -> None:
    async def story(ledger: Opened) -> None:
        async def request(number: int) -> None:
            hold = await held(ledger.store, reservation(f"h{number}", 9))
            if number % 3 == 0:
                await ledger.store.release(hold, None)
                return
            hold = await ledger.store.dispatch(hold, f"h{number}".encode())
            if number % 3 == 1:
                await ledger.store.settle(hold, number % 10, event(f"h{number}"))

        await asyncio.gather(*map(request, range(90)))
        await ledger.store.expire(event("any").ended_ms + 10_000_000)
        with ledger.books() as books:
            entries = {
                event_id
                for total in books.totals_by_day()
                for event_id in books.entries_of_day(total.day)
            }
            events = [row.event_id for row in books.outbox()]
        assert len(events) == len(set(events)) == 60
        assert set(events) == entries

    play(backend, tmp_path, story)
