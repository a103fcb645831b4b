"""The ledger as one list of holds, and nothing added up: sums are made when somebody asks.

It shares no arithmetic with `budgets/ledger.py`; a store that agrees with it after every step has
not lost or invented a nano-dollar. Answers are tuples, in the words of `answer_of`. An account
counts what its name says: `team:t/tokens` tokens, `org:o` money.
"""

from dataclasses import dataclass, field, replace

from budgets.ledger import Account, Bill, Hold, LedgerError, Refusal, Reservation, Settlement
from budgets.port import LedgerStore
from tests.contracts.ledger_backends import charge, event, gate, reservation

Answer = tuple[object, ...]
Limits = tuple[tuple[str, int | None], ...]
ERROR: Answer = ("error",)
UNSENT = "held"
SENT = "dispatched"


@dataclass(frozen=True, slots=True)
class Reserve:
    """`gated` accounts must have nothing in them."""

    hold_id: str
    amount_nano: int
    limits: Limits
    lease_ms: int
    tokens: int = 0
    gated: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Extend:
    """More for the hold of an earlier wish, on the same accounts."""

    wish: Reserve
    amount_nano: int
    tokens: int

    @property
    def hold_id(self) -> str:
        return self.wish.hold_id


@dataclass(frozen=True, slots=True)
class Dispatch:
    hold_id: str


@dataclass(frozen=True, slots=True)
class Settle:
    """`spared` accounts take nothing."""

    hold_id: str
    cost_nano: int
    event_id: str
    tokens: int = 0
    spared: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Release:
    hold_id: str
    event_id: str | None


@dataclass(frozen=True, slots=True)
class Record:
    event_id: str


Step = Reserve | Extend | Dispatch | Settle | Release | Record


def in_its_unit(account: str, nano: int, tokens: int) -> int:
    """What a request of so much money and so many tokens is on one account."""
    if account.endswith("/tokens"):
        return tokens
    return 1 if account.endswith("/requests") else nano


@dataclass(slots=True)
class ModelHold:
    """Everything that ever happened to one hold; `held`, `posted` and so on by account."""

    wish: Reserve
    amount_nano: int
    tokens: int
    held: dict[str, int]
    lease_until_ms: int
    state: str = UNSENT
    was_sent: bool = False
    posted_nano: int = 0
    overrun_nano: int = 0
    posted: dict[str, int] = field(default_factory=dict)
    overrun: dict[str, int] = field(default_factory=dict)
    correction: tuple[int, int] | None = None

    @property
    def is_open(self) -> bool:
        return self.state in (UNSENT, SENT)

    def answer(self) -> Answer:
        return ("hold", self.state, self.amount_nano, tuple(self.held.items()))


@dataclass(slots=True)
class LedgerModel:
    """What any store must say next."""

    now_ms: int
    holds: dict[str, ModelHold] = field(default_factory=dict)
    events: list[str] = field(default_factory=list)

    def accounts(self, but: str = "") -> dict[str, Account]:
        """The sums of every hold, or of every other one."""
        sums: dict[str, list[int]] = {}
        for hold_id, hold in self.holds.items():
            for account, amount in hold.held.items():
                total = sums.setdefault(account, [0, 0, 0])
                total[0] += hold.posted.get(account, 0)
                total[1] += amount if hold.is_open and hold_id != but else 0
                total[2] += hold.overrun.get(account, 0)
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
        if isinstance(step, Extend):
            return self._extend(hold, step)
        if isinstance(step, Dispatch):
            if hold.state != UNSENT:
                return ERROR
            hold.state, hold.was_sent = SENT, True
            return hold.answer()
        if isinstance(step, Release):
            return self._release(hold, step)
        return self._settle(hold, step)

    def _refused(self, wish: Reserve, asked: dict[str, int], but: str = "") -> Answer:
        """The first account that is spent, or else the first that is only held; () for none."""
        full: list[tuple[bool, Answer]] = []
        accounts = self.accounts(but)
        for name, limit in wish.limits:
            account = accounts.get(name, Account())
            posted, held = account.posted_nano, account.held_nano
            if limit is not None and posted + held + asked[name] > limit:
                answer = ("refused", name, posted, held, limit)
                full.append((posted + asked[name] <= limit, answer))
        gated = [accounts.get(name, Account()) for name in wish.gated]
        posted, held = sum(a.posted_nano for a in gated), sum(a.held_nano for a in gated)
        if posted + held > 0:
            full.append((posted == 0, ("refused", "gate", posted, held, 0)))
        return min(full, key=lambda one: one[0])[1] if full else ()

    def _reserve(self, step: Reserve) -> Answer:
        asked = {n: in_its_unit(n, step.amount_nano, step.tokens) for n, _ in step.limits}
        hold = self.holds.get(step.hold_id)
        if hold is not None:
            same = hold.is_open and hold.amount_nano == step.amount_nano
            if not same or list(hold.held.items()) != list(asked.items()):
                return ERROR
            return hold.answer()
        refusal = self._refused(step, asked)
        if refusal:
            return refusal
        lease_until_ms = self.now_ms + step.lease_ms
        hold = ModelHold(step, step.amount_nano, step.tokens, asked, lease_until_ms)
        self.holds[step.hold_id] = hold
        return hold.answer()

    def _extend(self, hold: ModelHold, step: Extend) -> Answer:
        asked = {n: in_its_unit(n, step.amount_nano, step.tokens) for n, _ in step.wish.limits}
        if not hold.is_open or list(asked) != list(hold.held):
            return ERROR
        if min(step.amount_nano, step.tokens) < 0:
            return ERROR
        if any(asked[name] < amount for name, amount in hold.held.items()):
            return ERROR
        refusal = self._refused(step.wish, asked, but=step.hold_id)
        if refusal:
            return refusal
        hold.amount_nano, hold.tokens, hold.held = step.amount_nano, step.tokens, asked
        return hold.answer()

    def _settle(self, hold: ModelHold, step: Settle) -> Answer:
        if not hold.was_sent:
            return ERROR
        taken = {
            name: 0 if name in step.spared else in_its_unit(name, step.cost_nano, step.tokens)
            for name in hold.held
        }
        if hold.state == SENT:
            hold.state, hold.posted_nano, hold.posted = "settled", step.cost_nano, taken
            hold.overrun_nano = max(step.cost_nano - hold.amount_nano, 0)
            hold.overrun = {name: max(taken[name] - hold.held[name], 0) for name in taken}
            self.events.append(step.event_id)
            return ("ended", hold.state, hold.posted_nano, hold.overrun_nano, False, False)
        if not hold.state.startswith("expired"):
            return ("ended", hold.state, hold.posted_nano, hold.overrun_nano, True, False)
        if hold.correction is not None:
            return ("ended", hold.state, *hold.correction, True, True)
        delta = step.cost_nano - hold.posted_nano
        hold.correction = (delta, max(delta, 0))
        hold.overrun = {name: max(taken[name] - hold.posted.get(name, 0), 0) for name in taken}
        hold.posted = taken
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
                hold.posted = dict(hold.held)
                self.events.append(f"{hold_id}-assumed")
            else:
                hold.state = "expired_freed"
            ended.add((hold_id, hold.state, hold.posted_nano))
        return ended


def answer_of(outcome: Hold | Refusal | Settlement) -> Answer:
    if isinstance(outcome, Hold):
        on_each = tuple(zip(outcome.accounts, outcome.on_each(), strict=True))
        return ("hold", outcome.state.value, outcome.amount_nano, on_each)
    if isinstance(outcome, Refusal):
        said = (outcome.scope, outcome.spent_nano, outcome.held_nano, outcome.limit_nano)
        return ("refused", *said)
    posted = (outcome.posted_nano, outcome.overrun_nano)
    return ("ended", outcome.state.value, *posted, outcome.repeated, outcome.correction)


def wish_of(step: Reserve, now_ms: int) -> Reservation:
    """What the step asks of a store."""
    charges = [charge(name, limit) for name, limit in step.limits]
    if step.gated:
        charges.append(gate(*step.gated))
    return reservation(
        step.hold_id,
        step.amount_nano,
        *charges,
        now_ms=now_ms,
        lease_ms=step.lease_ms,
        tokens=step.tokens,
    )


def bill_of(hold: Hold, step: Settle) -> Bill:
    """What each account takes; left unsaid where it is the cost on all, as callers do."""
    posted = tuple(
        0 if name in step.spared else in_its_unit(name, step.cost_nano, step.tokens)
        for name in hold.accounts
    )
    alike = not hold.amounts and not step.spared
    return Bill(step.tokens, "", () if alike else posted)


async def take_step(store: LedgerStore, step: Step, known: dict[str, Hold], now_ms: int) -> Answer:
    """One step on a real store; `known` holds what a caller would still have in hand."""
    try:
        if isinstance(step, Record):
            await store.record(event(step.event_id))
            return ("recorded",)
        if isinstance(step, Reserve):
            outcome = await store.reserve(wish_of(step, now_ms))
            if isinstance(outcome, Hold):
                known[step.hold_id] = outcome
            return answer_of(outcome)
        hold = known.get(step.hold_id)
        if hold is None:
            return ERROR
        return answer_of(await _moved(store, step, hold, known, now_ms))
    except LedgerError:
        return ERROR


async def _moved(
    store: LedgerStore,
    step: Extend | Dispatch | Settle | Release,
    hold: Hold,
    known: dict[str, Hold],
    now_ms: int,
) -> Hold | Refusal | Settlement:
    if isinstance(step, Extend):
        more = wish_of(replace(step.wish, amount_nano=step.amount_nano, tokens=step.tokens), now_ms)
        larger = await store.extend(hold, more)
        if isinstance(larger, Hold):
            known[step.hold_id] = larger
        return larger
    if isinstance(step, Dispatch):
        known[step.hold_id] = await store.dispatch(hold, step.hold_id.encode())
        return known[step.hold_id]
    if isinstance(step, Settle):
        billed = bill_of(hold, step)
        return await store.settle(hold, step.cost_nano, event(step.event_id), billed)
    ended = None if step.event_id is None else event(step.event_id)
    return await store.release(hold, ended)
