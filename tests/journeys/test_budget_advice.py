"""`weir budgets advice`: the same from a running gateway, over HTTP, and from its files."""

import json
import time
from pathlib import Path
from typing import Any

from telemetry.warehouse import Warehouse
from tests.journeys.gateway_process import SCRIPTED_CONFIG, GatewayProcess, gateway
from tests.unit.telemetry.events import make_event, rows_of

HOUR_MS = 3_600_000


def fill(weir: GatewayProcess, runs: int) -> None:
    """Finished runs of two requests each, as a gateway would have left them: 1 to `runs` cents."""
    weir.data.mkdir()
    end_ms = int(time.time()) * 1000 - 2 * HOUR_MS
    events = []
    for number in range(2 * runs):
        at_ms = end_ms - number * 60_000
        cost_nano = (number // 2 + 1) * 5_000_000
        fields: dict[str, Any] = {"team": "lab", "workflow": "triage", "reserved_nano": cost_nano}
        fields |= {"admitted_ms": at_ms, "ended_ms": at_ms + 1_000, "cost_nano": cost_nano}
        events.append(make_event(number, run_id=f"run-{number // 2}", **fields))
    with Warehouse.open(weir.data / "weir.duckdb") as warehouse:
        warehouse.insert_batch("ledger", rows_of(*events))


def test_advice_is_the_same_from_a_running_gateway_and_from_its_files(tmp_path: Path) -> None:
    weir = GatewayProcess(tmp_path, SCRIPTED_CONFIG)
    fill(weir, 120)
    try:
        weir.start()
        told = weir.command("budgets", "advice", "--json")
        assert told.returncode == 0, told.stderr
        [row] = json.loads(told.stdout)["workflows"]
        # The 119th of 120, which is the first that two in a hundred of 121 lie beyond.
        assert (row["workflow"], row["runs"], row["cap_nano"]) == ("lab/triage", 120, 119 * 10**7)
        assert (row["stopped"]["runs"], row["median_nano"]) == (1, 60 * 10**7)
        few = weir.admin("budgets", "advice?workflow=lab/triage&days=30&stop_share=0.005")
        assert (few["runs_needed"], few["workflows"][0]["missing_runs"]) == (199, 79)
        shown = weir.command("budgets", "advice", "--stop-share", "0.005").stdout
        assert "too few: 79 more runs needed" in shown
        assert weir.command("budgets", "advice", "--workflow", "lab/nothing").returncode == 1
        key = {"Authorization": f"Bearer {weir.admin_key}"}
        wrong = weir.ask("GET", "/admin/budgets/advice?days=never", **key)
        assert (wrong.status, wrong.error["param"]) == (400, "days")
        assert weir.stop() == 0
        assert json.loads(weir.command("budgets", "advice", "--json").stdout) == json.loads(
            told.stdout
        )
        assert weir.command("budgets", "advice", "--days", "0").returncode == 2
    finally:
        weir.clean_up()


def test_a_run_with_a_request_under_way_has_not_ended(tmp_path: Path) -> None:
    with gateway(tmp_path, SCRIPTED_CONFIG) as weir:
        headers = {"x-weir-run": "slow", "x-weir-workflow": "notes"}
        stream = weir.stream("#weir:chunks=400,delay_ms=50", headers=headers, max_tokens=2_000)
        assert stream.status == 200
        weir.kill()
        warehouse_file = weir.data / "weir.duckdb"
        at_ms = int(time.time()) * 1000 - 2 * HOUR_MS
        fields: dict[str, Any] = {"team": "demo", "workflow": "notes", "admitted_ms": at_ms}
        ended = [
            make_event(1, run_id="slow", ended_ms=at_ms + 1, **fields),
            make_event(2, run_id="done", ended_ms=at_ms + 1, **fields),
        ]
        with Warehouse.open(warehouse_file) as warehouse:
            warehouse.insert_batch("ledger", rows_of(*ended))
        # The hold of the request that died is still there, so its run is not told as ended.
        [row] = json.loads(weir.command("budgets", "advice", "--json").stdout)["workflows"]
        assert (row["runs"], row["left_out"]["unfinished"]) == (1, 1)
