"""Holds in a tight budget: what answers really take, a first step for a stream, exact input."""

from dataclasses import replace
from typing import Any

import orjson

from budgets.answer_sizes import EARLY_FACTOR, FEWEST_FOR_BOUND, AnswerSizes
from budgets.ledger import Account
from budgets.prices import PriceCard, make_price
from budgets.scopes import Charge, ScopeKind, Window
from gateway.desk import Desk
from gateway.input_size import exact_size
from gateway.quotes import MIN_STEP_TOKENS, TIGHT_SHARE, Bid, Quoter
from gateway.room import room_of
from gateway.wire import read_chat_request
from routing.catalog import Capability, ModelCard
from tests.unit.gateway.desks import (
    LIMITS,
    OUTPUT_NANO,
    ask,
    chat,
    events,
    make_desk,
    posted_nano,
    run,
    scripted,
)
from tests.unit.gateway.dialects.requests_made import chat_parts

CARD = ModelCard("m", "p", "up", "m", 10_000, 1_000)
PRICES = PriceCard([make_price("m", {"fresh": 1_000_000, "output": 2_000_000}, version="v1")])
STEP = 100


def known(tokens: int, answers: int = FEWEST_FOR_BOUND) -> AnswerSizes:
    sizes = AnswerSizes()
    for _ in range(answers):
        sizes.learn("lab/notes", "m", tokens)
    return sizes


def bid(
    left_nano: int,
    *,
    held_nano: int = 0,
    sizes: AnswerSizes | None = None,
    card: ModelCard = CARD,
    may_wait: bool = True,
    **fields: Any,
) -> Bid:
    body = {"model": "auto", "messages": [{"role": "user", "content": "Hello"}], **fields}
    request = read_chat_request(orjson.dumps(body))
    charge = Charge("org:o", "org:o", Window.TOTAL, left_nano + held_nano, None)
    room = room_of({"org:o": Account(held_nano=held_nano)}, (charge,), {})
    quoter = Quoter(
        PRICES,
        request,
        room,
        1,
        answer_cap_tokens=1_000,
        size=exact_size(chat_parts(request.body)),
        may_wait=may_wait,
        step_tokens=STEP,
        workflow="lab/notes",
        sizes=sizes or AnswerSizes(),
    )
    found = quoter.bid(card)
    assert found is not None
    return found


FULL_NANO = bid(10**12).ceiling_nano
TIGHT_NANO = FULL_NANO * TIGHT_SHARE - 1


def test_where_there_is_plenty_a_hold_covers_the_longest_answer() -> None:
    for fields in ({}, {"stream": True}):
        plenty = bid(FULL_NANO * TIGHT_SHARE + 100_000, sizes=known(10), **fields)
        assert (plenty.output_tokens, plenty.held_tokens) == (1_000, 1_000)


def test_a_stream_in_a_tight_budget_begins_with_a_step_and_may_grow_to_the_whole() -> None:
    first = bid(TIGHT_NANO, stream=True)
    assert (first.output_tokens, first.inject_tokens, first.held_tokens) == (1_000, 1_000, STEP)
    assert first.ceiling_nano == first.price_of(STEP)[0] < FULL_NANO
    three = bid(TIGHT_NANO, stream=True, n=3)
    assert (three.total_output_tokens, three.held_tokens) == (3_000, 3 * STEP)


def test_a_stream_begins_with_what_the_workflows_answers_take() -> None:
    assert bid(TIGHT_NANO, stream=True, sizes=known(70, 1)).held_tokens == EARLY_FACTOR * 70
    assert bid(TIGHT_NANO, stream=True, sizes=known(900)).held_tokens == 1_000


def test_a_clients_own_limit_is_kept_and_its_stream_still_begins_with_a_step() -> None:
    own = bid(TIGHT_NANO // 2, stream=True, max_tokens=800)
    assert (own.output_tokens, own.inject_tokens, own.held_tokens) == (800, None, STEP)


def test_a_stream_that_the_whole_budget_cannot_bear_is_held_whole_and_so_refused() -> None:
    never = bid(FULL_NANO - 1, stream=True, max_tokens=1_000)
    assert never.held_tokens == 1_000
    later = bid(FULL_NANO // 2, held_nano=FULL_NANO, stream=True, max_tokens=1_000)
    assert later.held_tokens == STEP


def test_near_the_end_of_a_budget_a_stream_begins_with_what_is_left() -> None:
    small_nano = bid(TIGHT_NANO, stream=True).price_of(MIN_STEP_TOKENS)[0]
    assert bid(small_nano, held_nano=FULL_NANO, stream=True).held_tokens == MIN_STEP_TOKENS
    less = small_nano - 10 * OUTPUT_NANO
    assert bid(less, held_nano=FULL_NANO, stream=True).held_tokens == STEP
    last = bid(less, held_nano=FULL_NANO, stream=True, may_wait=False)
    assert last.held_tokens == MIN_STEP_TOKENS - 10


def test_what_a_model_thinks_unseen_is_held_whole() -> None:
    thinking = replace(CARD, capabilities=frozenset({Capability.REASONING}))
    assert bid(TIGHT_NANO, stream=True, card=thinking).held_tokens == 1_000


def test_a_whole_answer_is_bounded_by_what_is_known_and_never_where_that_is_little() -> None:
    assert bid(TIGHT_NANO, sizes=known(100)).inject_tokens == EARLY_FACTOR * 100
    assert bid(TIGHT_NANO, sizes=known(100, FEWEST_FOR_BOUND - 1)).inject_tokens == 1_000
    assert bid(TIGHT_NANO, sizes=known(100), max_tokens=700).output_tokens == 700


def tight_desk(tokens: float, **script: Any) -> Desk:
    """A desk whose key can have so many output tokens, with a stream of 300 events."""
    limit_usd = f"{tokens * OUTPUT_NANO / 1e9:.9f}"
    return make_desk(
        {"main": scripted(say="word " * 300, **script)},
        budgets={ScopeKind.KEY: limit_usd},
        limits=replace(LIMITS, answer_cap_tokens=1_000, step_tokens=64),
    )


def test_a_stream_grows_through_a_budget_and_is_settled_for_what_it_took() -> None:
    desk = tight_desk(2_000)
    client = run(ask(desk, chat(stream=True)))
    [event] = events(desk)
    assert client.status == 200
    assert (event.ending, event.overrun_nano) == ("completed", 0)
    assert 64 * OUTPUT_NANO < event.reserved_nano < 1_000 * OUTPUT_NANO
    assert event.cost_nano == posted_nano(desk) <= event.reserved_nano


def test_a_stream_that_outgrows_its_budget_is_cut_at_the_money() -> None:
    desk = tight_desk(250, runaway=True)
    client = run(ask(desk, chat(stream=True)))
    [event] = events(desk)
    assert b"budget_exceeded" in client.text
    assert event.ending == "killed"
    assert 0 < event.cost_nano == posted_nano(desk) <= 250 * OUTPUT_NANO
    assert event.output_tokens > 150


def test_answers_are_learned_by_workflow_and_model() -> None:
    desk = tight_desk(10**6)
    run(ask(desk, chat()))
    size = desk.sizes.size("lab/notes", "model-main")
    [event] = events(desk)
    assert size == EARLY_FACTOR * event.output_tokens


def test_an_input_in_a_known_vocabulary_is_bounded_by_its_tokens() -> None:
    desk = replace(tight_desk(2_000), vocabularies={"model-main": "cl100k_base"})
    text = "The quick brown fox jumps over the lazy dog. " * 8
    body = chat(text, max_tokens=100)
    run(ask(desk, body))
    [counted] = events(desk)
    by_bytes = tight_desk(2_000)
    run(ask(by_bytes, body))
    [bounded] = events(by_bytes)
    assert counted.reserved_nano < bounded.reserved_nano
    assert counted.cost_nano <= counted.reserved_nano
