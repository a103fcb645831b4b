"""Which provider a file is for, and the errors where that is not clear."""

import asyncio
from dataclasses import replace

import pytest

from gateway.batches.errors import (
    batch_uncertain,
    file_too_large,
    object_not_found,
    upload_too_slow,
)
from gateway.batches.holding import as_batch
from gateway.batches.kit import Kit
from gateway.batches.lines import BATCHED
from gateway.batches.places import named_provider, only_provider, place_of, terms_of
from gateway.config_batches import BatchesSection
from gateway.registries.objects import ObjectKind
from gateway.registries.objects_in_sqlite import SqliteObjects
from gateway.routes.kept_objects import last_part
from routing.catalog import Catalog
from tests.unit.gateway.batches.made import CHAT, refusal
from tests.unit.gateway.desks import make_desk, run, scripted


@pytest.fixture
def kit(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    """Three providers; `plain` keeps nothing, and model `both` is served by the other two."""
    desk = make_desk({"one": scripted(), "two": scripted(), "plain": scripted()})
    cards = list(desk.catalog.models.values())
    both = replace(cards[0], name="both", deployments=(cards[0], cards[1]))
    offers = {name: frozenset({"chat", "batches"}) for name in ("one", "two")}
    return Kit(
        replace(desk, catalog=Catalog([*cards, both])),
        SqliteObjects(tmp_path_factory.mktemp("kit") / "keys.sqlite3"),
        BatchesSection(),
        {**offers, "plain": frozenset({"chat"})},
        asyncio.Semaphore(1),
    )


def test_a_model_is_at_the_provider_that_serves_it(kit: Kit) -> None:
    assert kit.keepers == ("one", "two")
    assert place_of(kit, "model-two", "").provider == "two"
    assert place_of(kit, "both", "two").provider == "two"


@pytest.mark.parametrize(
    ("model", "provider", "words"),
    [
        ("both", "", "is served by one, two: name one of them in the header x-weir-provider"),
        ("model-plain", "", "no provider of model 'model-plain' works batches off"),
        ("model-one", "two", "at two works batches off"),
        ("auto", "", "cannot be rerouted"),
        ("unknown", "", "no model is called"),
    ],
)
def test_a_model_without_one_provider_is_refused(
    kit: Kit, model: str, provider: str, words: str
) -> None:
    with refusal(words):
        place_of(kit, model, provider)


def test_a_file_without_a_model_needs_a_name_where_there_are_several(kit: Kit) -> None:
    assert only_provider(kit, "two") == "two"
    with refusal("Name it in x-weir-provider; those that do: one, two"):
        only_provider(kit, "")
    with refusal("Provider 'plain' keeps no files"):
        named_provider(kit, "plain")
    single = replace(kit, offers={"one": frozenset({"batches"})})
    assert only_provider(single, named_provider(single, "")) == "one"
    with refusal("none does"):
        only_provider(replace(kit, offers={}), "")


def test_lines_are_bounded_with_what_is_configured_now(kit: Kit) -> None:
    terms = run(terms_of(kit, place_of(kit, "model-one", ""), "model-one"))
    assert (terms.model, terms.card.upstream_model) == ("model-one", "up-one")
    assert terms.spoken == {"chat", "batches"}
    unknown = replace(terms.card, price_model="nobody")

    async def ask() -> None:
        with refusal("has no price"):
            await terms_of(kit, unknown, "model-one")

    run(ask())


def test_errors_name_what_to_do() -> None:
    assert object_not_found(ObjectKind.FILE, "file-1").message == "No such File object: file-1"
    assert object_not_found(ObjectKind.BATCH, "b" * 300).message.endswith("b" * 100)
    assert (file_too_large(5).status, upload_too_slow(1.5).status) == (413, 408)
    assert "1.5 s" in upload_too_slow(1.5).message
    uncertain = batch_uncertain("req_1", "it broke")
    assert (uncertain.status, uncertain.retry) == (502, False)


def test_a_batch_is_on_record_under_a_name_of_its_own() -> None:
    named = as_batch(BATCHED[CHAT])
    assert (named.name, BATCHED[CHAT].name) == ("batch.chat.completions", "chat.completions")
    assert last_part({"path": "/v1/batches/b1/cancel"}, "/v1/batches", "/cancel") == "b1"
