"""What a model is for: told by the file or by its price, and kept to where Weir chooses."""

import tomllib
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import pytest
from pydantic import ValidationError

from budgets.config import PriceSection
from budgets.prices import Price
from routing.candidates import Quote
from routing.catalog import Auto, Catalog, ModelCard, ModelWish, RejectionCode, Tier, TierWish
from routing.config import (
    ConfigFault,
    ModelSection,
    PolicySection,
    TierSection,
    build_catalog,
    build_policies,
)
from routing.decide import NoRoute, NoRouteCode, RouteDecision, decide
from routing.health import Health
from routing.policies import Policy, RouteRequest, policies_by_name
from routing.work import Work, likely_work, work_of

MakeCard = Callable[..., ModelCard]
MakeRequest = Callable[..., RouteRequest]
CHATTER = {"input": "1", "output": "2"}
VECTORS = {"input": "0.02", "output": "0"}


def price(**rates: object) -> Price:
    return PriceSection.model_validate(rates).to_price("m")


@pytest.mark.parametrize(
    ("dialects", "work"),
    [
        (("chat", "completions", "responses", "messages", "count_tokens"), Work.TEXT),
        (("embeddings",), Work.EMBEDDINGS),
        (("images",), Work.IMAGES),
        (("speech",), Work.SPEECH),
        (("transcriptions",), Work.TRANSCRIPTIONS),
    ],
)
def test_a_dialect_asks_for_one_kind_of_work(dialects: tuple[str, ...], work: Work) -> None:
    assert {work_of(dialect) for dialect in dialects} == {work}


@pytest.mark.parametrize(
    ("name", "rates", "works"),
    [
        ("gpt-5", CHATTER, {Work.TEXT}),
        ("text-embedding-3-small", VECTORS, {Work.EMBEDDINGS}),
        ("bge-m3", VECTORS, {Work.EMBEDDINGS}),
        ("nomic-embed-text", {"input": "0", "output": "0"}, {Work.EMBEDDINGS}),
        ("llama3", {"input": "0", "output": "0"}, {Work.TEXT}),
        ("dall-e-3", {"per_image": "0.04"}, {Work.IMAGES}),
        ("tts-1", {"per_million_characters": "15"}, {Work.SPEECH}),
        ("whisper-1", {"per_minute": "0.006"}, {Work.TRANSCRIPTIONS, Work.SPEECH}),
        ("both", {**CHATTER, "per_image": "0.04"}, {Work.TEXT}),
        ("unknown", None, {Work.TEXT}),
    ],
)
def test_a_model_that_does_not_say_is_known_by_its_price_and_name(
    name: str, rates: Mapping[str, str] | None, works: set[Work]
) -> None:
    assert likely_work(name, None if rates is None else price(**rates)) == works


@pytest.fixture
def mixed(make_card: MakeCard) -> Catalog:
    """A tier with a model to talk to and one for embeddings, and a dearer one of each."""
    text, vectors = frozenset({Work.TEXT}), frozenset({Work.EMBEDDINGS})
    cards = [
        make_card("talker", works=text, dialects=frozenset({"chat", "embeddings"})),
        make_card("vectors", works=vectors, dialects=frozenset({"chat", "embeddings"})),
        make_card("great", works=text),
        make_card("strict", works=vectors, dialects=frozenset({"embeddings"})),
    ]
    tiers = [Tier("small", 1, ("vectors", "talker")), Tier("large", 2, ("great",))]
    return Catalog(cards, tiers)


def route(request: RouteRequest, catalog: Catalog, tier: str = "small") -> RouteDecision | NoRoute:
    found = policies_by_name([Policy("default", tier, ())])
    return decide(request, catalog, found, Health(), lambda _: Quote(1, 100), None, 0)


@pytest.mark.parametrize("requested", [Auto(), TierWish("small")])
@pytest.mark.parametrize(("dialect", "model"), [("chat", "talker"), ("embeddings", "vectors")])
def test_where_weir_chooses_it_takes_a_model_that_is_for_it(
    make_request: MakeRequest, mixed: Catalog, requested: Any, dialect: str, model: str
) -> None:
    found = route(make_request(requested=requested, dialect=dialect), mixed)
    assert isinstance(found, RouteDecision)
    assert [one.model.name for one in found.candidates] == [model]
    [other] = {"talker", "vectors"} - {model}
    [rejected] = [no for no in found.rejected if no.model == other]
    assert rejected.code is RejectionCode.DIALECT
    assert f"not for {work_of(dialect)}" in rejected.why


def test_what_no_model_is_for_is_no_route(make_request: MakeRequest, mixed: Catalog) -> None:
    found = route(make_request(requested=Auto(), dialect="images"), mixed)
    assert isinstance(found, NoRoute)
    assert found.code is NoRouteCode.DIALECT


def test_a_policy_without_a_model_for_it_says_which_models_are(
    make_request: MakeRequest, mixed: Catalog
) -> None:
    found = route(make_request(requested=Auto(), dialect="embeddings"), mixed, "large")
    assert isinstance(found, NoRoute)
    assert found.message.endswith(
        "great: is for text, not for embeddings. Models that speak embeddings:"
        " vectors (vectors-provider), strict (strict-provider)."
    )


def test_a_client_that_names_a_model_is_held_to_what_it_speaks_only(
    make_request: MakeRequest, mixed: Catalog
) -> None:
    named = route(make_request(requested=ModelWish("talker"), dialect="embeddings"), mixed)
    assert isinstance(named, RouteDecision) and named.model.name == "talker"
    refused = route(make_request(requested=ModelWish("strict"), dialect="chat"), mixed)
    assert isinstance(refused, NoRoute)
    assert "strict: is for embeddings, not for text" in refused.message


# -- the file -----------------------------------------------------------------------------------

SPOKEN = {"openai": ("chat", "embeddings"), "claude": ("messages",), "all": None}


def built(text: str) -> Catalog:
    raw = tomllib.loads(text, parse_float=Decimal)
    models = {name: ModelSection.model_validate(table) for name, table in raw["models"].items()}
    tiers = {name: TierSection.model_validate(one) for name, one in raw.get("tiers", {}).items()}
    prices = {name: one.price and one.price.to_price(name) for name, one in models.items()}
    catalog = build_catalog(models, tiers, SPOKEN, prices)
    found = raw.get("policies", {})
    build_policies({n: PolicySection.model_validate(one) for n, one in found.items()}, catalog)
    return catalog


def model(name: str, provider: str = "openai", more: str = "", output: str = "2") -> str:
    return f"""\
[models.{name}]
provider = "{provider}"
price = {{ input = "1", output = "{output}" }}
context_tokens = 100
max_output_tokens = 10
{more}
"""


def test_what_the_file_says_counts_for_everybody_and_what_is_guessed_for_choices_only() -> None:
    text = model("a", more='answers = "embeddings"') + model("b", output="0") + model("c")
    cards = built(text + model("d", more='answers = ["text", "embeddings"]', output="0")).models
    assert [cards[name].works for name in "abcd"] == [
        {Work.EMBEDDINGS},
        {Work.EMBEDDINGS},
        {Work.TEXT},
        {Work.TEXT, Work.EMBEDDINGS},
    ]
    assert cards["a"].dialects == {"embeddings"}
    assert (
        cards["b"].dialects
        == cards["c"].dialects
        == cards["d"].dialects
        == set(SPOKEN["openai"] or ())
    )


def test_a_model_cannot_be_for_what_its_provider_is_never_asked() -> None:
    with pytest.raises(ConfigFault, match="no dialect of claude asks for embeddings") as caught:
        built(model("a", "claude", 'answers = ["text", "embeddings"]'))
    assert caught.value.path == ("models", "a", "answers")
    assert built(model("a", "all", 'answers = ["images"]')).models["a"].dialects is None


@pytest.mark.parametrize(
    ("answers", "rates", "said"),
    [
        (["text"], {"per_minute": "0.006"}, "answers has text, which per_minute alone is no price"),
        (["images", "speech"], {"per_image": "1"}, "answers has speech"),
        ([], CHATTER, "at least 1"),
        (["pictures"], CHATTER, "'text', 'embeddings', 'images', 'speech' or 'transcriptions'"),
    ],
)
def test_answers_that_cannot_be_meant_are_refused(
    answers: list[str], rates: dict[str, str], said: str
) -> None:
    table = {"provider": "p", "context_tokens": 9, "max_output_tokens": 9, "price": rates}
    with pytest.raises(ValidationError, match=said):
        ModelSection.model_validate({**table, "answers": answers})


def test_a_last_resort_must_be_for_what_its_policy_is_for() -> None:
    text = model("talker") + model("vectors", output="0")
    text += '[tiers.small]\nmodels = ["talker"]\n'
    policy = '[policies.default]\ntier = "small"\nlast_resort = '
    assert built(text + policy + '"talker"')
    with pytest.raises(
        ConfigFault, match=r"'vectors' is for embeddings, and .* for text"
    ) as caught:
        built(text + policy + '"vectors"')
    assert caught.value.path == ("policies", "default", "last_resort")
