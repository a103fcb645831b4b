"""Admin API and dashboard: loaded when somebody looks, and refusing in the gateway's own words."""

from pathlib import Path

import pytest

from gateway.control_app import build_control_app
from gateway.control_plane import PREFIXES, ControlPlane
from gateway.control_services import ControlServices
from gateway.forwarding import ControlDoor
from tests.unit.gateway.desks import Client, run
from tests.unit.gateway.gateways import SECRET, Opened, json_of, opened, settings_in


def looked_at(folder: Path, method: str, path: str, key: str = SECRET.admin_key) -> Client:
    async def look() -> Client:
        async with opened(settings_in(folder)) as weir:
            return await weir.ask(method, path, key=key)

    return run(look())


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "unknown_url"),
        ("GET", "/admin/nowhere", 404, "unknown_url"),
        ("GET", "/administrator", 404, "unknown_url"),
        ("PATCH", "/admin/audit", 405, "method_not_allowed"),
        ("GET", "/admin/requests/req_none", 404, "request_not_found"),
        ("DELETE", "/admin/keys/none", 404, "key_not_found"),
    ],
)
def test_what_is_not_there_is_refused_in_one_shape(
    tmp_path: Path, method: str, path: str, status: int, code: str
) -> None:
    client = looked_at(tmp_path, method, path)
    assert (client.status, client.error["code"]) == (status, code)
    assert {"message", "type", "param", "code"} <= set(client.error)


@pytest.mark.parametrize(("key", "status"), [("wrong", 401), (SECRET.demo_key, 403)])
def test_only_admin_keys_open_the_admin_api(tmp_path: Path, key: str, status: int) -> None:
    assert looked_at(tmp_path, "GET", "/admin/audit", key).status == status


def test_every_question_of_the_admin_api_is_answered_by_the_gateway(tmp_path: Path) -> None:
    async def look(weir: Opened) -> None:
        assert json_of(await weir.admin("audit"))["clean"] is True
        assert json_of(await weir.admin("status"))["providers"] == {"here": "ready"}
        assert json_of(await weir.admin("keys")) == {"keys": []}
        [budget] = json_of(await weir.admin("budgets"))["budgets"]  # type: ignore[misc]
        assert budget["scope"] == "team:demo"
        dashboard = await weir.ask("GET", "/dashboard")
        assert dashboard.status in (200, 303, 307)

    async def answered() -> None:
        async with opened(settings_in(tmp_path)) as weir:
            await look(weir)

    run(answered())


def test_services_know_admins_from_others_and_how_fresh_the_figures_are(tmp_path: Path) -> None:
    async def look() -> None:
        async with opened(settings_in(tmp_path)) as weir:
            door = weir.application._control_plane
            assert isinstance(door, ControlDoor)
            plane = door._control_plane
            assert isinstance(plane, ControlPlane)
            services: ControlServices = plane._services
            assert services.is_admin(SECRET.admin_key)
            assert not services.is_admin(SECRET.demo_key)
            assert not services.is_admin("")
            assert services.freshness()["lag_rows"] == 0
            assert services.tiers == ("small",)
            routes = {
                getattr(route, "path", "/admin") for route in build_control_app(services).routes
            }
            assert all(path.startswith(PREFIXES) for path in routes)

    run(look())
