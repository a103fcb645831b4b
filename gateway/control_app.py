"""The control plane's FastAPI application: admin API and dashboard."""

from importlib.metadata import version
from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

from gateway.condition import PACKAGE
from gateway.control_services import ControlServices
from gateway.errors import method_not_allowed, not_found
from gateway.routes.admin import AdminServices, admin_router
from gateway.routes.dashboard import DashboardServices, dashboard_router


class _ControlApp(FastAPI):
    """Describes what is answered here: a wrong body is a 400, not FastAPI's own 422."""

    def openapi(self) -> dict[str, Any]:
        described = super().openapi()
        for operations in described["paths"].values():
            for operation in operations.values():
                operation["responses"].pop("422", None)
        for unused in ("HTTPValidationError", "ValidationError"):
            described["components"]["schemas"].pop(unused, None)
        return described


def build_control_app(services: ControlServices) -> FastAPI:
    """The routes under `/admin` and `/dashboard`; nothing in them raises HTTPException itself."""
    application = _ControlApp(
        title="Weir admin API",
        version=version(PACKAGE),
        docs_url=None,
        redoc_url=None,
        openapi_url="/admin/openapi.json",
    )
    application.include_router(
        admin_router(
            AdminServices(
                registry=services.registry,
                policies=services.policies,
                find_request=services.find_request,
                audit=services.audit,
                advise=services.advise,
                budgets=services.budgets,
                status=services.status,
                now_ms=services.now_ms,
            )
        )
    )
    application.include_router(
        dashboard_router(
            DashboardServices(
                run_query=services.run_query,
                budgets=services.budgets.rows,
                check_admin=services.is_admin,
                freshness=services.freshness,
                base_url=services.base_url,
                tiers=services.tiers,
                stand_ins=services.stand_ins,
                now_ms=services.now_ms,
            )
        )
    )
    application.add_exception_handler(HTTPException, _refuse)
    return application


async def _refuse(request: Request, error: Exception) -> Response:
    """What no route takes, in the shape of every other error."""
    method, path = request.method, request.url.path
    wrong_method = isinstance(error, HTTPException) and error.status_code == 405
    told = method_not_allowed(method, path) if wrong_method else not_found(method, path)
    headers = {name.decode(): value.decode() for name, value in told.headers()}
    if isinstance(error, HTTPException) and wrong_method:
        headers |= error.headers or {}  # `Allow`
    return Response(told.body(), told.status, headers)
