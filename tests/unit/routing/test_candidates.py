"""Each reason against a model is found, in the order that costs least to find."""

from collections.abc import Callable
from typing import Any

import pytest

from routing.candidates import (
    UNCAPPED_OUTPUT_TOKENS,
    Candidate,
    Quote,
    Survey,
    needed_capabilities,
)
from routing.catalog import Capability, ModelCard, Rejection, RejectionCode
from routing.features import Features
from routing.health import Health

MakeCard = Callable[..., ModelCard]


def verdict(card: ModelCard, quote: Quote | None = None, **fields: Any) -> str:
    """`kept`, or the rejection's code and words."""
    health = fields.pop("health", Health())
    headroom_nano = fields.pop("headroom_nano", None)
    given = quote or Quote(500, 100)
    survey = Survey(Features(**fields), health, lambda _: given, headroom_nano, 0)
    if survey.keep("small", [card]):
        return "kept"
    rejection = survey.rejected[card.name]
    return f"{rejection.code}: {rejection.why}"


def test_a_model_that_can_serve_is_kept_with_its_ceiling(make_card: MakeCard) -> None:
    ant = make_card("ant")
    survey = Survey(Features(), Health(), lambda _: Quote(500, 100), 500, 0)
    assert survey.keep("small", [ant]) == [Candidate(ant, 500, 100)]


@pytest.mark.parametrize(
    ("asked", "capability"),
    [
        ({"tools": 1}, Capability.TOOLS),
        ({"images": 1}, Capability.VISION),
        ({"audio": 1}, Capability.AUDIO),
        ({"files": 1}, Capability.FILES),
        ({"schema": True}, Capability.SCHEMA),
    ],
)
def test_what_the_request_carries_must_be_among_the_capabilities(
    make_card: MakeCard, asked: dict[str, Any], capability: Capability
) -> None:
    assert needed_capabilities(Features(**asked)) == {capability}
    assert verdict(make_card("ant"), **asked) == f"capability_missing: lacks {capability}"
    assert verdict(make_card("ant", capabilities=frozenset({capability})), **asked) == "kept"


def test_reasoning_is_never_demanded() -> None:
    assert needed_capabilities(Features(reasoning_asked=True)) == frozenset()


@pytest.mark.parametrize(
    ("prompt_tokens", "cap", "output_tokens", "kept"),
    [
        (900, 100, 100, True),
        (901, 100, 100, False),
        (1_000 - UNCAPPED_OUTPUT_TOKENS, None, 1_000, True),
        (1_001 - UNCAPPED_OUTPUT_TOKENS, None, 1_000, False),
        (990, None, 10, True),
    ],
)
def test_prompt_and_answer_must_fit_the_context(
    make_card: MakeCard, prompt_tokens: int, cap: int | None, output_tokens: int, kept: bool
) -> None:
    card = make_card("ant", context_tokens=1_040, prompt_overhead_tokens=40)
    found = verdict(
        card, Quote(1, output_tokens), prompt_tokens=prompt_tokens, max_output_tokens=cap
    )
    assert (found == "kept") is kept
    assert kept or found.startswith("context_exceeded: about ")


def test_a_model_without_a_price_is_no_candidate(make_card: MakeCard) -> None:
    card = make_card("ant", price_model="ant-2")
    assert verdict(card, Quote(None, 100)) == "price_unknown: no price for ant-2"


def test_a_ceiling_above_the_headroom_is_kept_aside(make_card: MakeCard) -> None:
    ant = make_card("ant")
    survey = Survey(Features(), Health(), lambda _: Quote(501, 100), 500, 0)
    assert survey.keep("small", [ant]) == []
    assert survey.rejected["ant"].code is RejectionCode.OVER_HEADROOM
    assert survey.too_dear == [("small", Candidate(ant, 501, 100))]


def test_a_provider_that_is_down_is_named(make_card: MakeCard) -> None:
    health = Health().with_ready("ant-provider", "loading")
    found = verdict(make_card("ant"), health=health)
    assert found == "provider_down: provider ant-provider is not ready: loading"


def test_a_quote_is_asked_only_about_models_that_could_serve(make_card: MakeCard) -> None:
    asked: list[str] = []

    def quote(card: ModelCard) -> Quote:
        asked.append(card.name)
        return Quote(1, 1)

    able = make_card("bee", capabilities=frozenset({Capability.TOOLS}))
    survey = Survey(Features(tools=1), Health(), quote, None, 0)
    survey.keep("small", [make_card("ant"), able])
    assert asked == ["bee"]


def test_a_model_of_two_tiers_is_judged_once(make_card: MakeCard) -> None:
    ant = make_card("ant")
    survey = Survey(Features(), Health(), lambda _: Quote(501, 100), 500, 0)
    survey.keep("small", [ant])
    survey.keep("large", [ant])
    assert len(survey.too_dear) == 1


def test_a_model_that_another_budget_cannot_bear_is_too_dear_with_that_reason(
    make_card: MakeCard,
) -> None:
    ant = make_card("ant")
    no = Rejection("ant", RejectionCode.MODEL_BUDGET, "its own budget: no request is left")
    survey = Survey(Features(), Health(), lambda _: Quote(500, 100, no), 1_000, 0)
    assert survey.keep("small", [ant]) == []
    assert survey.rejected["ant"] is no
    assert survey.too_dear == [("small", Candidate(ant, 500, 100))]


@pytest.mark.parametrize(
    ("spoken", "asked", "kept"),
    [
        (None, "messages", True),
        (frozenset({"chat", "messages"}), "messages", True),
        (frozenset({"chat"}), "", True),
        (frozenset({"chat"}), "messages", False),
    ],
)
def test_a_model_must_be_asked_in_a_dialect_that_its_provider_speaks(
    make_card: MakeCard, spoken: frozenset[str] | None, asked: str, kept: bool
) -> None:
    card = make_card("ant", dialects=spoken)
    survey = Survey(Features(), Health(), lambda _: Quote(500, 100), None, 0, asked)
    assert bool(survey.keep("small", [card])) is kept
    if not kept:
        assert survey.rejected["ant"].code is RejectionCode.DIALECT
