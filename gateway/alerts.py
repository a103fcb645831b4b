"""Tells when budgets reach their thresholds: a line in the log, and a webhook where there is one.

It looks at the books every few seconds, off the path of requests. An alert is on record before it
is told, so each crossing is told once. Its delivery is tried again with growing pauses, and given
up after the webhook's `attempts`.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from budgets.actions import Action
from budgets.budget_book import BudgetBook
from budgets.ledger import LedgerError
from budgets.rolling import RollingWindow
from budgets.scopes import Budget, window_starts
from budgets.thresholds import news, reached
from budgets.units import as_json, in_words, unit_of
from gateway.budget_board import OpenAccounts
from gateway.budget_report import budget_rows
from gateway.ledger_watch import LedgerWatch
from gateway.registries.port import STANDING, Alert, AlertStore, Crossing, RegistryError
from gateway.tally import LedgerOutcome
from gateway.webhook import Webhook

LOG = logging.getLogger("weir.alerts")
LOOK_S = 2.0
AT_ONCE = 50
FIRST_PAUSE_MS, LONGEST_PAUSE_MS = 1_000, 300_000
# How much longer than its delivery may take an alert is kept from other gateways.
CLAIM_SLACK_MS = 5_000


def payload_of(alert: Alert) -> dict[str, Any]:
    """The JSON that a webhook gets; docs/configuration.md describes it."""
    crossing = alert.crossing
    unit = unit_of(crossing.budget)
    moment = datetime.fromtimestamp(crossing.crossed_ms / 1_000, UTC)
    start = None if crossing.start_s <= 0 else datetime.fromtimestamp(crossing.start_s, UTC)
    return {
        "type": "budget.threshold",
        "alert_id": alert.alert_id,
        "budget": crossing.budget,
        "scope": crossing.scope,
        "threshold": crossing.permille / 1_000,
        f"limit_{unit.value}": as_json(crossing.limit_nano, unit),
        f"spent_{unit.value}": as_json(crossing.spent_nano, unit),
        "window_start": None if start is None else start.isoformat(),
        "crossed_at": moment.isoformat(timespec="milliseconds"),
    }


def pause_ms(attempts: int) -> int:
    """How long to wait after so many attempts: 1, 2, 4, … seconds, five minutes at most."""
    return int(min(FIRST_PAUSE_MS << min(attempts, 30), LONGEST_PAUSE_MS))


class AlertWatch:
    """Watches the budgets in effect; `run` until it is cancelled."""

    def __init__(
        self,
        book: BudgetBook,
        accounts: OpenAccounts,
        store: AlertStore,
        webhook: Webhook | None,
        now_ms: Callable[[], int],
        ledger_watch: LedgerWatch,
    ) -> None:
        self._book = book
        self._accounts = accounts
        self._store = store
        self._webhook = webhook
        self._now_ms = now_ms
        self._ledger_watch = ledger_watch

    async def run(self) -> None:
        """Look and deliver, again and again; a failure is logged and the next look tries again."""
        while True:
            try:
                await self.look()
                await self.deliver()
            except (LedgerError, RegistryError, OSError) as error:
                LOG.error("budgets could not be watched: %s", error)
                if isinstance(error, LedgerError):
                    self._ledger_watch.failed(LedgerOutcome.RETRIED, error)
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """Note and log every threshold that was crossed since the last look."""
        watched = [budget for budget in self._book.budgets if budget.permille_of(Action.ALERT)]
        if not watched:
            return
        now_ms = self._now_ms()
        rows = await asyncio.to_thread(self._rows, self._book.budgets, now_ms // 1_000)
        by_name = {budget.name: budget for budget in watched}
        for row in rows:
            if row["name"] in by_name:
                await self._tell(by_name[row["name"]], row, now_ms)

    def _rows(self, budgets: Iterable[Budget], now_s: int) -> list[dict[str, Any]]:
        with self._accounts() as accounts:
            return budget_rows(budgets, accounts, now_s)

    async def _tell(self, budget: Budget, row: dict[str, Any], now_ms: int) -> None:
        scope, spent_nano = str(row["scope"]), int(row["posted_nano"])
        rolling = isinstance(budget.window, RollingWindow)
        starts = window_starts(budget.window, budget.timezone, now_ms // 1_000)
        start_s = STANDING if rolling else starts[0]
        told = await self._store.told(budget.name, scope, start_s)
        now_reached = reached(spent_nano, budget.limit_nano, budget.permille_of(Action.ALERT))
        found = news(now_reached, told, rolling=rolling)
        for permille in found.rearmed:
            await self._store.rearm(budget.name, scope, permille)
        for permille in found.crossed:
            crossing = Crossing(
                budget.name, scope, start_s, permille, budget.limit_nano, spent_nano, now_ms
            )
            if await self._store.note(crossing, deliver=self._webhook is not None):
                LOG.warning(
                    "budget %s: %s has spent %s, which is %g %% or more of %s",
                    budget.name,
                    scope,
                    in_words(spent_nano, budget.unit),
                    permille / 10,
                    in_words(budget.limit_nano, budget.unit),
                )

    async def deliver(self) -> None:
        """Post what is due, one after the other."""
        if self._webhook is None:
            return
        for _ in range(AT_ONCE):
            now_ms = self._now_ms()
            until_ms = now_ms + int(self._webhook.timeout_s * 1_000) + CLAIM_SLACK_MS
            alert = await self._store.take(now_ms, until_ms)
            if alert is None:
                return
            await self._post(self._webhook, alert)

    async def _post(self, webhook: Webhook, alert: Alert) -> None:
        failure = await webhook.post(payload_of(alert), f"weir-alert-{alert.alert_id}")
        if failure is None:
            await self._store.delivered(alert.alert_id)
            return
        last = alert.attempts + 1 >= webhook.attempts
        again_ms = None if last else self._now_ms() + pause_ms(alert.attempts)
        await self._store.failed(alert.alert_id, again_ms)
        told = "given up" if last else "tried again later"
        LOG.warning("alert %d was not delivered, and is %s: %s", alert.alert_id, told, failure)
