"""The record of a request: begun with who and why, completed with what and how much."""

import orjson

from budgets.budget_book import BudgetBook
from budgets.prices import cost, make_price
from budgets.usage import TokenUsage
from gateway.clock import new_request_id, now_ms, since_ms
from gateway.desk import Call
from gateway.identity import Asked, identify
from gateway.known_ids import KnownIds
from gateway.records import add_money, begin_event, end_event, stamp
from gateway.wire import read_chat_request
from routing.classify import classify
from routing.decide import NoRoute, NoRouteCode
from routing.features import extract_with_text
from telemetry.event import Ending, EventKind, TelemetryEvent, UsageSource, event_from_json
from tests.unit.gateway.desks import PRINCIPAL, chat
from tests.unit.gateway.dialects.requests_made import CHAT

HEADERS = {b"x-weir-run": b"r1", b"x-weir-user": b"ana", b"x-weir-tags": b"b=2,a=1"}
PRICE = make_price("m", {"fresh": 1_000, "output": 3_000, "cached": 500}, version="v7")


def begun(model: str = "auto", stream: bool = True) -> TelemetryEvent:
    request = read_chat_request(chat("Hello", model=model, stream=stream))
    features, text = extract_with_text(request.body)
    identity = identify(
        PRINCIPAL, Asked("req_1", HEADERS, request.body), KnownIds(BudgetBook([]), 9)
    )
    return begin_event(
        Call("req_1", 0.0, 1_000, PRINCIPAL, identity, CHAT, request, (), ()),
        classification=classify(features, text),
        route=NoRoute(NoRouteCode.UNKNOWN_MODEL, "no model is called that"),
        tier="",
        reserved_nano=5,
    )


def test_an_event_begins_with_who_what_for_and_why() -> None:
    event = begun()
    assert (event.event_id, event.request_id, event.route) == ("req_1", "req_1", CHAT.name)
    assert (event.org, event.team, event.key_id) == ("acme", "lab", "key1")
    assert (event.workflow, event.run_id, event.run_source) == ("notes", "r1", "x-weir-run")
    assert (event.user_id, event.tags_json) == ("ana", '{"a":"1","b":"2"}')
    assert event.parent_runs_json == "[]"
    assert (event.kind, event.ending) == (EventKind.REQUEST, Ending.UNKNOWN)
    assert (event.reason, event.model, event.streamed) == ("no model is called that", "", True)
    assert orjson.loads(event.classification_json)["reasons"]
    assert orjson.loads(event.decision_json)["no_route"] == "unknown_model"


def test_a_name_of_any_length_is_kept_in_part() -> None:
    assert begun(model="x" * 5_000).requested_model == "x" * 256


def test_money_is_written_by_class_and_adds_up() -> None:
    event = begun()
    usage = TokenUsage(fresh=1, cached=1, output=1)
    add_money(event, usage, UsageSource.PROVIDER, cost(PRICE, usage), frontier_nano=9)
    assert (event.fresh_tokens, event.cached_tokens, event.output_tokens) == (1, 1, 1)
    assert event.cost_nano == 5  # 4.5 nano-dollars, rounded up once
    assert event.input_cost_nano + event.output_cost_nano == event.cost_nano
    assert (event.overrun_nano, event.frontier_cost_nano, event.price_version) == (0, 9, "v7")
    dear = TokenUsage(output=10)
    add_money(event, dear, UsageSource.ESTIMATED, cost(PRICE, dear), frontier_nano=0)
    assert (event.cost_nano, event.overrun_nano) == (30, 25)


def test_an_ended_event_survives_its_way_to_the_outbox() -> None:
    event = begun()
    end_event(event, Ending.KILLED, 200, "budget_exceeded")
    before_ms = now_ms()
    stamp(event, started_s=0.0)
    assert before_ms <= event.ended_ms <= now_ms()
    assert event.total_ms > 0
    row = event.to_outbox()
    assert (row.event_id, row.ended_ms) == ("req_1", event.ended_ms)
    assert event_from_json(row.payload) == event


def test_request_ids_are_unique_and_sort_by_time() -> None:
    ids = [new_request_id() for _ in range(1_000)]
    assert len(set(ids)) == 1_000
    stamps = [one[4:16] for one in ids]
    assert stamps == sorted(stamps)
    assert all(one.startswith("req_") and len(one) == 36 for one in ids)
    assert since_ms(0.0) > 0
