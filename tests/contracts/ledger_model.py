"""The ledger as one list of holds, and nothing added up: sums are made when somebody asks.

It shares no arithmetic with `budgets/ledger.py`; a store that agrees with it after every step has
not lost or invented a nano-dollar. Answers are tuples, in the words of `answer_of`.
"""

from dataclasses import dataclass, field

from budgets.ledger import Account, Hold, LedgerError, Refusal, Settlement
from budgets.port import LedgerStore
from tests.contracts.ledger_backends import charge, event, reservation

Answer = tuple[object, ...]
ERROR: Answer = ("error",)
UNSENT = "held"
SENT = "dispatched"


@dataclass(frozen=True, slots=True)
class Reserve:
    hold_id: str
    amount_nano: int
    limits: tuple[tuple[str, int | None], ...]
    lease_ms: int


@dataclass(frozen=True, slots=True)
class Dispatch:
    hold_id: str


@dataclass(frozen=True, slots=True)
class Settle:
    hold_id: str
    cost_nano: int
    event_id: str


@dataclass(frozen=True, slots=True)
class Release:
    hold_id: str
    event_id: str | None


@dataclass(frozen=True, slots=True)
class Record:
    event_id: str


Step = Reserve | Dispatch | Settle | Release | Record


@dataclass(slots=True)
class ModelHold:
    """Everything that ever happened to one hold."""

    amount_nano: int
    accounts: tuple[str, ...]
    state: str
    lease_until_ms: int
    was_sent: bool = False
    posted_nano: int = 0
    overrun_nano: int = 0
    correction: tuple[int, int] | None = None

    @property
    def is_open(self) -> bool:
        return self.state in (UNSENT, SENT)


@dataclass(slots=True)
class LedgerModel:
    """What any store must say next."""

    now_ms: int
    holds: dict[str, ModelHold] = field(default_factory=dict)
    events: list[str] = field(default_factory=list)

    def accounts(self) -> dict[str, Account]:
        sums: dict[str, list[int]] = {}
        for hold in self.holds.values():
            delta, extra = hold.correction or (0, 0)
            for account in hold.accounts:
                total = sums.setdefault(account, [0, 0, 0])
                total[0] += hold.posted_nano + delta
                total[1] += hold.amount_nano if hold.is_open else 0
                total[2] += hold.overrun_nano + extra
        return {account: Account(*total) for account, total in sums.items()}

    def take(self, step: Step) -> Answer:
        if isinstance(step, Reserve):
            return self._reserve(step)
        if isinstance(step, Record):
            self.events.append(step.event_id)
            return ("recorded",)
        hold = self.holds.get(step.hold_id)
        if hold is None:
            return ERROR
        if isinstance(step, Dispatch):
            if hold.state != UNSENT:
                return ERROR
            hold.state, hold.was_sent = SENT, True
            return ("hold", SENT, hold.amount_nano, hold.accounts)
        if isinstance(step, Release):
            return self._release(hold, step)
        return self._settle(hold, step)

    def _reserve(self, step: Reserve) -> Answer:
        names = tuple(name for name, _ in step.limits)
        hold = self.holds.get(step.hold_id)
        if hold is not None:
            if not hold.is_open or (hold.amount_nano, hold.accounts) != (step.amount_nano, names):
                return ERROR
            return ("hold", hold.state, hold.amount_nano, hold.accounts)
        accounts = self.accounts()
        for name, limit in step.limits:
            account = accounts.get(name, Account())
            total = account.posted_nano + account.held_nano + step.amount_nano
            if limit is not None and total > limit:
                return ("refused", name, account.posted_nano, account.held_nano, limit)
        self.holds[step.hold_id] = ModelHold(
            step.amount_nano, names, UNSENT, self.now_ms + step.lease_ms
        )
        return ("hold", UNSENT, step.amount_nano, names)

    def _settle(self, hold: ModelHold, step: Settle) -> Answer:
        if not hold.was_sent:
            return ERROR
        if hold.state == SENT:
            hold.state = "settled"
            hold.posted_nano = step.cost_nano
            hold.overrun_nano = max(step.cost_nano - hold.amount_nano, 0)
            self.events.append(step.event_id)
            return ("ended", hold.state, hold.posted_nano, hold.overrun_nano, False, False)
        if not hold.state.startswith("expired"):
            return ("ended", hold.state, hold.posted_nano, hold.overrun_nano, True, False)
        if hold.correction is not None:
            return ("ended", hold.state, *hold.correction, True, True)
        delta = step.cost_nano - hold.posted_nano
        hold.correction = (delta, max(delta, 0))
        self.events.append(f"{step.event_id}-correction")
        return ("ended", hold.state, *hold.correction, False, True)

    def _release(self, hold: ModelHold, step: Release) -> Answer:
        repeated = not hold.is_open
        if not repeated:
            hold.state = "released"
            if step.event_id is not None:
                self.events.append(step.event_id)
        return ("ended", hold.state, hold.posted_nano, hold.overrun_nano, repeated, False)

    def expire(self) -> set[Answer]:
        ended: set[Answer] = set()
        due = [item for item in self.holds.items() if item[1].is_open]
        for hold_id, hold in sorted(due, key=lambda item: (item[1].lease_until_ms, item[0])):
            if hold.lease_until_ms > self.now_ms:
                continue
            if hold.state == SENT:
                hold.state, hold.posted_nano = "expired_charged", hold.amount_nano
                self.events.append(f"{hold_id}-assumed")
            else:
                hold.state = "expired_freed"
            ended.add((hold_id, hold.state, hold.posted_nano))
        return ended


def answer_of(outcome: Hold | Refusal | Settlement) -> Answer:
    if isinstance(outcome, Hold):
        return ("hold", outcome.state.value, outcome.amount_nano, outcome.accounts)
    if isinstance(outcome, Refusal):
        said = (outcome.scope, outcome.spent_nano, outcome.held_nano, outcome.limit_nano)
        return ("refused", *said)
    posted = (outcome.posted_nano, outcome.overrun_nano)
    return ("ended", outcome.state.value, *posted, outcome.repeated, outcome.correction)


async def take_step(store: LedgerStore, step: Step, known: dict[str, Hold], now_ms: int) -> Answer:
    """One step on a real store; `known` holds what a caller would still have in hand."""
    try:
        if isinstance(step, Record):
            await store.record(event(step.event_id))
            return ("recorded",)
        if isinstance(step, Reserve):
            charges = [charge(name, limit) for name, limit in step.limits]
            outcome = await store.reserve(
                reservation(
                    step.hold_id, step.amount_nano, *charges, now_ms=now_ms, lease_ms=step.lease_ms
                )
            )
            if isinstance(outcome, Hold):
                known[step.hold_id] = outcome
            return answer_of(outcome)
        hold = known.get(step.hold_id)
        if hold is None:
            return ERROR
        if isinstance(step, Dispatch):
            known[step.hold_id] = await store.dispatch(hold, step.hold_id.encode())
            return answer_of(known[step.hold_id])
        if isinstance(step, Settle):
            return answer_of(await store.settle(hold, step.cost_nano, event(step.event_id)))
        ended = None if step.event_id is None else event(step.event_id)
        return answer_of(await store.release(hold, ended))
    except LedgerError:
        return ERROR
