"""The admin API: what happened, what it cost, who may call. Every route needs an admin key.

`admin_router` builds the routes around `AdminServices`, the handful of things they ask for; what
answers stands elsewhere. Errors have the shape of the data plane's.
"""

import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from fastapi.security import APIKeyHeader
from pydantic import BaseModel, ConfigDict, WithJsonSchema
from starlette.exceptions import HTTPException

from budgets.config import TEAM_NAME, WORKFLOW_NAME
from budgets.ledger import LedgerError
from gateway.auth import Principal, Role
from gateway.budget_advice import AdviceQuestion
from gateway.errors import (
    ApiError,
    admin_key_required,
    bad_request,
    ledger_unavailable,
    registry_unavailable,
    unauthorized,
)
from gateway.key_registry import KEY_NAME, KeyRegistry, KeyRegistryError, NewKey
from gateway.registries.port import KeyRecord, RegistryError
from gateway.routes import admin_schema as shapes
from gateway.routes.admin_budgets import BudgetAdmin, add_advice_route, add_budget_routes

LOG = logging.getLogger("weir.admin")
JsonObject = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class AdminServices:
    """What the routes ask of the gateway.

    `policies` are the names a key may be bound to. `find_request` gives the row of one request,
    `audit` the comparison of ledger and telemetry, `advise` the caps that runs need and `status`
    the gateway's own condition, all as JSON objects; `budgets` shows and changes budgets.
    """

    registry: KeyRegistry
    policies: frozenset[str]
    find_request: Callable[[str], Awaitable[JsonObject | None]]
    audit: Callable[[], Awaitable[JsonObject]]
    advise: Callable[[AdviceQuestion], Awaitable[JsonObject]]
    budgets: BudgetAdmin
    status: Callable[[], Awaitable[JsonObject]]
    now_ms: Callable[[], int]


# For the OpenAPI alone: `admin_only` is what looks at the key.
_SCHEMES = (
    shapes.BEARER,
    APIKeyHeader(name="x-api-key", scheme_name="admin key in x-api-key", auto_error=False),
)


class KeyRequest(BaseModel):
    """The body of `POST /admin/keys`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, WithJsonSchema(shapes.name_of(KEY_NAME))]
    team: Annotated[str, WithJsonSchema(shapes.name_of(TEAM_NAME))]
    workflow: Annotated[str, WithJsonSchema(shapes.name_of(WORKFLOW_NAME))]
    role: Role = Role.DATA
    policy: str | None = None


class _AdminRoute(APIRoute):
    """A route whose refusals are error objects, whoever raised them."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handle(request)
            except ApiError as error:
                return _error_response(error)
            except RequestValidationError as error:
                return _error_response(_invalid_body(error))
            except HTTPException:  # FastAPI's own, for a body that is no text at all
                told = bad_request("The body cannot be read as JSON.", "body", "invalid_json")
                return _error_response(told)
            except LedgerError:
                return _error_response(ledger_unavailable())
            except RegistryError as error:
                LOG.error("%s", error)
                return _error_response(registry_unavailable())

        return answer


def _error_response(error: ApiError) -> Response:
    headers = {name.decode(): value.decode() for name, value in error.headers()}
    return Response(error.body(), error.status, headers)


def _invalid_body(error: RequestValidationError) -> ApiError:
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"][1:]) or "body"
    return bad_request(f"`{field}`: {first['msg']}.", field)


def _json(value: object, status: int = 200) -> Response:
    return Response(orjson.dumps(value), status, media_type="application/json")


def admin_router(services: AdminServices) -> APIRouter:
    """The routes under `/admin`, open to admin keys only (401 without a key, 403 with another)."""

    async def admin_only(request: Request) -> Principal:
        principal = services.registry.authenticate(request.scope["headers"])
        if principal is None:
            raise unauthorized()
        if principal.role is not Role.ADMIN:
            raise admin_key_required()
        return principal

    router = APIRouter(
        prefix="/admin",
        tags=["admin"],
        route_class=_AdminRoute,
        dependencies=[Depends(admin_only), *(Depends(scheme) for scheme in _SCHEMES)],
        responses=shapes.REFUSALS,
    )
    _add_reading_routes(router, services)
    add_advice_route(router, services.advise)
    add_budget_routes(router, services.budgets, services.registry)
    _add_key_routes(router, services)
    return router


def _add_reading_routes(router: APIRouter, services: AdminServices) -> None:
    @router.get(
        "/requests/{request_id}",
        summary="Why a request went where it went, and its cost",
        responses=shapes.answers(shapes.RequestAnswer, shapes.BAD_REQUEST, shapes.NOT_FOUND),
    )
    async def read_request(request_id: str) -> Response:
        found = await services.find_request(request_id)
        if found is None:
            raise ApiError(
                404,
                "request_not_found",
                f"No request {request_id!r}; its id is in the response header `x-weir-request-id`.",
                "request_id",
            )
        return _json(found)

    @router.get(
        "/audit",
        summary="The ledger against telemetry, to the nano-dollar",
        responses=shapes.answers(shapes.AuditAnswer),
    )
    async def read_audit() -> Response:
        return _json(await services.audit())

    @router.get(
        "/status",
        summary="The gateway's condition: ledger, providers, collector",
        responses=shapes.answers(shapes.StatusAnswer),
    )
    async def read_status() -> Response:
        return _json(await services.status())


def _add_key_routes(router: APIRouter, services: AdminServices) -> None:
    @router.get(
        "/keys",
        summary="Every key made here, without the keys themselves",
        responses=shapes.answers(shapes.KeyList),
    )
    async def list_keys() -> Response:
        return _json({"keys": [key_view(record) for record in await services.registry.list()]})

    @router.post(
        "/keys",
        status_code=201,
        summary="Make a key; the answer shows it once",
        responses=shapes.answers(shapes.NewKeyAnswer, shapes.BAD_REQUEST, status=201),
    )
    async def create_key(body: KeyRequest) -> Response:
        if body.policy is not None and body.policy not in services.policies:
            raise bad_request(f"There is no policy {body.policy!r}.", "policy")
        new = NewKey(body.name, body.team, body.workflow, body.role, body.policy)
        try:
            record, key = await services.registry.create(new, services.now_ms())
        except KeyRegistryError as error:
            raise bad_request(f"{error}.", str(error).partition(":")[0]) from error
        return _json({**key_view(record), "key": key}, 201)

    @router.delete(
        "/keys/{key_id}",
        summary="Revoke a key for good",
        responses=shapes.answers(shapes.Key, shapes.BAD_REQUEST, shapes.NOT_FOUND),
    )
    async def revoke_key(key_id: str) -> Response:
        record = await services.registry.revoke(key_id, services.now_ms())
        if record is None:
            raise ApiError(404, "key_not_found", f"No key {key_id!r}.", "key_id")
        return _json(key_view(record))


def key_view(record: KeyRecord) -> dict[str, Any]:
    """A key as JSON; times are milliseconds since 1970."""
    return asdict(record)
