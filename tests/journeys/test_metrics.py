"""`/metrics` of running gateways: the counters are the ledger's, however requests end."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tests.journeys.gateway_process import (
    SCRIPTED_CONFIG,
    Answer,
    GatewayProcess,
    assert_clean,
    budget,
    gateway,
    wait_for,
)
from tests.journeys.scraping import scrape

CONFIG = SCRIPTED_CONFIG + budget("key:demo", "5", "month") + budget("workflow:*", "2", "day")
TIGHT = budget("workflow:demo/tight", "0.000010")
STREAM = "#weir:chunks=400,delay_ms=50"


def ledger_nano(weir: GatewayProcess) -> int:
    return int(assert_clean(weir)["ledger_nano"])


def settled(weir: GatewayProcess) -> bool:
    return scrape(weir).value("weir_ledger_open_holds") == 0


def test_the_counters_equal_the_ledger_to_the_nano_dollar_however_requests_end(
    tmp_path: Path,
) -> None:
    with gateway(tmp_path, CONFIG + TIGHT) as weir, ThreadPoolExecutor(16) as pool:

        def ask(number: int) -> Answer:
            what = ("Hello", "#weir:status=500", "#weir:status=429", "#weir:say=a b c d")[
                number % 4
            ]
            return weir.chat(what, max_tokens=5 + number % 3)

        answers = list(pool.map(ask, range(120)))
        assert {answer.status for answer in answers} >= {200, 500, 429}
        for _ in range(5):
            stream = weir.stream(STREAM, max_tokens=500)
            stream.read(100)
            stream.close()
        headers = {"x-weir-workflow": "tight"}
        assert weir.chat("Hello", max_tokens=100, headers=headers).status == 402
        assert weir.chat("Hello", model="no-such-model").status == 404
        assert weir.chat("Hello", key="sk-weir-wrong").status == 401
        wait_for(lambda: settled(weir), "the end of every hold")
        told = scrape(weir)
        assert told.posted_nano() == ledger_nano(weir) > 0
        assert told.posted_nano() == told.nano("weir_ledger_posted_usd")
        assert told.posted_nano() == told.nano("weir_budget_posted_usd", budget="key:demo/month")
        assert told.total("weir_requests_total") == 120 + 5 + 2
        assert told.value("weir_requests_total", ending="client_gone") == 5
        assert told.total("weir_requests_total", ending="refused", status_class="4xx") == 2
        assert told.value("weir_refusals_total", code="budget_exceeded") == 1
        assert told.value("weir_refusals_total", code="model_not_found") == 1
        assert told.value("weir_refusals_total", code="invalid_api_key") == 1
        assert told.value("weir_first_byte_seconds_count") >= 60
        # Names that clients made up are in no label.
        text = weir.ask("GET", "/metrics", Authorization=f"Bearer {weir.admin_key}").body
        assert b"no-such-model" not in text and b"sk-weir" not in text


def test_what_a_killed_gateway_left_is_counted_by_the_next_one(tmp_path: Path) -> None:
    with gateway(tmp_path, CONFIG) as weir:
        stream = weir.stream(STREAM, max_tokens=500)
        stream.read(100)
        told = scrape(weir)
        assert told.value("weir_ledger_open_holds") == told.value("weir_requests_in_flight") == 1
        held_nano = told.nano("weir_ledger_held_usd")
        assert held_nano == told.nano("weir_budget_held_usd", budget="key:demo/month") > 0
        weir.kill()
        weir.start()
        told = scrape(weir)
        assert told.value("weir_expired_holds_total", outcome="charged") == 1
        assert told.posted_nano() == held_nano == ledger_nano(weir)
        assert told.value("weir_ledger_open_holds") == told.value("weir_requests_in_flight") == 0


def test_a_budget_for_each_scope_tells_how_many_there_are_and_the_largest(tmp_path: Path) -> None:
    with gateway(tmp_path, CONFIG) as weir:
        for number in range(25):
            headers = {"x-weir-workflow": f"flow-{number:02d}"}
            weir.chat("Hello", max_tokens=5 + number, headers=headers)
        told = scrape(weir)
        assert told.value("weir_budgets") == 2
        assert told.nano("weir_budget_limit_usd", budget="workflow:*/day") == 2 * 10**9
        assert told.value("weir_budget_scopes", budget="workflow:*/day") == 25
        assert len(told.values["weir_budget_scope_posted_usd"]) == 20


def test_metrics_take_an_admin_key_unless_they_are_open_or_off(tmp_path: Path) -> None:
    def answers(weir: GatewayProcess) -> list[int]:
        keys = ({}, {"Authorization": f"Bearer {weir.key}"}, {"x-api-key": weir.admin_key})
        return [weir.ask("GET", "/metrics", **key).status for key in keys]

    with gateway(tmp_path / "key", CONFIG) as weir:
        assert answers(weir) == [401, 403, 200]
        key = {"Authorization": f"Bearer {weir.admin_key}"}
        assert weir.ask("POST", "/metrics", **key).status == 405
        accept = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.3"
        opened = weir.ask("GET", "/metrics", Accept=accept, **key)
        assert opened.headers["content-type"].startswith("application/openmetrics-text")
        families = {f.name for f in text_string_to_metric_families(opened.body.decode())}
        assert {"weir_requests", "weir_added_latency_seconds", "process_cpu_seconds"} <= families
    for access, expected in (("open", [200] * 3), ("off", [404] * 3)):
        config = f'[server]\nmetrics = "{access}"\n' + CONFIG
        with gateway(tmp_path / access, config) as weir:
            assert answers(weir) == expected


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the kernel tells nothing here")
def test_the_process_tells_its_memory_time_and_files(tmp_path: Path) -> None:
    with gateway(tmp_path, CONFIG) as weir:
        told = scrape(weir)
        assert 20e6 < told.value("process_resident_memory_bytes") < 1e9
        assert told.value("process_cpu_seconds_total") > 0
        assert 5 < told.value("process_open_fds") < told.value("process_max_fds")
        os.kill(weir.pid, signal.SIGTERM)
