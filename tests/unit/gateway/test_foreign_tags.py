"""Tags that were meant for other gateways are read where they can be tags, and refuse nothing."""

from budgets.budget_book import BudgetBook
from budgets.scopes import Budget, ScopeKind, Window
from gateway.foreign_tags import foreign_tags
from gateway.identity import Asked, identify
from gateway.identity_sources import TAG_SOURCES, Sent
from gateway.known_ids import KnownIds
from tests.unit.gateway.desks import PRINCIPAL
from tests.unit.gateway.test_identity_sources import who


def test_tags_that_were_meant_for_others_are_taken_as_far_as_they_can_be_tags() -> None:
    headers = {
        b"x-weir-tags": b"env=prod",
        b"helicone-property-feature": b"search",
        b"helicone-property-env": b"test",
        b"x-litellm-tags": b"nightly, customer:acme,a b=c",
        b"x-portkey-metadata": b'{"_user": "ana", "_environment": "eu", "n": 7}',
        b"openai-project": b"proj_1",
        b"x-title": b"Aider",
    }
    identity = who(headers, {"metadata": {"tags": ["lang=de", 7, "\n"]}})
    assert identity.tags == {
        "app": "Aider",
        "customer": "acme",
        "env": "prod",
        "environment": "eu",
        "feature": "search",
        "lang": "de",
        "nightly": "yes",
        "project": "proj_1",
    }
    assert identity.attribution["tag feature"]["source"] == TAG_SOURCES.sources[2].name
    many = {"metadata": {"tags": [f"t{n}" for n in range(50)]}}
    assert len(who({}, many).tags) == 10


def test_a_tag_that_budgets_ask_for_may_come_from_others_and_is_charged_like_one_of_ours() -> None:
    wide = Budget(ScopeKind.TAG, "lab/feature=*", Window.DAY, 1)
    known = KnownIds(BudgetBook([wide]), 1)

    def tags(feature: bytes) -> tuple[str, ...]:
        headers = {b"helicone-property-feature": feature, b"x-title": feature}
        return identify(PRINCIPAL, Asked("req_1", headers, {}), known).scopes.tags

    assert tags(b"one") == ("lab/app=one", "lab/feature=one")
    # One too many: what a budget asks for shares an id, what nobody asks for is left out.
    assert tags(b"two") == ("lab/feature=~overflow",)


def test_what_is_no_tag_is_left_out() -> None:
    headers = {b"x-litellm-tags": b",=,a=b=c,\xff", b"x-portkey-metadata": b"{", b"x-title": b"*"}
    assert list(foreign_tags(Sent(headers, {"metadata": {"tags": {"a": "b"}}}))) == []
