"""The first matching rule wins, every condition must hold, and each says so in words."""

from collections.abc import Callable
from typing import Any

import pytest

from budgets.thresholds import Pressure
from routing.lexicon import Task
from routing.policies import Match, Policy, RouteRequest, Rule, policies_by_name

MakeRequest = Callable[..., RouteRequest]


def matches(request: RouteRequest, **conditions: Any) -> bool:
    return Rule("r", Match(**conditions), "small").first_failing(request) is None


@pytest.mark.parametrize(
    ("patterns", "workflow", "expected"),
    [
        (("mail-triage",), "mail-triage", True),
        (("mail",), "mail-triage", False),
        (("mail-*",), "mail-triage", True),
        (("*triage",), "mail-triage", True),
        (("mail-?riage",), "mail-triage", True),
        (("mail-[tx]riage",), "mail-triage", True),
        (("MAIL-*",), "mail-triage", False),
        (("mail.triage",), "mail-triage", False),
        (("chat-*", "mail-*"), "mail-triage", True),
        (("*",), "", True),
        (("mail-*",), "mail-x\ny", True),
        (("mail",), "mail\n", False),
    ],
)
def test_globs_cover_the_whole_name(
    make_request: MakeRequest, patterns: tuple[str, ...], workflow: str, expected: bool
) -> None:
    assert matches(make_request(workflow=workflow), workflow=patterns) is expected


def test_team_and_key_have_globs_of_their_own(make_request: MakeRequest) -> None:
    request = make_request(team="support", key_id="k1")
    assert matches(request, team=("sup*",), key=("k?",))
    assert not matches(request, team=("sup*",), key=("x?",))
    assert not matches(request, team=("x*",), key=("k?",))


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ({"difficulty_min": 0.5}, True),
        ({"difficulty_min": 0.51}, False),
        ({"difficulty_max": 0.5}, True),
        ({"difficulty_max": 0.49}, False),
        ({"prompt_tokens_min": 100}, True),
        ({"prompt_tokens_min": 101}, False),
        ({"prompt_tokens_max": 100}, True),
        ({"prompt_tokens_max": 99}, False),
        ({"task": (Task.CODE, Task.MATH)}, True),
        ({"task": (Task.CHAT,)}, False),
        ({"pressure_min": 0.9}, True),
        ({"pressure_min": 0.901}, False),
        ({"pressure_max": 0.9}, True),
        ({"pressure_max": 0.899}, False),
        ({"tools": True}, True),
        ({"tools": False}, False),
        ({"images": False}, True),
        ({"images": True}, False),
        ({"schema": True}, True),
        ({"reasoning": False}, True),
        ({}, True),
    ],
)
def test_bounds_are_inclusive_and_flags_work_both_ways(
    make_request: MakeRequest, conditions: dict[str, Any], expected: bool
) -> None:
    request = make_request(
        task=Task.MATH,
        difficulty=0.5,
        prompt_tokens=100,
        tools=2,
        schema=True,
        pressure=Pressure(900),
    )
    assert matches(request, **conditions) is expected


def test_the_first_rule_that_matches_wins(make_request: MakeRequest) -> None:
    hard = Rule("hard", Match(difficulty_min=0.6), "large")
    code = Rule("code", Match(task=(Task.CODE,)), "medium")
    request = make_request(task=Task.CODE, difficulty=0.72)
    assert Policy("p", "small", (hard, code)).choose(request).rule == "hard"
    assert Policy("p", "small", (code, hard)).choose(request).rule == "code"


def test_the_choice_explains_what_held_and_what_failed(make_request: MakeRequest) -> None:
    policy = Policy(
        "p",
        "small",
        (
            Rule("legal", Match(workflow=("legal-*",)), "large"),
            Rule("long", Match(prompt_tokens_min=5_000), "large"),
            Rule("tools", Match(tools=True), "large"),
            Rule("code", Match(task=(Task.CODE, Task.MATH), difficulty_min=0.9), "large"),
            Rule("easy", Match(task=(Task.CHAT,), difficulty_max=0.4), "medium"),
            Rule("never", Match(), "large"),
        ),
    )
    choice = policy.choose(make_request(task=Task.CHAT, difficulty=0.25))
    assert (choice.tier, choice.rule) == ("medium", "easy")
    assert choice.held == ("task chat", "difficulty 0.25 <= 0.4")
    assert choice.missed == (
        ("legal", "workflow does not match legal-*"),
        ("long", "prompt_tokens 100 < 5000"),
        ("tools", "no tools"),
        ("code", "task chat is not code|math"),
    )


def test_without_a_match_the_policy_has_its_own_tier(make_request: MakeRequest) -> None:
    choice = Policy("p", "small", (Rule("r", Match(images=True), "large"),)).choose(make_request())
    assert (choice.tier, choice.rule) == ("small", "")


def test_large_numbers_are_written_out(make_request: MakeRequest) -> None:
    rule = Rule("long", Match(prompt_tokens_min=1_000_000), "large")
    assert rule.held(make_request(prompt_tokens=1_234_567)) == ("prompt_tokens 1234567 >= 1000000",)


def test_a_request_that_no_budget_limits_is_under_no_pressure(make_request: MakeRequest) -> None:
    assert matches(make_request(), pressure_max=0.0)
    assert not matches(make_request(), pressure_min=0.001)


@pytest.mark.parametrize("thousandths", range(0, 1_001, 7))
def test_a_bound_on_pressure_in_three_decimals_is_exact(
    make_request: MakeRequest, thousandths: int
) -> None:
    bound = float(f"0.{thousandths:03d}") if thousandths < 1_000 else 1.0
    request = make_request(pressure=Pressure(thousandths))
    assert matches(request, pressure_min=bound, pressure_max=bound)


def test_a_policy_knows_whether_its_rules_look_at_pressure() -> None:
    assert not Policy(
        "p", "small", (Rule("r", Match(difficulty_min=0.1), "large"),)
    ).weighs_pressure
    for match in (Match(pressure_min=0.0), Match(pressure_max=0.5)):
        assert Policy("p", "small", (Rule("r", match, "large"),)).weighs_pressure


def test_two_policies_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="same name"):
        policies_by_name([Policy("p", "small"), Policy("p", "large")])
