"""An agent at the end of its budget: warned, shown the way down, and let down once."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from budgets.landing import landing_account
from budgets.ledger import Refusal
from budgets.money import nano_from_usd
from budgets.runs import RunTerms, run_charges
from budgets.scopes import Budget, ScopeKind, Unit, Window
from gateway.desk import Desk
from gateway.errors import ApiError, budget_exceeded
from gateway.landings import Approach, approach_of, wants_landing
from gateway.run_grants import RunGrant
from tests.unit.gateway.desks import (
    PRINCIPAL,
    Client,
    ask,
    assert_at_rest,
    chat,
    crowd,
    events,
    make_desk,
    run,
    scripted,
)

LAND = (b"x-weir-landing", b"use")
BODY = chat("a b", max_tokens=10)
ACCOUNT = "run:lab/run~1|total|0"


def desk_for(*chain: RunTerms, provider: Any = None, book: Sequence[Budget] = ()) -> Desk:
    """A desk whose client holds the token of a run."""
    principal = replace(PRINCIPAL, run=RunGrant("key1", 1 << 40, chain))
    made = provider or scripted(say="one two three")
    return make_desk({"main": made}, principal=principal, book=book)


def ceiling_nano() -> int:
    """What one request may cost, as a refusal tells it."""
    client = run(ask(desk_for(RunTerms("run~1", 1)), BODY))
    return nano_from_usd(client.error["needed_usd"])


ONE = ceiling_nano()


def spend_out(desk: Desk) -> list[Client]:
    """Ordinary requests until the run's limit refuses one; all of them."""
    clients = []
    while not clients or clients[-1].status == 200:
        clients.append(run(ask(desk, BODY)))
        assert len(clients) < 200
    return clients


@pytest.mark.parametrize(
    "terms",
    [
        RunTerms("run~1", 10 * ONE, landing_permille=200),
        RunTerms("run~1", None, 1_000, landing_permille=200),
        RunTerms("run~1", None, None, 10, landing_permille=200),
    ],
    ids=["usd", "tokens", "requests"],
)
def test_at_the_end_of_its_budget_a_run_may_send_one_last_request(terms: RunTerms) -> None:
    [(unit, limit)] = [(unit, limit) for unit, limit in terms.limits().items() if limit]
    desk = desk_for(terms)
    *answered, refused = spend_out(desk)
    left = f"x-weir-run-left-{unit}".encode()
    warned = [client.header(left) is not None for client in answered]
    assert not warned[0] and warned[-1]
    assert warned == sorted(warned), "once it is near the end it stays near"
    assert (refused.status, refused.error["code"]) == (402, "budget_exceeded")
    assert refused.header(b"x-weir-landing") == b"available"
    assert refused.error["landing"]["available"] is True
    strip = limit * 200 // 1_000
    kept = refused.error["landing"][unit.value]
    assert (nano_from_usd(kept) if unit is Unit.USD else kept) == strip
    assert "send one last request with the header `x-weir-landing: use`" in refused.error["message"]

    last = run(ask(desk, BODY, LAND))
    assert last.status == 200
    assert [event.landed for event in events(desk) if event.status == 200][-2:] == [False, True]
    for headers in ((LAND,), ()):
        over = run(ask(desk, BODY, *headers))
        assert (over.status, over.error["landing"]) == (402, {"available": False})
        assert over.header(b"x-weir-landing") == b"used"
    [account] = run(desk.ledger.survey([f"run:lab/run~1|total{suffix(unit)}|0"])).values()
    assert limit - strip < account.posted_nano + ONE
    assert account.posted_nano <= limit
    assert_at_rest(desk)


def suffix(unit: Unit) -> str:
    return "" if unit is Unit.USD else f"/{unit}"


def test_of_fifty_landings_at_once_one_is_admitted() -> None:
    desk = desk_for(
        RunTerms("run~1", 100 * ONE, landing_permille=500),
        provider=scripted(say="one", first_delay_ms=300),
    )

    statuses = [client.status for client in run(crowd(desk, 50, BODY, LAND))]
    assert statuses.count(200) == 1
    assert run(ask(desk, BODY)).status == 200, "what is above the strip is still there"
    assert_at_rest(desk)


def test_a_landing_that_was_not_billed_may_be_tried_again() -> None:
    desk = desk_for(
        RunTerms("run~1", 10 * ONE, landing_permille=200), provider=scripted(status=500)
    )
    assert [run(ask(desk, BODY, LAND)).status for _ in range(2)] == [500, 500]
    names = [landing_account("lab/run~1")]
    accounts = run(desk.ledger.survey(names))
    assert all(account.committed_nano == 0 for account in accounts.values())
    assert_at_rest(desk)


def test_a_run_cannot_land_on_the_strip_of_the_run_above_it() -> None:
    own = RunTerms("run~1", 10 * ONE, landing_permille=100)
    above = RunTerms("top~2", 10 * ONE, landing_permille=500)
    desk = desk_for(own, above)
    *_, refused = spend_out(desk)
    assert refused.error["scope"] == "run:lab/top~2"
    assert "landing" not in refused.error
    last = run(ask(desk, BODY, LAND))
    assert (last.status, last.error["scope"]) == (402, "run:lab/top~2")
    assert_at_rest(desk)


def test_a_run_that_was_only_named_lands_where_a_budget_of_runs_says_so() -> None:
    budget = Budget(ScopeKind.RUN, "*", Window.TOTAL, 3 * ONE, landing_permille=400)
    desk = make_desk({"main": scripted(say="one two three")}, book=[budget])
    named = (b"x-weir-run", b"r1")
    while (client := run(ask(desk, BODY, named))).status == 200:
        assert len(events(desk)) < 50
    assert client.error["landing"]["available"] is True
    assert run(ask(desk, BODY, named, LAND)).status == 200
    assert run(ask(desk, BODY, named, LAND)).status == 402
    # A request that is a run of its own has nothing to land for.
    assert run(ask(desk, BODY, LAND)).status == 200
    assert not events(desk)[-1].landed
    assert_at_rest(desk)


def test_a_stream_is_warned_by_what_it_holds() -> None:
    desk = desk_for(RunTerms("run~1", 2 * ONE + 10, landing_permille=500))
    client = run(ask(desk, chat("a b", max_tokens=10, stream=True)))
    assert client.status == 200
    assert client.header(b"x-weir-run-left-usd") is not None
    assert_at_rest(desk)


def test_without_a_strip_nothing_is_said_of_landing() -> None:
    desk = desk_for(RunTerms("run~1", 2 * ONE))
    *answered, refused = spend_out(desk)
    assert "landing" not in refused.error
    assert refused.header(b"x-weir-landing") is None
    assert all(client.header(b"x-weir-run-left-usd") is None for client in answered)
    assert run(ask(desk, BODY, LAND)).status == 402


@pytest.mark.parametrize("word", [b"", b"Use", b"yes", b"available"])
def test_the_header_has_one_word(word: bytes) -> None:
    assert not wants_landing({})
    assert wants_landing({b"x-weir-landing": b"use"})
    with pytest.raises(ApiError) as caught:
        wants_landing({b"x-weir-landing": word})
    assert caught.value.param == "x-weir-landing"


def test_a_refusal_by_another_budget_says_nothing_of_landing() -> None:
    charges = run_charges("lab", (RunTerms("run~1", 1_000, landing_permille=100),))
    approach: Approach = approach_of({}, charges[:1], "lab/run~1")
    other = Refusal("key:k", Window.TOTAL, 5, 5, 0, 1, None, "key:k|total|0")
    error = budget_exceeded(other)
    assert approach.told(error, other) is error
    own = replace(other, scope="run:lab/run~1", account=ACCOUNT)
    assert approach.told(error, own).details["landing"] == {
        "available": True,
        "usd": "0.000000100",
    }
