"""The admin API answers as its OpenAPI says, whatever it is sent, and never with a fault of ours.

schemathesis makes requests from the description: right ones and wrong ones, the same in every run.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.schemas import BaseSchema
from schemathesis.specs.openapi import checks

from dashboards.panels import PANELS as PANELS_SHOWN
from gateway.errors import unauthorized
from tests.contracts.redis_server import own_server
from tests.journeys.gateway_process import (
    IN_REDIS,
    SCRIPTED_CONFIG,
    GatewayProcess,
    assert_clean,
    budget,
    gateway,
    on_redis,
)

EXAMPLES = 40
CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.response_headers_conformance,
]
OPERATIONS = (
    ("GET", "/admin/requests/{request_id}"),
    ("GET", "/admin/audit"),
    ("GET", "/admin/status"),
    ("GET", "/admin/budgets"),
    ("PUT", "/admin/budgets"),
    ("GET", "/admin/budgets/changes"),
    ("GET", "/admin/budgets/advice"),
    ("GET", "/admin/budgets/{name}"),
    ("DELETE", "/admin/budgets/{name}"),
    ("GET", "/admin/keys"),
    ("POST", "/admin/keys"),
    ("DELETE", "/admin/keys/{key_id}"),
)
PANELS = (
    ("GET", "/dashboard/data/{panel_id}.json"),
    ("GET", "/dashboard/data/{panel_id}.csv"),
)


@pytest.fixture(scope="module", params=["sqlite", pytest.param("redis", marks=pytest.mark.redis)])
def weir(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    """A gateway with each of the ledgers."""
    config = SCRIPTED_CONFIG + budget("key:*", "5", "month") + budget("run:*", "1")
    env: dict[str, str] = {}
    with ExitStack() as stack:
        if request.param == "redis":
            config += IN_REDIS + "timeout_ms = 5_000\n"
            env = on_redis(stack.enter_context(own_server()))
        running = stack.enter_context(gateway(tmp_path_factory.mktemp("weir"), config, env))
        yield running
        assert_clean(running)
        assert "Traceback" not in running.log()


@pytest.fixture(scope="module")
def known(weir: GatewayProcess) -> Mapping[str, list[str]]:
    """Values of path parameters that stand for something."""
    asked = [weir.chat(f"Hello {n}", headers={"x-weir-run": f"r{n}"}) for n in range(3)]
    for terms in (
        {"scope": "team:demo", "window": "24h", "limit_tokens": 5},
        {"scope": "user:*", "window": "day", "limit_usd": "0.5", "at": [SHARE]},
    ):
        assert weir.change("PUT", "budgets", terms).status == 200
    keys = [weir.make_key(team)[1] for team in ("red", "blue")]
    names = [row["name"] for row in weir.admin("budgets")["budgets"]]
    return {
        "request_id": [answer.request_id for answer in asked],
        "name": names,
        "key_id": keys,
        "panel_id": list(PANELS_SHOWN),
    }


SHARE = {"share": "0.8", "action": "degrade"}


@pytest.fixture(scope="module")
def described(weir: GatewayProcess) -> BaseSchema:
    return schemathesis.openapi.from_url(
        f"{weir.base_url}/admin/openapi.json",
        headers={"Authorization": f"Bearer {weir.admin_key}"},
    )


def test_every_route_is_described_and_every_description_is_tried(described: BaseSchema) -> None:
    operations = [found.ok() for found in described.get_all_operations()]
    named = {(one.method.upper(), one.path.replace(":path", "")) for one in operations}
    assert named == {*OPERATIONS, *PANELS}
    assert all(one.definition.raw["security"] for one in operations)


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_every_route_wants_an_admin_key(weir: GatewayProcess, method: str, path: str) -> None:
    for key, status in ((None, 401), (weir.key, 403), (weir.admin_key[:-1], 401)):
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        answer = weir.ask(method, path, b"{}", **headers)
        assert answer.status == status
        expected = unauthorized().code if status == 401 else "admin_key_required"
        assert answer.error["code"] == expected


def test_another_method_is_told_the_right_one(weir: GatewayProcess) -> None:
    answer = weir.ask("PATCH", "/admin/keys/k1", Authorization=f"Bearer {weir.admin_key}")
    assert (answer.status, answer.error["code"]) == (405, "method_not_allowed")
    assert answer.headers["allow"] == "DELETE"


def test_a_body_that_is_no_text_is_told_so(weir: GatewayProcess) -> None:
    headers = {"Authorization": f"Bearer {weir.admin_key}", "Content-Type": "application/json"}
    for method, path in (("POST", "/admin/keys"), ("PUT", "/admin/budgets")):
        answer = weir.ask(method, path, b"\xff", **headers)
        assert (answer.status, answer.error["type"]) == (400, "invalid_request_error")


@pytest.mark.parametrize(("method", "path"), [*OPERATIONS, *PANELS])
@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_answers_are_as_described(
    weir: GatewayProcess,
    described: BaseSchema,
    known: Mapping[str, list[str]],
    method: str,
    path: str,
    mode: GenerationMode,
) -> None:
    operation = described[path][method]
    cases: st.SearchStrategy[Any] = operation.as_strategy(generation_mode=mode)

    statuses: set[int] = set()

    @seed(1)
    @settings(
        max_examples=EXAMPLES,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    @given(case=cases, choice=st.integers(0, 9), which=st.integers(0, 99))
    def try_one(case: Case, choice: int, which: int) -> None:
        for name, values in known.items():
            if name in case.path_parameters and choice < 7:
                case.path_parameters[name] = values[which % len(values)]
        response = case.call(
            base_url=weir.base_url, headers={"Authorization": f"Bearer {weir.admin_key}"}
        )
        statuses.add(response.status_code)
        case.validate_response(response, checks=CHECKS)

    try_one()
    if mode is GenerationMode.POSITIVE:
        assert statuses & {200, 201}, f"nothing came through: {statuses}"
