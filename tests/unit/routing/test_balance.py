"""Deployments take turns by weight exactly, or by how soon they answer."""

from collections import Counter
from dataclasses import replace

from routing.balance import Balancer
from routing.catalog import Balance, ModelCard

MODEL = ModelCard("m", "one", "m", "m", 1_000, 100)


def deployed(balance: Balance, **weights: int) -> ModelCard:
    card = replace(MODEL, balance=balance)
    places = [replace(card, provider=name, weight=weight) for name, weight in weights.items()]
    return replace(card, deployments=tuple(places))


def names(places: object) -> list[str]:
    assert isinstance(places, list | tuple)
    return [place.provider for place in places]


def test_in_order_the_first_stays_first() -> None:
    card = deployed(Balance.ORDERED, one=1, two=1)
    balancer = Balancer()
    assert [names(balancer.order(card, 0)) for _ in range(3)] == [["one", "two"]] * 3


def test_a_model_in_one_place_is_its_own_deployment() -> None:
    assert Balancer().order(MODEL, 0) == (MODEL,)
    assert Balancer().order(replace(MODEL, balance=Balance.LATENCY), 0)[0].provider == "one"


def test_each_deployment_gets_exactly_its_weight_and_never_many_in_a_row() -> None:
    card = deployed(Balance.WEIGHTED, one=5, two=1, three=1)
    balancer = Balancer()
    first = [names(balancer.order(card, 0))[0] for _ in range(70)]
    for start in range(0, 70, 7):
        assert Counter(first[start : start + 7]) == {"one": 5, "two": 1, "three": 1}
    assert "".join(name[0:2] for name in first).count("on" * 5) == 0


def test_every_deployment_is_in_the_order_once() -> None:
    for balance in Balance:
        card = deployed(balance, one=3, two=2, three=1)
        balancer = Balancer()
        for _ in range(12):
            assert sorted(names(balancer.order(card, 0))) == ["one", "three", "two"]


def answer(balancer: Balancer, card: ModelCard, at_ms: int, **took_ms: float) -> None:
    for place in card.deployments:
        if place.provider in took_ms:
            balancer.asked(place)
            balancer.answered(place, at_ms, took_ms[place.provider])


def test_the_one_that_answers_soonest_is_asked_first() -> None:
    card = deployed(Balance.LATENCY, one=1, two=1, three=1)
    balancer = Balancer()
    answer(balancer, card, 0, one=300.0, two=100.0, three=200.0)
    assert names(balancer.order(card, 0)) == ["two", "three", "one"]
    for at_ms in range(5):
        answer(balancer, card, at_ms, two=900.0)
    assert names(balancer.order(card, 5))[-1] == "two"


def test_what_nobody_has_measured_is_asked_first_and_in_turns() -> None:
    card = deployed(Balance.LATENCY, one=1, two=1)
    balancer = Balancer()
    one, two = card.deployments
    balancer.asked(balancer.order(card, 0)[0])
    assert names(balancer.order(card, 0)) == ["two", "one"]
    balancer.asked(two)
    balancer.answered(one, 0, 50.0)
    assert names(balancer.order(card, 0)) == ["two", "one"]


def test_requests_that_wait_there_count() -> None:
    card = deployed(Balance.LATENCY, one=1, two=1)
    balancer = Balancer()
    answer(balancer, card, 0, one=100.0, two=250.0)
    one = card.deployments[0]
    asked = []
    for _ in range(4):
        place = balancer.order(card, 0)[0]
        asked.append(place.provider)
        balancer.asked(place)
    assert asked == ["one", "one", "two", "one"]
    balancer.let_go(one)
    assert names(balancer.order(card, 0))[0] == "one"


def test_a_deployment_that_was_slow_is_tried_again_in_time() -> None:
    card = deployed(Balance.LATENCY, one=1, two=1)
    balancer = Balancer()
    answer(balancer, card, 0, one=100.0, two=1_000.0)
    answer(balancer, card, 20_000, one=100.0)
    assert names(balancer.order(card, 20_000))[0] == "one"
    answer(balancer, card, 30_000, one=100.0)
    assert names(balancer.order(card, 30_000))[0] == "two"
