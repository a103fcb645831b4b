"""Breakers open on the provider's faults only, let one request probe, and close on success."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.catalog import ModelCard
from routing.health import (
    DEFAULT_LIMITS,
    Breaker,
    BreakerLimits,
    BreakerState,
    Health,
    breaker_key,
    counts_as_failure,
)

LIMITS = BreakerLimits(
    failures_to_open=3,
    spell_ms=0,
    pause_ms=1_000,
    max_pause_ms=3_000,
    max_wish_ms=9_000,
    probe_ms=500,
)
GPT = ModelCard("gpt", "openai", "gpt-up", "gpt", 1_000, 100)
KEY = breaker_key(GPT)


def opened(at_ms: int = 0) -> Breaker:
    breaker = Breaker()
    for _ in range(LIMITS.failures_to_open):
        breaker = breaker.record_failure(at_ms, "status 500", limits=LIMITS)
    return breaker


@pytest.mark.parametrize("status", [None, 401, 402, 408, 429, 500, 502, 503, 504, 529])
def test_the_providers_own_faults_count(status: int | None) -> None:
    assert counts_as_failure(status)


@pytest.mark.parametrize("status", [200, 301, 400, 403, 404, 409, 413, 415, 422])
def test_what_a_request_caused_never_counts(status: int) -> None:
    assert not counts_as_failure(status)


def test_it_opens_after_failures_in_a_row() -> None:
    breaker = Breaker()
    for _ in range(LIMITS.failures_to_open - 1):
        breaker = breaker.record_failure(0, "status 500", limits=LIMITS)
        assert breaker.is_usable(0)
    breaker = breaker.record_failure(0, "status 500", limits=LIMITS)
    assert not breaker.is_usable(999)
    assert breaker.is_usable(1_000)


def test_failures_of_a_moment_are_bad_luck_unless_they_are_many() -> None:
    few = many = Breaker()
    for _ in range(DEFAULT_LIMITS.failures_to_open + 1):
        few = few.record_failure(7_000, "status 500")
    assert few.is_usable(7_000)
    assert few.record_failure(7_999, "status 500").is_usable(7_999)
    assert not few.record_failure(8_000, "status 500").is_usable(8_000)
    for _ in range(DEFAULT_LIMITS.failures_at_once - 1):
        many = many.record_failure(7_000, "status 500")
    assert many.is_usable(7_000)
    assert not many.record_failure(7_000, "status 500").is_usable(7_000)


def test_a_success_forgets_the_failures_before_it() -> None:
    breaker = Breaker().record_failure(0, "x", limits=LIMITS).record_failure(0, "x", limits=LIMITS)
    breaker = breaker.record_success().record_failure(0, "x", limits=LIMITS)
    assert breaker.state is BreakerState.CLOSED
    assert breaker.failures == 1


def test_after_the_pause_one_request_probes_and_others_stay_away() -> None:
    probing = opened().record_attempt(1_000, LIMITS)
    assert probing.state is BreakerState.HALF_OPEN
    assert not probing.is_usable(1_001)
    assert probing.record_attempt(1_001, LIMITS) == probing
    assert probing.record_success() == Breaker()


def test_a_probe_that_never_reports_makes_way_for_another() -> None:
    probing = opened().record_attempt(1_000, LIMITS)
    assert probing.is_usable(1_500)
    assert not probing.record_attempt(1_500, LIMITS).is_usable(1_600)


def test_a_failed_probe_doubles_the_pause_up_to_its_maximum() -> None:
    breaker, now_ms, pauses = opened(), 0, []
    for _ in range(4):
        now_ms = breaker.until_ms
        breaker = breaker.record_attempt(now_ms, LIMITS).record_failure(now_ms, "x", limits=LIMITS)
        pauses.append(breaker.until_ms - now_ms)
    assert pauses == [2_000, 3_000, 3_000, 3_000]


def test_late_failures_of_an_open_breaker_change_nothing() -> None:
    breaker = opened()
    assert breaker.record_failure(500, "late", limits=LIMITS) == breaker


def test_retry_after_opens_at_once_for_that_long() -> None:
    breaker = Breaker().record_failure(0, "status 429", retry_after_ms=200, limits=LIMITS)
    assert not breaker.is_usable(199)
    assert breaker.is_usable(200)


def test_retry_after_may_exceed_the_longest_pause_but_not_the_longest_wish() -> None:
    breaker = Breaker().record_failure(0, "status 429", retry_after_ms=10**9, limits=LIMITS)
    assert breaker.until_ms == LIMITS.max_wish_ms > LIMITS.max_pause_ms
    later = breaker.record_failure(1, "status 429", retry_after_ms=10**9, limits=LIMITS)
    assert later.until_ms == 1 + LIMITS.max_wish_ms


def test_health_says_why_a_model_is_down() -> None:
    health = Health()
    assert health.why_down(GPT, 0) is None
    for _ in range(DEFAULT_LIMITS.failures_at_once):
        health = health.with_failure(KEY, 0, "status 500")
    assert health.why_down(GPT, 0) == "provider openai rests for 5 s after: status 500"
    assert health.why_down(replace(GPT, name="other"), 0) is None
    probing = health.with_attempt(KEY, 5_000)
    why = probing.why_down(GPT, 5_001)
    assert why == "provider openai is being probed after: status 500"
    assert probing.with_success(KEY) == Health()


def test_a_provider_that_is_not_ready_is_down_with_all_its_models() -> None:
    health = Health().with_ready("local", "loading")
    assert (
        health.why_down(replace(GPT, provider="local"), 0) == "provider local is not ready: loading"
    )
    assert health.with_ready("local", None) == Health()


def test_good_news_about_a_healthy_model_changes_nothing() -> None:
    health = Health()
    assert health.with_success(KEY) is health
    assert health.with_attempt(KEY, 0) is health
    assert health.with_ready("openai", None) is health


def test_a_probe_that_was_called_off_makes_way_at_once() -> None:
    probing = opened().record_attempt(1_000, LIMITS)
    assert probing.record_nothing(1_001).is_usable(1_001)
    assert opened().record_nothing(10) == opened()
    assert Breaker().record_nothing(10) == Breaker()


def test_each_deployment_has_a_breaker_and_a_model_is_down_with_all_of_them() -> None:
    here, there = replace(GPT, provider="here"), replace(GPT, provider="there")
    twin = replace(here, upstream_model="twin")
    model = replace(here, deployments=(here, twin, there))
    health = Health().with_failure(breaker_key(here), 0, "status 429", retry_after_ms=9_000)
    assert health.why_down(here, 0) is not None
    assert health.why_down(twin, 0) is health.why_down(model, 0) is None
    for place in (twin, there):
        health = health.with_failure(breaker_key(place), 0, "status 503", retry_after_ms=9_000)
    why = health.why_down(model, 0)
    assert why is not None
    assert "status 429" in why
    assert "provider there rests for 9 s after: status 503" in why


@given(
    moves=st.lists(
        st.tuples(
            st.sampled_from(["attempt", "success", "failure"]),
            st.integers(0, 4_000),
            st.sampled_from([0, 0, 700]),
        ),
        max_size=40,
    )
)
def test_whatever_happens_it_becomes_usable_again(moves: list[tuple[str, int, int]]) -> None:
    breaker, now_ms = Breaker(), 0
    for move, passed_ms, retry_after_ms in moves:
        now_ms += passed_ms
        if move == "attempt":
            breaker = breaker.record_attempt(now_ms, LIMITS)
        elif move == "success":
            breaker = breaker.record_success()
        else:
            breaker = breaker.record_failure(
                now_ms, "x", retry_after_ms=retry_after_ms, limits=LIMITS
            )
        assert breaker.is_usable(now_ms + LIMITS.max_pause_ms)
        if breaker.state is BreakerState.CLOSED:
            assert breaker.failures < LIMITS.failures_to_open
