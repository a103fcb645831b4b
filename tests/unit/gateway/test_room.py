"""What a request's budgets have left, now and if nothing were held."""

from budgets.admission import Headroom
from budgets.ledger import Account
from budgets.scopes import Charge, Unit, Window
from gateway.room import room_of


def charge(name: str, limit: int | None, unit: Unit = Unit.USD) -> Charge:
    return Charge(f"{name}|total|0", name, Window.TOTAL, limit, None, unit=unit)


def test_what_is_left_without_holds_is_what_was_not_spent() -> None:
    charges = (charge("org:o", 100), charge("key:k", 50), charge("run:r", None))
    accounts = {"org:o|total|0": Account(80, 15), "key:k|total|0": Account(0, 45)}
    found = room_of(accounts, charges, {})
    assert (found.left_nano, found.left) == (5, Headroom(5))
    assert found.unheld() == Headroom(20)
    assert [found.unheld().bears(amount, 1 << 60) for amount in (20, 21)] == [True, False]
    assert room_of({}, (), {}).unheld().bears(1 << 60, 1 << 60)


def test_a_model_with_a_budget_of_its_own_has_less_room_than_the_others() -> None:
    charges = (charge("org:o", 100), charge("key:k", 70, Unit.TOKENS))
    of_models = {"m": (charge("model:m", 30), charge("model:m2", 5, Unit.REQUESTS))}
    accounts = {"model:m|total|0": Account(5, 10), "model:m2|total|0": Account(4, 1)}
    found = room_of(accounts, charges, of_models)
    assert found.left == found.left_with("other") == Headroom(100, 70)
    assert found.left_with("m") == Headroom(15, 70, 0)
    assert not found.left_with("m").bears(1, 1)
    assert (found.unheld("m"), found.unheld("other")) == (Headroom(25, 70, 1), Headroom(100, 70))


def test_what_is_left_bears_a_request_that_fits_in_every_unit() -> None:
    left = Headroom(10, 20, 1)
    assert left.bears(10, 20)
    assert not left.bears(11, 20)
    assert not left.bears(10, 21)
    assert not Headroom(10, 20, 0).bears(1, 1)
    assert Headroom().bears(1 << 60, 1 << 60)
