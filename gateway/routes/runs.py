"""`/v1/runs`: open a run with a budget of its own, and ask how it stands."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from budgets.actions import Action
from budgets.admission import Headroom, counted, headroom, surveyed
from budgets.budget_book import BudgetBook
from budgets.kills import killed_account
from budgets.landing import landing_account
from budgets.ledger import NOTHING, Account, LedgerError
from budgets.port import LedgerStore
from budgets.runs import run_charges
from budgets.scopes import FULL_PERMILLE, ScopeKind, Unit
from budgets.units import as_json
from gateway.auth import Principal
from gateway.errors import ApiError, answered_elsewhere, ledger_unavailable
from gateway.known_ids import KnownIds
from gateway.providers.port import RawHeaders
from gateway.registries.port import RegistryError, RunStore
from gateway.response import (
    ClientGone,
    Receive,
    Scope,
    Send,
    read_body,
    send_error,
    send_whole,
)
from gateway.run_errors import run_not_found, too_many_runs
from gateway.run_grants import RunGrant
from gateway.run_opening import MAX_BODY_BYTES, opened_run, read_run
from gateway.run_registry import OpenedRun

PATH = "/v1/runs"
JSON = (b"content-type", b"application/json")
UNITS = (Unit.USD, Unit.TOKENS, Unit.REQUESTS)


@dataclass(frozen=True, slots=True)
class RunServices:
    """What the routes ask of the gateway; with `opens` false another process opens runs."""

    authenticate: Callable[[RawHeaders], Principal | None]
    denial: Callable[[RawHeaders], ApiError]
    token_of: Callable[[RunGrant], str]
    runs: RunStore
    ledger: LedgerStore
    budgets: BudgetBook
    ids: KnownIds
    now_ms: Callable[[], int]
    opens: bool = True


class RunRoutes:
    """Opens runs, and says what they spent."""

    def __init__(self, services: RunServices) -> None:
        self._services = services

    async def open(self, scope: Scope, receive: Receive, send: Send) -> None:
        """`POST /v1/runs`: 201 with the run and its token, which is shown this once."""
        await _answered(self._open(scope, receive), send, 201)

    async def show(self, scope: Scope, receive: Receive, send: Send) -> None:
        """`GET /v1/runs/{id}`: the run of a token, or one that the key opened."""
        await _answered(self._show(scope), send, 200)

    async def _open(self, scope: Scope, receive: Receive) -> Mapping[str, Any]:
        services = self._services
        if not services.opens:
            raise answered_elsewhere()
        principal = services.authenticate(scope["headers"])
        body = await read_body(scope, receive, MAX_BODY_BYTES)
        if principal is None:
            raise services.denial(scope["headers"])
        asked = read_run(body)
        run = opened_run(principal, asked, services.now_ms() // 1_000)
        if not services.ids.may_open(ScopeKind.RUN, run.team, run.grant.run_id):
            raise too_many_runs(services.ids.new_per_hour)
        try:
            await services.runs.add(run)
        except RegistryError as error:
            raise ledger_unavailable() from error
        return {**_terms(run, landing_free=True), "token": services.token_of(run.grant)}

    async def _show(self, scope: Scope) -> Mapping[str, Any]:
        services = self._services
        principal = services.authenticate(scope["headers"])
        if principal is None:
            raise services.denial(scope["headers"])
        run_id = str(scope["path"]).removeprefix(f"{PATH}/")
        try:
            run = await self._found(principal, run_id)
        except RegistryError as error:
            raise ledger_unavailable() from error
        if run is None:
            raise run_not_found(run_id)
        charges = run_charges(run.team, run.grant.chain)
        killed = self._killed_accounts(run)
        try:
            names = [*surveyed(charges), *killed, landing_account(f"{run.team}/{run_id}")]
            accounts = await services.ledger.survey(names)
        except LedgerError as error:
            raise ledger_unavailable() from error
        left = headroom(accounts, charges)
        own = [charge for charge in charges if charge.scope.endswith(f"/{run.grant.run_id}")]
        spent = {charge.unit: counted(accounts, charge) for charge in own}
        landed = accounts.get(names[-1], NOTHING).committed_nano > 0
        is_killed = any(accounts.get(name, NOTHING).committed_nano for name in killed)
        is_over = run.grant.expires_s <= services.now_ms() // 1_000
        return {
            **_terms(run, landing_free=not landed),
            "state": "killed" if is_killed else "expired" if is_over else _state(left),
            "requests": spent[Unit.REQUESTS].posted_nano,
            "spent": _amounts(spent, "posted_nano"),
            "held": _amounts(spent, "held_nano"),
            "left": {
                "usd": None if left.nano is None else as_json(left.nano, Unit.USD),
                "tokens": left.tokens,
                "requests": left.requests,
            },
        }

    def _killed_accounts(self, run: OpenedRun) -> list[str]:
        """What holds something if a budget has ended the run, or one above it, for good."""
        book = self._services.budgets
        if not book.kills:
            return []
        return [
            killed_account(f"{run.team}/{terms.run_id}", budget.name)
            for budget in book.budgets
            if budget.permille_of(Action.KILL_RUN)
            for terms in run.grant.chain
        ]

    async def _found(self, principal: Principal, run_id: str) -> OpenedRun | None:
        """The run, where the caller may ask about it: its own, one it opened, or one below that."""
        found = await self._services.runs.find(principal.team, run_id)
        holder = principal.run
        if holder is None:
            own = found is not None and found.grant.key_id == principal.key_id
            return found if own else None
        if run_id == holder.run_id:
            # The token says what its run may spend, even where the registry has lost the run.
            name = run_id.partition("~")[0]
            return found or OpenedRun(principal.team, name, holder, 0)
        below = found is not None and holder.run_id in found.grant.parents
        return found if below else None


def _terms(run: OpenedRun, *, landing_free: bool) -> dict[str, Any]:
    """A run as it was opened, and whether its landing is still to come."""
    grant = run.grant
    share = grant.chain[0].landing_permille / FULL_PERMILLE
    return {
        "id": grant.run_id,
        "object": "weir.run",
        "name": run.name,
        "parent": grant.parents[0] if grant.parents else None,
        "workflow": grant.workflow,
        "tags": dict(grant.tags),
        "budget": {
            f"limit_{unit.value}": None if limit is None else as_json(limit, unit)
            for unit, limit in grant.chain[0].limits().items()
        },
        "landing": {"share": f"{share:g}", "available": landing_free} if share else None,
        "created_at": run.created_s or None,
        "expires_at": grant.expires_s,
    }


def _state(left: Headroom) -> str:
    return "spent" if 0 in (left.nano, left.tokens, left.requests) else "open"


def _amounts(accounts: Mapping[Unit, Account], column: str) -> dict[str, str | int]:
    return {unit.value: as_json(getattr(accounts[unit], column), unit) for unit in UNITS}


async def _answered(answer: Any, send: Send, status: int) -> None:
    try:
        body = await answer
    except ApiError as error:
        await send_error(send, error)
        return
    except ClientGone:
        return
    await send_whole(send, status, [JSON], orjson.dumps(body))
