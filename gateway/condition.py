"""How the gateway is: for `/readyz`, for administrators, and for `/metrics`.

`/readyz` answers anybody, so it tells states and numbers, never a path or a message of an error.
"""

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from budgets.ledger import NOTHING, LedgerError
from budgets.money import format_usd
from budgets.scopes import ScopeKind, Window, account_id
from gateway.budget_gauges import BudgetGauges
from gateway.clock import now_ms
from gateway.health_board import HealthBoard
from gateway.known_ids import KnownIds
from gateway.ledger_choice import LedgerChoice
from gateway.ledger_watch import REMEDIES, LedgerState, LedgerWatch, Look
from gateway.metrics import Reading
from gateway.providers.port import Provider
from gateway.registries.port import AlertStore, RegistryError
from gateway.reports import Report, together
from gateway.tally import LedgerOutcome, Tally
from gateway.waiting import Line
from routing.catalog import Catalog
from routing.health import breaker_key

if TYPE_CHECKING:
    from telemetry.collector import Collector

LOG = logging.getLogger("weir.metrics")
PACKAGE = "weir-gateway"


@dataclass(frozen=True, slots=True)
class Condition:
    """Everything whose condition is told; use it from the event loop.

    A process that only answers requests has no `collector` and knows of no `alerts`; one that does
    not answer (`answers`) asks no model and cannot tell how they are. `allowance_left_nano` is what
    may still be admitted without the ledger; None where nothing may.
    """

    org: str
    store: str
    choice: LedgerChoice
    watch: LedgerWatch
    tally: Tally
    collector: "Collector | None"
    providers: Mapping[str, Provider]
    health: HealthBoard
    catalog: Catalog
    alerts: AlertStore | None
    line: Line
    ids: KnownIds
    gauges: BudgetGauges
    answers: bool = True
    allowance_left_nano: Callable[[], int] | None = None

    async def readiness(self) -> tuple[bool, dict[str, Any]]:
        """Whether requests can be admitted and recorded, and why not; holds no secret."""
        look = await self.watch.state()
        left_nano = 0 if self.allowance_left_nano is None else self.allowance_left_nano()
        ready = look.state is LedgerState.OK or left_nano > 0
        told: dict[str, Any] = {"ledger": self._ledger(look)}
        if self.allowance_left_nano is not None:
            told["ledger"]["allowance_left_usd"] = format_usd(left_nano)
        if self.collector is not None:
            state = self.collector.state
            ready = ready and state.running
            told["collector"] = {
                "running": state.running,
                "failing": state.failures_in_a_row > 0,
                "waiting_rows": state.waiting_rows,
                "behind_ms": state.behind_ms,
            }
        told["providers"] = {name: self._provider(name) for name in self.providers}
        told["waiting_for_budget"] = self.line.waiting
        return ready, told

    def _ledger(self, look: Look) -> dict[str, Any]:
        told: dict[str, Any] = {"store": self.store, "state": look.state.value}
        if look.state in REMEDIES:
            told["remedy"] = REMEDIES[look.state]
        if look.owed is not None:
            told["pending_endings"], told["rejected_endings"] = look.owed
        return told

    def _provider(self, name: str) -> str:
        """`starting`, `resting` while no model of it may be asked, else `ready`."""
        if not self.providers[name].ready:
            return "starting"
        health, at_ms = self.health.health, now_ms()
        own = [place for place in self.catalog.places() if place.provider == name]
        if own and all(health.why_down(place, at_ms) is not None for place in own):
            return "resting"
        return "ready"

    async def status(self) -> dict[str, Any]:
        """The same with the messages of errors, for administrators."""
        ready, told = await self.readiness()
        told["ledger"]["last_error"] = (await self.watch.state()).error
        if self.collector is not None:
            state = self.collector.state
            told["collector"]["last_batch_ms"] = state.last_batch_ms
            told["collector"]["last_error"] = state.last_error
        told["ids"] = {"overflowed": dict(self.ids.overflowed)}
        return {"ready": ready, **told}

    def freshness(self) -> dict[str, Any]:
        """How far DuckDB is behind the ledger; nothing where another process collects."""
        if self.collector is None:
            return {}
        state = self.collector.state
        return {"lag_rows": state.waiting_rows, "last_batch_ms": state.last_batch_ms}

    def report(self, in_flight: int) -> Report:
        """What this process has seen, and how it is."""
        return Report(
            self.tally,
            dict(self.ids.overflowed),
            in_flight,
            self.line.waiting,
            len(asyncio.all_tasks()),
            {name: provider.ready for name, provider in self.providers.items()},
            {
                (place.provider, place.name, place.upstream_model): self.health.health.breaker(
                    breaker_key(place)
                ).state
                for place in self.catalog.places()
                if self.answers
            },
        )

    async def read(
        self, in_flight: Callable[[], int], others: Callable[[], Iterable[Report]] = tuple
    ) -> Reading:
        """Everything that `/metrics` tells, as it is now; `others` are worker processes."""
        total = account_id(ScopeKind.ORG, self.org, Window.TOTAL, 0)
        budgets = self.gauges.accounts()
        asked = [total, *(name for names in budgets.values() for name in names)]
        look = await self.watch.look(list(dict.fromkeys(asked)))
        found, holds, standings = None, None, None
        if look.state is LedgerState.OK:
            found = look.accounts
            try:
                holds = await asyncio.to_thread(self.choice.open_holds)
                standings = await self.gauges.read(budgets, found)
            except (LedgerError, sqlite3.Error) as error:
                LOG.error("the books could not be read for /metrics: %s", error)
                if isinstance(error, LedgerError):
                    self.watch.failed(LedgerOutcome.RETRIED, error)
        seen = together([self.report(in_flight()), *others()])
        return Reading(
            version=version(PACKAGE),
            ledger=self.store,
            tally=seen.tally,
            in_flight=seen.in_flight,
            tasks=seen.tasks,
            state=look.state,
            total=None if found is None else found.get(total, NOTHING),
            open_holds=holds,
            owed=look.owed,
            standings=standings,
            alerts=await self._alerts(),
            collector=None if self.collector is None else self.collector.state,
            providers=seen.providers,
            breakers=seen.breakers,
            overflowed=seen.overflowed,
        )

    async def _alerts(self) -> Mapping[str, int] | None:
        if self.alerts is None:
            return None
        try:
            return await self.alerts.counts()
        except RegistryError:
            return None
