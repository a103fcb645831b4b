"""What the gateway asks of a ledger store; each store passes one contract suite.

Every method is one atomic step. `dispatch` and the closing moves return once the step is durable
against the death of the process, so what was promised to a client or a provider is never forgotten.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from budgets.ledger import PLAIN, Account, Bill, Hold, Refusal, Reservation, Settlement
from budgets.openings import PartySpend
from budgets.scopes import Scopes
from budgets.value import value


@value
class OutboxEvent:
    """An event to append with the money it explains: a unique id, its JSON, and when it ended."""

    event_id: str
    payload: bytes
    ended_ms: int


@value
class OutboxRow:
    """An event waiting for the collector, in the order of `seq`."""

    seq: int
    event_id: str
    payload: bytes


@value
class RestoredEntry:
    """An ending that an event tells of, for a ledger that may have forgotten it.

    `bill` says what each account took where that is not the cost; `scopes` who spent it.
    """

    settlement: Settlement
    accounts: tuple[str, ...]
    event_id: str
    ended_ms: int
    admitted_ms: int = 0
    scopes: Scopes | None = None
    bill: Bill = PLAIN


@dataclass(frozen=True, slots=True)
class EventShaper:
    """How the store makes the events that no request is left to make.

    `assumed(draft, posted_nano, now_ms)`: the event of a hold that expired after dispatch.
    `correction(event, delta_nano)`: the event of a truth that arrived after the expiry.
    """

    assumed: Callable[[bytes, int, int], OutboxEvent]
    correction: Callable[[OutboxEvent, int], OutboxEvent]


class LedgerStore(Protocol):
    """Accounts, open holds, entries and the outbox of events, kept together."""

    async def survey(self, accounts: Sequence[str]) -> Mapping[str, Account]:
        """The accounts as they stand; those nothing was charged to are left out."""

    async def reserve(self, reservation: Reservation) -> Hold | Refusal:
        """Set the amount aside on every account, or on none and say why.

        Raise BudgetsChangedError where the budgets it was made from are not in force any more.

        The same `hold_id` again returns the first hold.
        """

    async def extend(self, hold: Hold, reservation: Reservation) -> Hold | Refusal:
        """Set more aside for an open hold: everything `reservation` asks for, or nothing more.

        Its amounts are totals, so asking again for the same changes nothing.
        """

    async def dispatch(self, hold: Hold, draft: bytes) -> Hold:
        """Mark the hold before the first byte goes to the provider.

        `draft` is the event as known so far, from which an expiry is told.
        """

    async def settle(
        self, hold: Hold, cost_nano: int, event: OutboxEvent, bill: Bill = PLAIN
    ) -> Settlement:
        """Post the cost and append the event, once; a repeat returns the first settlement.

        Every account of the hold takes the cost, or what `bill.posted` says of it. The hold may
        have been extended since `hold` was read.
        """

    async def release(self, hold: Hold, event: OutboxEvent | None) -> Settlement:
        """Give the money back because nothing was billed; append the event where there is one."""

    @property
    def life(self) -> str:
        """The life of the ledger: another one begins after a loss. Empty where there is but one."""

    def recall(self, hold_id: str, life: str) -> None:
        """Say in which life a hold was dispatched that another process is about to settle.

        One that a later life does not know is put back by its settlement.
        """

    async def record(self, event: OutboxEvent) -> None:
        """Append an event that moves no money, such as a refusal."""

    async def expire(self, now_ms: int) -> Sequence[Settlement]:
        """End every open hold whose lease ran out by `now_ms`."""

    def outbox_after(self, seq: int, limit: int) -> Sequence[OutboxRow]:
        """The next events in order; callable from any thread."""

    async def trim_outbox(self, up_to_seq: int) -> None:
        """Forget events that the warehouse holds."""

    def close(self) -> None:
        """Commit what is pending and let go of files."""


class SeedingLedger(LedgerStore, Protocol):
    """A store that can open the accounts of a new budget with what was spent before it."""

    async def carry_over(self, totals: Mapping[str, int], now_ms: int, as_of: str = "") -> None:
        """Open accounts with what was spent without them: account to total, in its own unit.

        The same totals again change nothing; another total posts the difference. `as_of` is that of
        the books from which the totals were derived: where gateways share a ledger, totals older
        than those that are there are left out.
        """

    async def counting(self) -> Collection[str]:
        """The budgets that have missed nothing, as this gateway noted last."""

    async def note_counting(self, names: Collection[str]) -> None:
        """Note the budgets that have missed nothing; all others may have from here on."""

    async def oldest_hold_ms(self) -> int | None:
        """When the oldest open hold was admitted; None where nothing is held."""


@dataclass(frozen=True, slots=True)
class EntryTotal:
    """What the ledger posted on one UTC day (`YYYY-MM-DD`): entries and nano-USD."""

    day: str
    entries: int
    posted_nano: int


class LedgerBooks(Protocol):
    """Read-only view for the audit; one consistent snapshot from `begin` to `end`."""

    def totals_by_day(self) -> Iterable[EntryTotal]: ...

    def entries_of_day(self, day: str) -> Mapping[str, int]:
        """Event id to posted nano-USD of one day."""

    def outbox(self) -> Iterable[OutboxRow]: ...

    def faults(self) -> Sequence[str]:
        """Where the ledger contradicts itself: accounts against entries and open holds."""


class SeedingBooks(Protocol):
    """Books that tell who spent what, from which a new budget is opened.

    `as_of` names the moment at which they were opened; whatever was posted by then is in them.
    """

    @property
    def as_of(self) -> str: ...

    def spent_by_party(self, since_ms: int, bucket_s: int | None) -> Iterable[PartySpend]:
        """What was posted for requests admitted since a moment, by who spent it."""
