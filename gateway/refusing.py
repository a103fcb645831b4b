"""Requests that get no answer: what is written down of them, and the error to send."""

import asyncio

from budgets.landing import landing_account
from gateway.desk import Asking, Denial, Desk, Spending
from gateway.errors import ApiError
from gateway.records import begin_event, end_event, stamp
from gateway.run_kills import kill_event, mark_killed
from routing.decide import NoRoute, RouteDecision
from telemetry.event import Ending, EventKind, TelemetryEvent


def begin(
    desk: Desk, asking: Asking, route: RouteDecision | NoRoute, reserved_nano: int
) -> TelemetryEvent:
    """The event of a request as known once its route is decided."""
    call = asking.call
    event = begin_event(
        call,
        classification=asking.classification,
        route=route,
        tier=_tier_of(desk, route),
        reserved_nano=reserved_nano,
    )
    event.waited_ms = call.waited_ms
    if call.identity.lands:
        own = landing_account(call.identity.scopes.run)
        event.landed = any(charge.account == own for charge in call.charges)
    return event


def _tier_of(desk: Desk, route: RouteDecision | NoRoute) -> str:
    """The tier that was chosen, or that of a model the client named itself."""
    if isinstance(route, NoRoute):
        return ""
    return route.tier or desk.tier_of.get(route.model.name, "")


class Refuser:
    """Ends requests for which no money is held."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def turn_away(self, asking: Asking, denial: Denial) -> ApiError:
        """Write the refusal down, and hand back the error to send.

        Where this request is the one that ends its run, the run is marked first.
        """
        error, kill = denial.error, denial.kill
        if kill is not None and kill.due and kill.account:
            event = kill_event(begin(self._desk, asking, denial.route, 0), kill)
            stamp(event, asking.call.started_s)
            lease_ms = self._desk.limits.lease_ms
            await asyncio.shield(mark_killed(self._desk.ledger, kill, event, lease_ms))
        await self._write_down(asking, denial.route, Ending.REFUSED, error.status, error.code)
        return error

    async def let_go(self, asking: Asking, found: Spending | Denial) -> None:
        """The client went while it waited: nothing was sent, so nothing is charged."""
        if isinstance(found, Spending):
            await self._desk.ledger.release(found.hold, None)
            self._desk.line.freed(found.hold.accounts)
        await self._write_down(asking, found.route, Ending.CLIENT_GONE, 0, "")

    async def _write_down(
        self, asking: Asking, route: RouteDecision | NoRoute, ending: Ending, status: int, code: str
    ) -> None:
        event = begin(self._desk, asking, route, 0)
        event.kind = EventKind.REFUSAL
        end_event(event, ending, status, code)
        stamp(event, asking.call.started_s)
        event.gateway_ms = round(event.total_ms - event.waited_ms, 3)
        await self._desk.ledger.record(event.to_outbox())
        self._desk.tally.turned_away(event)
