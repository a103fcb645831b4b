"""Budgets and prices as written in config.toml become exact values, or an error that helps."""

import tomllib
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from budgets.actions import Action, Threshold
from budgets.config import BudgetSection, DatedPrice, ModelPricing, PriceSection
from budgets.prices import cost
from budgets.rolling import RollingWindow
from budgets.scopes import Budget, ScopeKind, Unit, Window
from budgets.usage import TokenUsage

RATES = {"input": "1.25", "output": "10"}


def read(text: str) -> dict[str, Any]:
    return tomllib.loads(text, parse_float=Decimal)


def fault_of(section: type[Any], values: object) -> str:
    with pytest.raises(ValidationError) as caught:
        section.model_validate(values)
    return "; ".join(str(error["msg"]) for error in caught.value.errors())


def test_a_budget_is_read_exactly() -> None:
    text = 'scope = "key:*"\nwindow = "month"\nlimit_usd = 0.1\ntimezone = "Europe/Berlin"'
    budget = BudgetSection.model_validate(read(text)).to_budget()
    assert budget == Budget(ScopeKind.KEY, "*", Window.MONTH, 100_000_000, "Europe/Berlin")


@pytest.mark.parametrize(
    ("scope", "kind", "scope_id"),
    [
        ("org", ScopeKind.ORG, "*"),
        ("org:acme", ScopeKind.ORG, "acme"),
        ("team:research", ScopeKind.TEAM, "research"),
        ("key:k0a1b2", ScopeKind.KEY, "k0a1b2"),
        ("workflow:research/nightly papers", ScopeKind.WORKFLOW, "research/nightly papers"),
        ("workflow:*", ScopeKind.WORKFLOW, "*"),
        ("run:research/run:7/b", ScopeKind.RUN, "research/run:7/b"),
        ("user:lab/ana@example.org", ScopeKind.USER, "lab/ana@example.org"),
        ("user:lab/*", ScopeKind.USER, "lab/*"),
        ("workflow:lab/nightly-*", ScopeKind.WORKFLOW, "lab/nightly-*"),
        ("model:openai/gpt-5", ScopeKind.MODEL, "openai/gpt-5"),
        ("model:gpt-*", ScopeKind.MODEL, "gpt-*"),
        ("team:eu-*", ScopeKind.TEAM, "eu-*"),
        ("tag:lab/feature=search", ScopeKind.TAG, "lab/feature=search"),
        ("tag:lab/feature=*", ScopeKind.TAG, "lab/feature=*"),
        ("tag:lab/feature=a b*", ScopeKind.TAG, "lab/feature=a b*"),
        ("tag:lab/fe*", ScopeKind.TAG, "lab/fe*"),
        ("tag:*", ScopeKind.TAG, "*"),
    ],
)
def test_every_kind_of_scope_can_have_a_budget(scope: str, kind: ScopeKind, scope_id: str) -> None:
    section = BudgetSection.model_validate({"scope": scope, "window": "day", "limit_usd": "2"})
    budget = section.to_budget()
    assert (budget.kind, budget.scope_id, budget.timezone) == (kind, scope_id, "UTC")


@pytest.mark.parametrize(
    ("scope", "hint"),
    [
        ("keys:*", "expected org, team:NAME, key:ID"),
        ("key", "expected org, team:NAME, key:ID"),
        ("", "expected org"),
        ("key:", "expected key:ID or key:*"),
        ("team:a|b", "expected team:NAME or team:*"),
        ("team:a/b", "expected team:NAME"),
        ("workflow:papers", "expected workflow:TEAM/NAME"),
        ("run:research/", "expected run:TEAM/NAME"),
        ("org:", "expected org"),
        ("org:a*", "expected org"),
        ("user:ana", "expected user:TEAM/ID, user:TEAM/* or user:*"),
        ("user:la*", "expected user:TEAM/ID"),
        ("user:*/ana", "expected user:TEAM/ID"),
        ("user:lab/a*b*", "expected user:TEAM/ID"),
        ("tag:lab/feature", "expected tag:TEAM/NAME=VALUE"),
        ("tag:lab/feature=", "expected tag:TEAM/NAME=VALUE"),
        ("tag:lab/=x", "expected tag:TEAM/NAME=VALUE"),
        ("tag:lab/a=b=c", "expected tag:TEAM/NAME=VALUE"),
        ("model:", "expected model:NAME"),
        ("model:a b", "expected model:NAME"),
    ],
)
def test_a_scope_nobody_can_have_is_refused_with_the_form(scope: str, hint: str) -> None:
    values = {"scope": scope, "window": "day", "limit_usd": "2"}
    assert hint in fault_of(BudgetSection, values)


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        ({"limit_usd": "9000000.01"}, "at most 9000000 dollars"),
        ({"limit_usd": "-1"}, "zero or more dollars"),
        ({"limit_usd": "nan"}, "finite"),
        ({"limit_usd": 0.1}, 'dollars such as "12.50"'),
        ({"timezone": "Europe/Berln"}, "did you mean 'Europe/Berlin'?"),
        ({"timezone": "../etc"}, "no known IANA time zone"),
        ({"window": "fortnight"}, "'week'"),
        ({"limit": 3}, "Extra inputs"),
    ],
)
def test_a_budget_that_cannot_be_kept_is_refused(change: dict[str, Any], hint: str) -> None:
    values = {"scope": "org", "window": "day", "limit_usd": "2", **change}
    assert hint in fault_of(BudgetSection, values)


@pytest.mark.parametrize(
    ("name", "given", "unit", "limit"),
    [
        ("limit_usd", "0.5", Unit.USD, 500_000_000),
        ("limit_tokens", 2_000_000, Unit.TOKENS, 2_000_000),
        ("limit_tokens", "2_000_000", Unit.TOKENS, 2_000_000),
        ("limit_tokens", Decimal("2e6"), Unit.TOKENS, 2_000_000),
        ("limit_requests", "0", Unit.REQUESTS, 0),
    ],
)
def test_a_limit_is_in_money_tokens_or_requests(
    name: str, given: Any, unit: Unit, limit: int
) -> None:
    values = {"scope": "key:a", "window": "day", name: given}
    budget = BudgetSection.model_validate(values).to_budget()
    assert (budget.unit, budget.limit_nano) == (unit, limit)


@pytest.mark.parametrize(
    "given", [-1, "1.5", Decimal("1.5"), "many", "", True, None, Decimal("NaN"), 1.0, "1e30", []]
)
def test_tokens_and_requests_are_whole_numbers(given: Any) -> None:
    for name in ("limit_tokens", "limit_requests"):
        values = {"scope": "key:a", "window": "day", name: given}
        assert "expected a whole number such as 100000" in fault_of(BudgetSection, values)


@pytest.mark.parametrize("limits", [{}, {"limit_usd": "1", "limit_tokens": 5}])
def test_a_budget_has_exactly_one_limit(limits: dict[str, Any]) -> None:
    values = {"scope": "key:a", "window": "day", **limits}
    assert "exactly one of limit_usd, limit_tokens and limit_requests" in fault_of(
        BudgetSection, values
    )


@pytest.mark.parametrize("action", ["degrade", "kill_run"])
def test_a_budget_for_a_model_has_no_action_on_requests(action: str) -> None:
    at = [{"share": "0.5", "action": action}]
    values = {"scope": "model:*", "window": "day", "limit_usd": "1", "at": at}
    assert f"a budget for a model has no {action}" in fault_of(BudgetSection, values)
    assert BudgetSection.model_validate({**values, "scope": "key:*"}).at


def test_runs_may_keep_a_share_for_their_landing() -> None:
    values = {"scope": "run:lab/*", "window": "total", "limit_tokens": 1_001, "landing": "0.1"}
    budget = BudgetSection.model_validate(values).to_budget()
    assert (budget.landing_permille, budget.strip_nano, budget.refuse_nano) == (100, 101, 900)


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        ({"scope": "team:*"}, 'landing is for budgets of runs (run:*) whose window is "total"'),
        ({"window": "day"}, "landing is for budgets of runs"),
        ({"landing": "1"}, "a share below 1"),
        ({"landing": "0"}, "a share of the limit"),
        ({"landing": "0.0001"}, "three decimals"),
    ],
)
def test_a_landing_that_cannot_be_kept_is_refused(change: dict[str, Any], hint: str) -> None:
    values = {"scope": "run:*", "window": "total", "limit_usd": "1", "landing": "0.1", **change}
    assert hint in fault_of(BudgetSection, values)


def test_a_price_with_every_class_and_a_context_tier_is_exact() -> None:
    section = PriceSection.model_validate(
        read(
            'input = 3\noutput = "15"\ncached = 0.3\ncache_write = 3.75\naudio_input = 40\n'
            "reasoning = 16\naudio_output = 80\nimage_input = 10\n"
            "[above.200000]\ninput = 6\noutput = 22.5"
        )
    )
    price = section.to_price("big", 7)
    usage = TokenUsage(1, 1, 1, 1, 1, 1, 1, 1, 1)
    assert cost(price, usage).by_class_pico == {
        "fresh": 3_000_000,
        "cached": 300_000,
        "cache_write": 3_750_000,
        "cache_write_1h": 6_000_000,
        "audio_input": 40_000_000,
        "image_input": 10_000_000,
        "output": 15_000_000,
        "reasoning": 16_000_000,
        "audio_output": 80_000_000,
    }
    long = cost(price, TokenUsage(fresh=200_001, output=1)).by_class_pico
    assert (long["fresh"], long["output"]) == (6_000_000 * 200_001, 22_500_000)
    assert (price.model, price.valid_from_s) == ("big", 7)


@given(st.decimals(min_value=0, max_value=1000, places=6))
def test_a_price_of_six_places_loses_nothing(rate: Decimal) -> None:
    section = PriceSection.model_validate({"input": str(rate), "output": "0"})
    million = cost(section.to_price("m"), TokenUsage(fresh=1_000_000))
    assert million.by_class_pico["fresh"] == rate * 10**12


def test_the_version_of_a_written_price_follows_its_rates() -> None:
    versions = {
        PriceSection.model_validate(values).to_price("m").version
        for values in (
            RATES,
            {**RATES, "cached": "0.5"},
            {**RATES, "above": {"1000": {"input": "2"}}},
        )
    }
    assert len(versions) == 3
    first = PriceSection.model_validate(RATES)
    assert first.to_price("m").version == PriceSection.model_validate(RATES).to_price("x").version


@pytest.mark.parametrize(
    ("values", "hint"),
    [
        ({"input": "1"}, "output is missing"),
        ({**RATES, "input": "-1"}, "zero or more dollars"),
        ({**RATES, "input": "1000001"}, "at most 1000000 dollars"),
        ({**RATES, "imput": "1"}, "Extra inputs"),
        ({**RATES, "above": {"0": {"input": "2"}}}, "greater than 0"),
        ({**RATES, "above": {"many": {"input": "2"}}}, "valid integer"),
    ],
)
def test_a_price_that_cannot_be_right_is_refused(values: dict[str, Any], hint: str) -> None:
    assert hint in fault_of(PriceSection, values)


def test_only_a_price_without_any_rate_is_zero() -> None:
    zero = {"input": "0", "output": "0"}
    assert PriceSection.model_validate(zero).is_zero
    assert not PriceSection.model_validate({**zero, "reasoning": "1"}).is_zero
    assert not PriceSection.model_validate({**zero, "above": {"9": {"input": "1"}}}).is_zero


@pytest.mark.parametrize(
    "text",
    [
        'valid_from = "2026-12-01"',
        "valid_from = 2026-12-01",
        "valid_from = 2026-12-01T00:00:00Z",
        'valid_from = "2026-12-01T01:00:00+01:00"',
    ],
)
def test_a_price_begins_at_a_date_in_utc(text: str) -> None:
    assert DatedPrice.model_validate({**read(text), "price": RATES}).valid_from == 1_796_083_200


@pytest.mark.parametrize("value", ["soon", "2026-13-01", 5, True])
def test_a_date_that_is_none_is_refused(value: object) -> None:
    assert fault_of(DatedPrice, {"valid_from": value, "price": RATES})


def test_a_model_takes_its_price_from_one_place() -> None:
    both = {"price": RATES, "price_from": "gpt-5"}
    assert "not both" in fault_of(ModelPricing, both)
    assert "exactly one" in fault_of(DatedPrice, {"valid_from": "2026-12-01", **both})
    assert "exactly one" in fault_of(DatedPrice, {"valid_from": "2026-12-01"})
    twice = [{"valid_from": "2026-12-01", "price": RATES}] * 2
    assert "same valid_from" in fault_of(ModelPricing, {"prices": twice})


def test_a_length_of_time_is_a_rolling_window() -> None:
    values = {"scope": "org", "window": "1d", "limit_usd": "2"}
    budget = BudgetSection.model_validate(values).to_budget()
    assert (budget.window, budget.name) == (RollingWindow(86_400), "org:*/24h")
    assert "'7d', got 'fortnight'" in fault_of(BudgetSection, {**values, "window": "fortnight"})
    assert "366d" in fault_of(BudgetSection, {**values, "window": "400d"})


def at_text(*entries: str) -> str:
    listed = ", ".join(f'{{ share = {e.split()[0]}, action = "{e.split()[1]}" }}' for e in entries)
    return f'scope = "org"\nwindow = "day"\nlimit_usd = 1\nat = [{listed}]\n'


def test_alerts_are_exact_shares_of_the_limit() -> None:
    text = 'scope = "org"\nwindow = "day"\nlimit_usd = 1\nalert_at = [1, 0.8, 0.001, "0.5", 0.5]'
    budget = BudgetSection.model_validate(read(text)).to_budget()
    assert budget.at == tuple(Threshold(share, Action.ALERT) for share in (1, 500, 800, 1_000))


def test_actions_are_ordered_by_their_share_with_the_short_alerts_among_them() -> None:
    text = at_text("1.0 refuse", "0.9 degrade", "0.8 alert") + "alert_at = [0.95, 0.8]"
    budget = BudgetSection.model_validate(read(text)).to_budget()
    assert [(entry.permille, entry.action.value) for entry in budget.at] == [
        (800, "alert"),
        (900, "degrade"),
        (950, "alert"),
        (1_000, "refuse"),
    ]
    assert (budget.refuse_permille, budget.refuse_nano) == (1_000, 10**9)


@pytest.mark.parametrize("share", [0, -1, "1.001", "0.0005", "80%", "NaN", True, 0.5, None, "1e-9"])
def test_a_share_that_is_none_is_refused(share: object) -> None:
    values = {"scope": "org", "window": "day", "limit_usd": "2", "alert_at": [share]}
    assert "expected a share of the limit such as 0.8" in fault_of(BudgetSection, values)
    values = {**values, "alert_at": [], "at": [{"share": share, "action": "alert"}]}
    assert "expected a share of the limit such as 0.8" in fault_of(BudgetSection, values)


@pytest.mark.parametrize(
    ("entries", "hint"),
    [
        ([], "at least 1 item"),
        (["0.1 alert"] * 11, "at most 10 items"),
        (["0.1 degrad"], "'degrade'"),
        (["0.1 degrade", "0.2 degrade"], "degrade is there twice"),
        (["0.1 refuse", "0.2 refuse"], "refuse is there twice"),
        (["0.1 kill_run", "0.2 kill_run"], "kill_run is there twice"),
        (["0.9 kill_run", "0.8 refuse"], "kill_run at 0.9 is never reached"),
        (["0.9 degrade", "0.8 refuse"], "degrade at 0.9 is never reached, because requests are"),
    ],
)
def test_actions_that_cannot_be_meant_are_refused(entries: list[str], hint: str) -> None:
    assert hint in fault_of(BudgetSection, read(at_text(*entries)))


def test_an_action_at_the_share_of_a_refusal_and_an_alert_beyond_it_are_allowed() -> None:
    text = at_text("0.8 degrade", "0.8 refuse", "1 alert")
    assert BudgetSection.model_validate(read(text)).to_budget().refuse_permille == 800
