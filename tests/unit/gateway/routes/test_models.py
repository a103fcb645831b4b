"""Every name a client may send is listed, in the shape that its SDK reads."""

from typing import Any

import pytest

from gateway.errors import ApiError
from gateway.routes.models import LARGEST_PAGE, ModelList
from routing.catalog import Catalog, ModelCard, Tier

CARDS = [
    ModelCard("big", "openai", "gpt", "big", 200_000, 16_000, aliases=("b",)),
    ModelCard("org/small", "here", "s", "org/small", 8_000, 1_000),
    ModelCard("lone", "here", "l", "lone", 4_000, 500),
]
LIST = ModelList(Catalog(CARDS, [Tier("cheap", 1, ("org/small",)), Tier("dear", 2, ("big",))]))
NAMES = ["big", "b", "org/small", "lone", "tier:cheap", "tier:dear", "auto"]


def listed(query: str) -> tuple[list[str], bool]:
    page = LIST.anthropic(query.encode())
    ids = [model["id"] for model in page["data"]]
    assert (page["first_id"], page["last_id"]) == (
        ids[0] if ids else None,
        ids[-1] if ids else None,
    )
    return ids, page["has_more"]


def test_openai_s_list_has_every_name_with_its_owner() -> None:
    found = LIST.openai()
    assert [model["id"] for model in found["data"]] == NAMES
    assert {model["owned_by"] for model in found["data"]} == {"openai", "here", "weir"}
    assert found["data"][2] == LIST.openai_model("org/small")


@pytest.mark.parametrize(
    ("query", "ids", "more"),
    [
        ("", NAMES, False),
        ("limit=2", NAMES[:2], True),
        ("limit=2&after_id=b", NAMES[2:4], True),
        ("limit=9&after_id=lone", NAMES[4:], False),
        ("limit=2&before_id=lone", NAMES[1:3], True),
        ("before_id=b", NAMES[:1], False),
        ("after_id=auto", [], False),
    ],
)
def test_anthropic_s_list_comes_in_pages(query: str, ids: list[str], more: bool) -> None:
    assert listed(query) == (ids, more)


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=x", f"limit={LARGEST_PAGE + 1}", "after_id=no"]
)
def test_a_page_that_cannot_be_is_refused(query: str) -> None:
    with pytest.raises(ApiError) as caught:
        LIST.anthropic(query.encode())
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("name", "limits"),
    [
        ("big", (200_000, 16_000)),
        ("tier:cheap", (8_000, 1_000)),
        ("auto", (8_000, 1_000)),
    ],
)
def test_a_model_of_anthropic_s_shape_has_the_limits_that_hold_whoever_answers(
    name: str, limits: tuple[int, int]
) -> None:
    model: dict[str, Any] = LIST.anthropic_model(name)
    assert (model["max_input_tokens"], model["max_tokens"]) == limits


@pytest.mark.parametrize("ask", [LIST.openai_model, LIST.anthropic_model])
def test_a_name_that_means_nothing_is_not_found(ask: Any) -> None:
    with pytest.raises(ApiError) as caught:
        ask("nobody")
    assert (caught.value.status, caught.value.code) == (404, "model_not_found")
