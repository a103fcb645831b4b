"""The dashboard over HTTP: login, pages, panels as JSON and CSV, static files.

Every address but the login and the static files asks for an admin: a session cookie, or for the
data the admin key as a bearer token. Pages run no script but our own and reach no other origin.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import orjson
from fastapi import APIRouter, Depends, Request, Response

from dashboards.overview import Overview, OverviewRows, overview_of
from dashboards.panels import PANELS, Panel
from dashboards.payloads import panel_payload
from dashboards.periods import DEFAULT_PERIOD, LABELS, Period, PeriodError, period_at
from dashboards.request_page import request_of
from dashboards.tables import csv_of
from dashboards.theme import SCHEMES
from gateway.routes import admin_schema as shapes
from gateway.routes.dashboard_access import Denied, Gate

if TYPE_CHECKING:
    from dashboards.pages import Pages

Rows = list[dict[str, Any]]

# More questions at once would take the processor from the requests being served.
MAX_QUERIES_AT_ONCE = 2
RECENT_ROWS = 50
CSV_RECENT_ROWS = 1_000
_YEAR_S = 31_536_000
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_PRIVATE = {**_HEADERS, "Cache-Control": "no-store"}


def _wall_clock_ms() -> int:
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True)
class DashboardServices:
    """What the dashboard asks of the gateway.

    `run_query(name, params)` answers a named query of the warehouse. `budgets()` answers dicts of
    name, scope, window, unit, timezone, limit_nano, posted_nano, held_nano, resets_at_s.
    `check_admin` compares in constant time. `freshness()` answers lag_rows and last_batch_ms.
    `tiers` is ordered cheap to dear; `stand_ins` names the models whose prices are assigned.
    """

    run_query: Callable[[str, dict[str, Any]], Awaitable[Rows]]
    budgets: Callable[[], Awaitable[Rows]]
    check_admin: Callable[[str], bool]
    freshness: Callable[[], Mapping[str, Any]]
    base_url: str
    tiers: tuple[str, ...] = ()
    stand_ins: tuple[str, ...] = ()
    now_ms: Callable[[], int] = _wall_clock_ms


def _html(content: str, status: int = 200, retry_after_s: int = 0) -> Response:
    headers = {**_PRIVATE, "Retry-After": str(retry_after_s)} if retry_after_s else _PRIVATE
    return Response(content, status, headers, media_type="text/html; charset=utf-8")


def _to(path: str) -> Response:
    return Response(status_code=303, headers={**_PRIVATE, "Location": path})


def _json(content: object, status: int = 200, retry_after_s: int = 0) -> Response:
    headers = {**_PRIVATE, "Retry-After": str(retry_after_s)} if retry_after_s else _PRIVATE
    return Response(orjson.dumps(content), status, headers, media_type="application/json")


def _json_error(status: int, message: str, retry_after_s: int = 0) -> Response:
    return _json({"error": {"message": message}}, status, retry_after_s)


def _accepts_gzip(request: Request) -> bool:
    for offer in request.headers.get("accept-encoding", "").lower().split(","):
        name, _, quality = offer.partition(";")
        if name.strip() in ("gzip", "*"):
            return quality.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


class _Dashboard:
    """The handlers and what they share: services, gate, and pages made on the first hit."""

    def __init__(self, services: DashboardServices) -> None:
        self._services = services
        self._gate = Gate(services.check_admin, services.base_url)
        self._pages: Pages | None = None
        self._making_pages = asyncio.Lock()
        self._asking = asyncio.Semaphore(MAX_QUERIES_AT_ONCE)

    async def pages(self) -> "Pages":
        async with self._making_pages:
            if self._pages is None:
                self._pages = await asyncio.to_thread(_make_pages)
            return self._pages

    async def _ask(self, name: str, **params: Any) -> Rows:
        async with self._asking:
            return await self._services.run_query(name, params)

    async def _ask_span(self, name: str, from_ms: int, to_ms: int) -> Rows:
        return await self._ask(name, from_ms=from_ms, to_ms=to_ms)

    def _period(self, request: Request) -> Period:
        """The period asked for; `to_ms` lets every panel of a page end at the same moment."""
        now_ms = self._services.now_ms()
        to_ms = request.query_params.get("to_ms", "")
        if to_ms.isascii() and to_ms.isdigit() and 0 < int(to_ms[:15]) <= now_ms:
            now_ms = int(to_ms[:15]) - 1
        return period_at(request.query_params.get("period", DEFAULT_PERIOD), now_ms)

    async def _rows(self, panel: Panel, period: Period, recent_rows: int) -> Rows:
        if panel.query is None:
            return await self._services.budgets()
        params: dict[str, Any] = {"from_ms": period.from_ms, "to_ms": period.to_ms}
        if panel.query == "requests_recent":
            params["limit"] = recent_rows
        rows = await self._ask(panel.query, **params)
        return panel.shape(rows) if panel.shape else rows

    def _as_of_ms(self, panel: Panel) -> int:
        """Now, or where events still wait for the warehouse, when it last took some in."""
        freshness = self._services.freshness()
        last_ms = int(freshness.get("last_batch_ms") or 0)
        if panel.query is None or not freshness.get("lag_rows") or not last_ms:
            return self._services.now_ms()
        return last_ms

    # -- login -------------------------------------------------------------------------------

    async def login_page(self, request: Request) -> Response:
        if self._gate.has_session(request):
            return _to("/dashboard")
        return _html((await self.pages()).login())

    async def log_in(self, request: Request) -> Response:
        key = await self._gate.key_in_form(request)
        response = _to("/dashboard")
        denied = key if isinstance(key, Denied) else self._gate.log_in(key, request, response)
        if denied is None:
            return response
        page = (await self.pages()).login(denied.message)
        return _html(page, denied.status, denied.retry_after_s)

    async def log_out(self, request: Request) -> Response:
        if self._gate.foreign(request):
            return _html((await self.pages()).missing("This form is not ours."), 403)
        response = _to("/dashboard/login")
        self._gate.log_out(request, response)
        return response

    # -- pages -------------------------------------------------------------------------------

    async def overview(self, request: Request) -> Response:
        if not self._gate.has_session(request):
            return _to("/dashboard/login")
        try:
            period = self._period(request)
        except PeriodError as error:
            return _html((await self.pages()).missing(str(error)), 400)
        pages = await self.pages()
        return _html(pages.overview(await self._overview(period)))

    async def _overview(self, period: Period) -> Overview:
        span = (period.from_ms, period.to_ms)
        totals, before, mix, recent = await asyncio.gather(
            self._ask_span("totals", *span),
            self._ask_span("totals", period.before_from_ms, period.before_to_ms),
            self._ask_span("tier_mix", *span),
            self._rows(PANELS["requests_recent"], period, RECENT_ROWS),
        )
        rows = OverviewRows(
            totals=totals,
            totals_before=before,
            tier_mix=mix,
            recent=recent,
            ever=recent or await self._ask("requests_recent", from_ms=0, to_ms=span[1], limit=1),
        )
        services = self._services
        return overview_of(
            period,
            rows,
            services.freshness(),
            services.base_url,
            services.tiers,
            services.stand_ins,
        )

    async def request_page(self, request: Request, request_id: str) -> Response:
        if not self._gate.has_session(request):
            return _to("/dashboard/login")
        pages = await self.pages()
        rows = await self._ask("request_one", request_id=request_id)
        if not rows:
            return _html(pages.missing(f"No request {request_id} has been collected yet."), 404)
        return _html(pages.request(request_of(rows[0])))

    # -- data --------------------------------------------------------------------------------

    async def _data(
        self, request: Request, panel_id: str, recent_rows: int
    ) -> Response | tuple[Panel, Period, Rows]:
        denied = self._gate.denied_data(request)
        if denied is not None:
            return _json_error(denied.status, denied.message, denied.retry_after_s)
        panel = PANELS.get(panel_id)
        if panel is None:
            return _json_error(404, f"no panel {panel_id!r}; panels: {', '.join(PANELS)}")
        try:
            period = self._period(request)
        except PeriodError as error:
            return _json_error(400, str(error))
        return panel, period, await self._rows(panel, period, recent_rows)

    async def panel_json(self, request: Request, panel_id: str) -> Response:
        scheme = request.query_params.get("scheme", "light")
        if scheme not in SCHEMES:
            return _json_error(400, f"scheme: expected one of {', '.join(SCHEMES)}, got {scheme!r}")
        found = await self._data(request, panel_id, RECENT_ROWS)
        if isinstance(found, Response):
            return found
        panel, period, rows = found
        as_of_ms = self._as_of_ms(panel)
        return await asyncio.to_thread(
            lambda: _json(
                panel_payload(panel, rows, period, scheme, self._services.tiers, as_of_ms)
            )
        )

    async def panel_csv(self, request: Request, panel_id: str) -> Response:
        found = await self._data(request, panel_id, CSV_RECENT_ROWS)
        if isinstance(found, Response):
            return found
        panel, period, rows = found
        name = f"weir-{panel.id}-{period.key}.csv"
        headers = {**_PRIVATE, "Content-Disposition": f'attachment; filename="{name}"'}
        content = await asyncio.to_thread(csv_of, rows)
        return Response(content, 200, headers, media_type="text/csv; charset=utf-8")

    async def static(self, request: Request, name: str) -> Response:
        asset = (await self.pages()).assets.get(name)
        if asset is None:
            return _json_error(404, f"no file {name!r}")
        headers = {
            **_HEADERS,
            "Cache-Control": f"public, max-age={_YEAR_S}, immutable",
            "Vary": "Accept-Encoding",
        }
        if _accepts_gzip(request):
            headers["Content-Encoding"] = "gzip"
            return Response(asset.gzipped, 200, headers, media_type=asset.media_type)
        return Response(asset.plain, 200, headers, media_type=asset.media_type)


def _make_pages() -> "Pages":
    # The template engine is imported with the first page: a gateway nobody looks at stays smaller.
    from dashboards.pages import Pages  # noqa: PLC0415

    return Pages()


def dashboard_router(services: DashboardServices) -> APIRouter:
    """Every address under `/dashboard`, ready to be included in an app."""
    dashboard = _Dashboard(services)
    router = APIRouter(prefix="/dashboard")
    pages = partial(router.add_api_route, include_in_schema=False)
    pages("/login", dashboard.login_page, methods=["GET"])
    pages("/login", dashboard.log_in, methods=["POST"])
    pages("/logout", dashboard.log_out, methods=["POST"])
    pages("", dashboard.overview, methods=["GET"])
    pages("/requests/{request_id}", dashboard.request_page, methods=["GET"])
    pages("/static/{name}", dashboard.static, methods=["GET"])
    described = partial(
        router.add_api_route,
        tags=["dashboard"],
        dependencies=[Depends(shapes.BEARER)],
        openapi_extra={"parameters": shapes.panel_parameters(LABELS, SCHEMES)},
    )
    described(
        "/data/{panel_id}.json",
        dashboard.panel_json,
        methods=["GET"],
        summary="One panel's figure",
        responses=shapes.panel_answers({"application/json": {"schema": {"type": "object"}}}),
    )
    described(
        "/data/{panel_id}.csv",
        dashboard.panel_csv,
        methods=["GET"],
        summary="One panel's rows",
        response_class=Response,
        responses=shapes.panel_answers({"text/csv": {"schema": {"type": "string"}}}),
    )
    return router
