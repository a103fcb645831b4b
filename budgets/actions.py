"""What a budget does where its spending reaches a share of its limit. Pure."""

from enum import StrEnum

from budgets.value import value


class Action(StrEnum):
    """What is done: tell somebody, use a cheaper tier, admit no more, or end the run for good."""

    ALERT = "alert"
    DEGRADE = "degrade"
    REFUSE = "refuse"
    KILL_RUN = "kill_run"


@value
class Threshold:
    """A share of the limit, in thousandths of it, and what is done there."""

    permille: int
    action: Action
