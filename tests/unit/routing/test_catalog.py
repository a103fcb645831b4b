"""Names that clients send mean one thing each."""

from collections.abc import Callable

import pytest

from routing.catalog import (
    Auto,
    Catalog,
    ModelCard,
    ModelWish,
    Rejection,
    RejectionCode,
    Requested,
    Tier,
    TierWish,
    Unknown,
)


@pytest.mark.parametrize(
    ("name", "meaning"),
    [
        ("auto", Auto("default")),
        ("auto:night", Auto("night")),
        ("tier:small", TierWish("small")),
        ("ant", ModelWish("ant")),
        ("tiny", ModelWish("ant")),
    ],
)
def test_a_name_is_resolved(catalog: Catalog, name: str, meaning: Requested) -> None:
    assert catalog.resolve(name) == meaning


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [("antt", "ant"), ("tier:smal", "tier:small"), ("tinny", "tiny"), ("atuo", "auto")],
)
def test_a_slip_is_answered_with_a_suggestion(catalog: Catalog, name: str, suggestion: str) -> None:
    meaning = catalog.resolve(name)
    assert isinstance(meaning, Unknown)
    assert meaning.suggestions[0] == suggestion


@pytest.mark.parametrize("name", ["", "auto:", "tier:", "ANT", "zzz", "x" * 1_000_000])
def test_other_names_are_unknown(catalog: Catalog, name: str) -> None:
    assert isinstance(catalog.resolve(name), Unknown)


def test_tiers_ascend_by_rank(catalog: Catalog) -> None:
    assert [tier.name for tier in catalog.tiers] == ["small", "medium", "large"]


def test_every_name_is_listed_with_who_serves_it(catalog: Catalog) -> None:
    names = dict(catalog.names())
    assert names["auto"] == names["tier:small"] == "weir"
    assert names["ant"] == names["tiny"] == "ant-provider"
    assert all(not isinstance(catalog.resolve(name), Unknown) for name in names)


def test_models_not_considered_say_so(catalog: Catalog) -> None:
    unasked = catalog.unasked(["ant", "bee", "cat", "elk"])
    assert unasked == [
        Rejection("fox", RejectionCode.NOT_ASKED, "tier large not asked for"),
        Rejection(
            "owl", RejectionCode.NOT_ASKED, "in no tier, so only a client that names it gets it"
        ),
    ]


def test_two_models_of_one_name_are_refused(make_card: Callable[..., ModelCard]) -> None:
    with pytest.raises(ValueError, match="same name"):
        Catalog([make_card("ant"), make_card("ant")])
    with pytest.raises(ValueError, match="two models are called 'ant'"):
        Catalog([make_card("ant"), make_card("bee", aliases=("ant",))])


def test_a_tier_of_unknown_models_is_refused(make_card: Callable[..., ModelCard]) -> None:
    with pytest.raises(ValueError, match="unknown model 'bee'"):
        Catalog([make_card("ant")], [Tier("small", 1, ("bee",))])
