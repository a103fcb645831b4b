"""Budgets over the admin API: read, set, delete, and who changed what."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

import orjson
from fastapi import APIRouter, Request, Response

from budgets.config import BudgetSection
from gateway.budget_advice import AdviceFault, AdviceQuestion, read_question
from gateway.budget_registry import BudgetFault, read_budget_json
from gateway.errors import ApiError, bad_request
from gateway.key_registry import KeyRegistry
from gateway.routes import admin_schema as shapes


class BudgetAdmin(Protocol):
    """What the routes ask for; rows are JSON objects with amounts in nano-USD."""

    async def rows(self) -> Sequence[dict[str, Any]]: ...

    async def show(self, name: str) -> Sequence[dict[str, Any]] | None: ...

    async def put(self, section: BudgetSection, who: str) -> str: ...

    async def remove(self, name: str, who: str) -> bool: ...

    async def changes(self) -> Sequence[dict[str, Any]]: ...


def add_advice_route(
    router: APIRouter, advise: Callable[[AdviceQuestion], Awaitable[Mapping[str, Any]]]
) -> None:
    """The route that says how large a budget has to be; add it before those of names."""

    @router.get(
        "/budgets/advice",
        summary="The cap that stops few normal runs, by workflow",
        responses=shapes.answers(shapes.AdviceAnswer, shapes.BAD_REQUEST),
    )
    async def read_advice(
        workflow: str | None = None, days: str | None = None, stop_share: str | None = None
    ) -> Response:
        try:
            return _json(await advise(read_question(workflow, days, stop_share)))
        except AdviceFault as error:
            raise bad_request(f"{error}.", error.key) from error


def add_budget_routes(router: APIRouter, budgets: BudgetAdmin, registry: KeyRegistry) -> None:
    """The routes under `/budgets`; the router lets nobody but admins in."""

    @router.get(
        "/budgets",
        summary="Each budget with what is posted, held and left",
        responses=shapes.answers(shapes.BudgetList),
    )
    async def read_budgets() -> Response:
        return _json({"budgets": await budgets.rows()})

    @router.put(
        "/budgets",
        summary="Set a budget, in place of one of the same scope and window",
        responses=shapes.answers(shapes.BudgetAnswer, shapes.BAD_REQUEST),
        openapi_extra=shapes.BUDGET_BODY,
    )
    async def put_budget(request: Request) -> Response:
        try:
            section = read_budget_json(await request.body())
            name = await budgets.put(section, _who(registry, request))
        except BudgetFault as error:
            raise bad_request(f"{error}.", error.key or None) from error
        return _json({"name": name, "budgets": await budgets.show(name)})

    @router.get(
        "/budgets/changes",
        summary="Who set or deleted which budget, the newest first",
        responses=shapes.answers(shapes.ChangeList),
    )
    async def read_changes() -> Response:
        return _json({"changes": await budgets.changes()})

    @router.get(
        "/budgets/{name:path}",
        summary="One budget with its rate and forecast",
        responses=shapes.answers(shapes.BudgetAnswer, shapes.BAD_REQUEST, shapes.NOT_FOUND),
    )
    async def read_budget(name: str) -> Response:
        found = await budgets.show(name)
        if found is None:
            raise _unknown(name)
        return _json({"name": name, "budgets": found})

    @router.delete(
        "/budgets/{name:path}",
        summary="Delete a budget that was set here",
        responses=shapes.answers(shapes.DeletedBudget, shapes.BAD_REQUEST, shapes.NOT_FOUND),
    )
    async def delete_budget(name: str, request: Request) -> Response:
        removed = await budgets.remove(name, _who(registry, request))
        if not removed:
            raise _unknown(name)
        return _json({"name": name, "deleted": True})


def _who(registry: KeyRegistry, request: Request) -> str:
    """The id of the key that asks; the router has let it in."""
    principal = registry.authenticate(request.scope["headers"])
    return "" if principal is None else principal.key_id


def _unknown(name: str) -> ApiError:
    return ApiError(
        404,
        "budget_not_found",
        f"No budget {name!r}; `GET /admin/budgets` names those in effect, and only those that were "
        "set over the API can be deleted.",
        "name",
    )


def _json(value: object) -> Response:
    return Response(orjson.dumps(value), media_type="application/json")
