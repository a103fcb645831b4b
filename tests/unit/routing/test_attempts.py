"""Who is asked next, after which pause, and where it ends."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.attempts import (
    FULL_BUDGET,
    LONGEST_PAUSE_MS,
    AttemptPlan,
    Failure,
    RetryBudget,
    RetryLimits,
    Turn,
)
from routing.catalog import ModelCard

FAILED, BUSY, REFUSED = Failure(500), Failure(429), Failure(None)
LIMITS = RetryLimits(attempts=3, wait_ms=1_000)


def card(name: str) -> ModelCard:
    return ModelCard(name, f"{name}-provider", f"{name}-up", name, 1_000, 100)


ONE, TWO, THREE, LAST = map(card, ("one", "two", "three", "last"))


@dataclass
class Known:
    """A board where breakers close after a while and some providers have no retries left."""

    closed_after_ms: dict[str, int] = field(default_factory=dict)
    tired: set[str] = field(default_factory=set)

    def order(self, model: ModelCard) -> Sequence[ModelCard]:
        return model.places

    def usable(self, place: ModelCard, after_ms: int = 0) -> bool:
        return after_ms >= self.closed_after_ms.get(place.name, 0)

    def may_retry(self, provider: str) -> bool:
        return provider not in self.tired


def plan(
    *cards: ModelCard,
    last: ModelCard | None = None,
    limits: RetryLimits = LIMITS,
    board: Known | None = None,
    chance: float = 1.0,
) -> AttemptPlan:
    return AttemptPlan(cards, last, limits, board or Known(), lambda: chance)


def walk(found: AttemptPlan, *failures: Failure) -> list[Turn]:
    """Every turn it makes while each attempt fails as told."""
    turns: list[Turn] = []
    turn = found.first()
    for failure in failures:
        if turn is None:
            break
        turns.append(turn)
        turn = found.after(turn.place, failure)
    return turns if turn is None else [*turns, turn]


def test_candidates_are_asked_in_order_without_a_pause() -> None:
    turns = walk(plan(ONE, TWO, THREE), FAILED, REFUSED, BUSY)
    assert turns == [Turn(ONE), Turn(TWO), Turn(THREE)]


def test_other_deployments_of_the_model_come_before_other_models() -> None:
    places = tuple(replace(ONE, provider=name) for name in ("here", "there"))
    turns = walk(plan(replace(ONE, deployments=places), TWO), FAILED, FAILED, FAILED)
    assert [turn.place.provider for turn in turns] == ["here", "there", "two-provider"]


def test_the_same_one_is_asked_again_after_pauses_that_double() -> None:
    turns = walk(plan(ONE), FAILED, FAILED, FAILED)
    assert [turn.wait_ms for turn in turns] == [0, 100, 200]
    assert {turn.place.name for turn in turns} == {"one"}
    halved = walk(plan(ONE, chance=0.0), FAILED, FAILED, FAILED)
    assert [turn.wait_ms for turn in halved] == [0, 50, 100]


def test_the_wish_of_the_provider_is_honoured_with_jitter_on_top() -> None:
    assert walk(plan(ONE), Failure(429, wait_ms=700)) == [Turn(ONE), Turn(ONE, 800)]


def test_a_wish_for_more_than_there_is_time_for_ends_it() -> None:
    assert walk(plan(ONE), Failure(429, wait_ms=901)) == [Turn(ONE)]
    assert walk(plan(ONE), Failure(429, 600), Failure(429, 300)) == [Turn(ONE), Turn(ONE, 700)]


def test_of_several_the_one_that_asks_for_the_least_is_asked_again() -> None:
    turns = walk(plan(ONE, TWO), Failure(429, 500), Failure(429, 100))
    assert turns[-1].place == TWO
    assert turns[-1].wait_ms == 300


def test_without_time_for_pauses_nothing_is_asked_twice() -> None:
    assert walk(plan(ONE, limits=RetryLimits(3, 0)), FAILED) == [Turn(ONE)]


def test_nothing_is_sent_again_that_may_have_been_billed() -> None:
    assert walk(plan(ONE, TWO, last=LAST), Failure(None, billed=True)) == [Turn(ONE)]


@pytest.mark.parametrize("status", [401, 402])
def test_a_refused_key_is_not_tried_twice_but_elsewhere(status: int) -> None:
    assert walk(plan(ONE), Failure(status)) == [Turn(ONE)]
    assert walk(plan(ONE, TWO), Failure(status)) == [Turn(ONE), Turn(TWO)]


def test_one_whose_breaker_opened_meanwhile_is_passed_over() -> None:
    board = Known(closed_after_ms={"one": 5_000})
    assert walk(plan(ONE, TWO, board=board)) == [Turn(TWO)]
    assert plan(ONE, board=board).first() is None
    assert walk(plan(ONE, last=LAST, board=board)) == [Turn(LAST)]


def test_one_whose_breaker_closes_within_the_pause_is_asked_again() -> None:
    board = Known(closed_after_ms={"one": 0})
    found = plan(ONE, board=board)
    first = found.first()
    assert first is not None
    board.closed_after_ms["one"] = 300
    assert found.after(first.place, Failure(429, wait_ms=300)) == Turn(ONE, 400)


def test_a_provider_without_retries_left_gets_the_first_attempt_only() -> None:
    assert walk(plan(ONE, board=Known(tired={"one-provider"})), FAILED) == [Turn(ONE)]
    board = Known(tired={"two-provider"})
    assert walk(plan(ONE, TWO, THREE, board=board), FAILED) == [Turn(ONE), Turn(THREE)]


def test_the_last_resort_is_the_last_attempt_of_all() -> None:
    turns = walk(plan(ONE, TWO, THREE, last=LAST), FAILED, FAILED, FAILED)
    assert [turn.place.name for turn in turns] == ["one", "two", "last"]


def test_the_last_resort_comes_after_the_others_were_asked_again() -> None:
    turns = walk(plan(ONE, last=LAST), FAILED, FAILED, FAILED)
    assert [turn.place.name for turn in turns] == ["one", "one", "last"]
    assert turns[-1].wait_ms == 0


def test_a_single_attempt_is_the_first_candidates() -> None:
    turns = walk(plan(ONE, last=LAST, limits=RetryLimits(1, 1_000)), FAILED)
    assert turns == [Turn(ONE)]


@given(
    names=st.lists(st.sampled_from(["one", "two", "three"]), min_size=1, unique=True),
    attempts=st.integers(1, 10),
    wait_ms=st.integers(0, 60_000),
    failures=st.lists(
        st.builds(
            Failure,
            st.sampled_from([None, 401, 408, 429, 500, 503]),
            st.integers(0, 300_000),
            st.booleans(),
        ),
        min_size=12,
        max_size=12,
    ),
    last=st.booleans(),
    chance=st.floats(0, 1),
)
def test_whatever_fails_it_ends_within_its_limits(
    names: list[str],
    attempts: int,
    wait_ms: int,
    failures: list[Failure],
    last: bool,
    chance: float,
) -> None:
    found = plan(
        *map(card, names),
        last=LAST if last else None,
        limits=RetryLimits(attempts, wait_ms),
        chance=chance,
    )
    turns = walk(found, *failures)
    assert 1 <= len(turns) <= attempts
    waits = [turn.wait_ms for turn in turns]
    assert sum(waits) <= wait_ms
    assert all(wait == 0 or wait >= 50 for wait in waits)
    assert [turn.place for turn in turns].count(LAST) <= 1
    assert all(not failure.billed for failure in failures[: len(turns) - 1])


def test_pauses_stop_doubling() -> None:
    turns = walk(plan(ONE, limits=RetryLimits(9, 60_000)), *[FAILED] * 8)
    assert turns[-1].wait_ms == LONGEST_PAUSE_MS


# -- the retry budget -------------------------------------------------------------------------


def test_a_provider_that_fails_altogether_is_asked_four_times_more_at_most() -> None:
    budget, more = RetryBudget(), 0
    for _ in range(1_000):
        budget = budget.failed()
        more += budget.allows
    assert more == 4
    assert not budget.allows


def test_a_provider_that_works_again_earns_its_retries_back() -> None:
    budget = RetryBudget(0)
    for _ in range(25):
        budget = budget.answered()
        assert not budget.allows
    assert budget.answered().allows


def test_a_full_budget_is_not_touched_by_answers() -> None:
    full = RetryBudget()
    assert full.answered() is full


@given(st.lists(st.booleans(), max_size=400))
def test_repeats_are_never_more_than_a_fifth_of_what_is_answered_and_five(
    answers: list[bool],
) -> None:
    budget, more = RetryBudget(), 0
    for answered in answers:
        budget = budget.answered() if answered else budget.failed()
        assert 0 <= budget.left <= FULL_BUDGET
        more += not answered and budget.allows
    assert more <= 5 + sum(answers) / 5
