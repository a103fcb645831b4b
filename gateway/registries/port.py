"""What the gateway asks of a registry's store; SQLite and Redis pass one contract suite.

    KeyStore      API keys as digests
    BudgetStore   budgets that were set, and every change of them
    AlertStore    thresholds that were told of, and alerts that are still to be delivered
    RunStore      runs that were opened with budgets of their own

Each method is one atomic step, and durable as the store is once it returns. Every method raises
RegistryError where the store cannot be used. A version is any text that is another one after every
change, whoever made it.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from gateway.auth import Role
from gateway.run_registry import OpenedRun

STANDING = -1
ALERT_STATES = ("logged", "pending", "delivered", "given_up")


class RegistryError(RuntimeError):
    """A registry that cannot be read or written; the message says which and why."""


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """A key as it is listed; the key itself is not known to anyone but its holder."""

    key_id: str
    name: str
    team: str
    workflow: str
    role: Role
    policy: str | None
    created_ms: int
    revoked_ms: int | None

    @property
    def revoked(self) -> bool:
        return self.revoked_ms is not None


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A key's record and the digest under which it is known."""

    digest: bytes
    record: KeyRecord


class KeyStore(Protocol):
    """Every key ever made. A key is revoked, never deleted."""

    async def version(self) -> str: ...

    async def load(self) -> tuple[str, Sequence[StoredKey]]:
        """A version and every key of it, the oldest first."""

    async def add(self, keys: Collection[StoredKey]) -> None:
        """Keep new keys; of one that is there already only a revocation is taken over."""

    async def revoke(self, key_id: str, now_ms: int) -> KeyRecord | None:
        """End a key for good; None for an unknown id. A second revocation changes nothing."""

    async def aclose(self) -> None: ...


@dataclass(frozen=True, slots=True)
class BudgetChange:
    """One change: when (ms since 1970), by which key, and the terms before and after."""

    change_id: int
    at_ms: int
    who: str
    what: str
    name: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None


class BudgetStore(Protocol):
    """Terms of budgets (JSON texts) by name. Changes are only ever added."""

    async def version(self) -> str: ...

    async def load(self) -> tuple[str, Mapping[str, str]]:
        """A version and the terms of every budget of it, by name."""

    async def change(self, name: str, after: str | None, who: str, now_ms: int) -> bool:
        """Set or (None) delete the terms under a name, and note it; whether there were any before.

        Deleting what is not there changes nothing.
        """

    async def changes(self, limit: int) -> Sequence[BudgetChange]:
        """The latest changes, the newest first."""

    async def aclose(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Crossing:
    """A threshold that a scope's spending reached in the window that began at `start_s`.

    `start_s` is STANDING for a rolling window.
    """

    budget: str
    scope: str
    start_s: int
    permille: int
    limit_nano: int
    spent_nano: int
    crossed_ms: int


@dataclass(frozen=True, slots=True)
class Alert:
    """A crossing that was noted, and how often its delivery was tried."""

    alert_id: int
    crossing: Crossing
    attempts: int


class AlertStore(Protocol):
    """Alerts that were raised. Several gateways may watch: each alert has one of them at a time."""

    async def told(self, budget: str, scope: str, start_s: int) -> set[int]:
        """The thresholds that were told of in one window of one scope."""

    async def note(self, crossing: Crossing, *, deliver: bool) -> bool:
        """Write an alert down; False where it was told of before."""

    async def rearm(self, budget: str, scope: str, permille: int) -> None:
        """Watch a threshold of a rolling window anew; what was told stays on record."""

    async def take(self, now_ms: int, until_ms: int) -> Alert | None:
        """The alert that is due for longest, kept from others until then; None where none is."""

    async def delivered(self, alert_id: int) -> None:
        """The receiver has it."""

    async def failed(self, alert_id: int, next_ms: int | None) -> None:
        """Try again at `next_ms`, or not at all."""

    async def counts(self) -> Mapping[str, int]:
        """How many alerts there ever were, by what became of them (`ALERT_STATES`)."""

    async def aclose(self) -> None: ...


class RunStore(Protocol):
    """Runs until a month after their end. A token says all that spending needs without them."""

    async def add(self, run: OpenedRun) -> None: ...

    async def find(self, team: str, run_id: str) -> OpenedRun | None:
        """The run of a team; None for one that is unknown or long over."""

    async def aclose(self) -> None: ...
