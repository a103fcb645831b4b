"""What the registry remembers of a file and of a batch, as text. Pure.

A batch is settled hours after it was accepted, perhaps by another process and under another
configuration. So its record has all that takes: the hold, what each account counts, the price as
it was, and the event as it was begun.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, field, replace
from typing import Any

import orjson

from budgets.ledger import Bill, Hold, HoldState
from budgets.prices import Price, Rates
from budgets.scopes import Charge, Scopes, Unit
from budgets.value import value
from gateway.batches.bounding import FileBound
from gateway.batches.costing import BatchCost


@value
class FileRecord:
    """A file: the provider's last word on it, and the bounds of its lines where it is a batch's.

    `told` is the provider's JSON object, as it came.
    """

    purpose: str
    told: bytes
    bound: FileBound | None = None

    def to_text(self) -> str:
        bound = None if self.bound is None else asdict(self.bound)
        fields = {"purpose": self.purpose, "told": orjson.Fragment(self.told), "bound": bound}
        return orjson.dumps(fields).decode()

    @classmethod
    def from_text(cls, text: str) -> "FileRecord":
        """Raise ValueError for what is none."""
        try:
            fields = orjson.loads(text)
            bound = fields["bound"]
            told = orjson.dumps(fields["told"])
            return cls(fields["purpose"], told, None if bound is None else FileBound(**bound))
        except (KeyError, TypeError) as error:
            raise ValueError(f"not the record of a file: {error}") from error


@value
class BatchRecord:
    """A batch: how its money is held, what its lines are priced with, and what became of it.

    `told` is the provider's JSON object as it came last, `units` what each account of the hold
    counts, `draft` the event as it was begun. `cost_nano` is None until it is settled.
    """

    told: bytes
    hold: Hold
    units: tuple[Unit, ...]
    bound: FileBound
    price: Price
    frontier: Price | None
    draft: bytes
    tokens_held: int
    looked_ms: int = 0
    cost_nano: int | None = None
    life: str = ""
    output_files: tuple[str, ...] = field(default=())

    @property
    def batch(self) -> Mapping[str, Any]:
        """The provider's object."""
        found: Mapping[str, Any] = orjson.loads(self.told)
        return found

    def bill(self, cost: BatchCost) -> Bill:
        """What each account takes of it: dollars, tokens, or one for each answered request."""
        model = self.bound.model
        if not self.hold.amounts:
            return Bill(cost.tokens, model)
        if cost.done and cost.source == "assumed":
            return Bill(cost.tokens, model, self.hold.amounts)
        takes = {
            Unit.USD: cost.cost.total_nano,
            Unit.TOKENS: cost.tokens,
            Unit.REQUESTS: cost.done,
            Unit.GATE: 0,
        }
        return Bill(cost.tokens, model, tuple([takes[unit] for unit in self.units]))

    def to_text(self) -> str:
        fields = {
            "told": orjson.Fragment(self.told),
            "hold": self.hold,
            "units": self.units,
            "bound": self.bound,
            "price": _price_fields(self.price),
            "frontier": None if self.frontier is None else _price_fields(self.frontier),
            "draft": orjson.Fragment(self.draft),
            "tokens_held": self.tokens_held,
            "looked_ms": self.looked_ms,
            "cost_nano": self.cost_nano,
            "life": self.life,
            "output_files": self.output_files,
        }
        return orjson.dumps(fields).decode()

    @classmethod
    def from_text(cls, text: str) -> "BatchRecord":
        """Raise ValueError for what is none."""
        try:
            fields = orjson.loads(text)
            frontier = fields["frontier"]
            return cls(
                told=orjson.dumps(fields["told"]),
                hold=_hold(fields["hold"]),
                units=tuple([Unit(unit) for unit in fields["units"]]),
                bound=FileBound(**fields["bound"]),
                price=_price(fields["price"]),
                frontier=None if frontier is None else _price(frontier),
                draft=orjson.dumps(fields["draft"]),
                tokens_held=fields["tokens_held"],
                looked_ms=fields["looked_ms"],
                cost_nano=fields["cost_nano"],
                life=fields["life"],
                output_files=tuple(fields["output_files"]),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"not the record of a batch: {error}") from error


def units_of(charges: Sequence[Charge]) -> tuple[Unit, ...]:
    """What each account of a hold counts, in the order of its accounts."""
    return tuple([charge.unit for charge in charges if not charge.lone])


def for_lines(charges: Sequence[Charge], lines: int) -> tuple[Charge, ...]:
    """The charges of a batch: each of its lines is a request."""
    return tuple(
        [
            replace(charge, amount=lines) if charge.unit is Unit.REQUESTS else charge
            for charge in charges
        ]
    )


def _hold(fields: Mapping[str, Any]) -> Hold:
    scopes = fields["scopes"]
    if scopes is not None:
        lists = {"parents": tuple(scopes["parents"]), "tags": tuple(scopes["tags"])}
        scopes = Scopes(**{**scopes, **lists})
    return Hold(
        **{
            **fields,
            "state": HoldState(fields["state"]),
            "accounts": tuple(fields["accounts"]),
            "amounts": tuple(fields["amounts"]),
            "scopes": scopes,
        }
    )


def _price_fields(price: Price) -> Mapping[str, Any]:
    return {
        "model": price.model,
        "valid_from_s": price.valid_from_s,
        "version": price.version,
        "tiers": [[rates.above_input_tokens, dict(rates.pico)] for rates in price.tiers],
        "service_tier": price.service_tier,
        "hour_long": price.hour_long,
        "units": dict(price.units),
        "by_tokens": price.by_tokens,
    }


def _price(fields: Mapping[str, Any]) -> Price:
    tiers = tuple([Rates(above, pico) for above, pico in fields["tiers"]])
    return Price(**{**fields, "tiers": tiers})
