"""A cheaper tier for a request whose budget is nearly used up. Pure."""

from budgets.scopes import FULL_PERMILLE
from budgets.thresholds import Crossed
from budgets.value import value
from routing.catalog import Catalog


@value
class Degraded:
    """A request that got a cheaper tier than its policy chose, and the budget that is the reason.

    `used_permille` is how much of the budget's limit was spent or held, in thousandths.
    """

    budget: str
    scope: str
    used_permille: int
    from_tier: str
    to_tier: str

    def evidence(self) -> dict[str, object]:
        """The move as JSON values."""
        return {
            "budget": self.budget,
            "scope": self.scope,
            "used": self.used_permille / FULL_PERMILLE,
            "from_tier": self.from_tier,
            "to_tier": self.to_tier,
        }


def cheaper_tier(catalog: Catalog, chosen: str, degrade_to: str) -> str:
    """The tier to use in place of the chosen one; the chosen one where none is cheaper.

    That is the next cheaper tier, or `degrade_to` where one is named. It is never a dearer one.
    """
    rank = catalog.tiers_by_name[chosen].rank
    if degrade_to:
        return degrade_to if catalog.tiers_by_name[degrade_to].rank < rank else chosen
    cheaper = [tier.name for tier in catalog.tiers if tier.rank < rank]
    return cheaper[-1] if cheaper else chosen


def degrade_words(crossed: Crossed, from_tier: str, to_tier: str) -> str:
    """Why a cheaper tier is used, for the line that explains a decision."""
    used = f"{crossed.used_permille * 100 / FULL_PERMILLE:g}"
    return f"budget {crossed.budget} at {used} %: tier {from_tier} -> {to_tier}"
