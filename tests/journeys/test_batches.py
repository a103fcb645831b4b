"""Files and batches through a real gateway: what they cost is what the provider bills, once."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest
from openai import NotFoundError

from budgets.money import nano_from_usd
from tests.contracts.upstreams import ScriptedServer
from tests.journeys.batching import (
    URL,
    ask,
    billed_nano,
    config,
    create,
    ended,
    jsonl,
    line,
    lines,
    provider,
    sdk,
    upload,
    working,
)
from tests.journeys.gateway_process import GatewayProcess, assert_clean, gateway, wait_for


@pytest.fixture
def up() -> Iterator[ScriptedServer]:
    with provider() as server:
        yield server


@pytest.fixture
def weir(up: ScriptedServer, tmp_path: Path) -> Iterator[GatewayProcess]:
    """A gateway that looks after batches only when it is asked."""
    with gateway(tmp_path, config(up)) as running:
        yield running
        assert_clean(running)


def row_of(weir: GatewayProcess, answer: Any) -> dict[str, Any]:
    return weir.request(answer.headers["x-weir-request-id"])


def test_the_whole_story_with_the_real_sdk(up: ScriptedServer, weir: GatewayProcess) -> None:
    client = sdk(weir)
    made = [*lines(4), line(4, "#weir:status=400"), line(5, "two words", max_tokens=1)]
    file = client.files.create(file=("in.jsonl", jsonl(made)), purpose="batch")
    assert [one.id for one in client.files.list(purpose="batch")] == [file.id]
    raw = client.batches.with_raw_response.create(
        input_file_id=file.id,
        endpoint=URL,
        completion_window="24h",
        metadata={"weir_workflow": "nightly", "note": "mine"},
    )
    batch = raw.parse()
    held_nano = nano_from_usd(raw.headers["x-weir-reserved-usd"])
    wait_for(lambda: client.batches.retrieve(batch.id).status == "completed", "the end")
    polled = [client.batches.with_raw_response.retrieve(batch.id) for _ in range(3)]
    found = polled[-1].parse()
    assert found.metadata == {"weir_workflow": "nightly", "note": "mine"}
    assert found.request_counts is not None and found.request_counts.failed == 1
    assert found.output_file_id is not None and found.error_file_id is not None
    answers = client.files.content(found.output_file_id).text.splitlines()
    assert len(answers) == 5
    assert len(client.files.content(found.error_file_id).text.splitlines()) == 1
    cost_nano = nano_from_usd(polled[-1].headers["x-weir-cost-usd"])
    row = row_of(weir, polled[-1])
    assert row["cost_nano"] == cost_nano == billed_nano(up) <= held_nano == row["reserved_nano"]
    assert (row["batch_requests"], row["batch_failed"], row["workflow"]) == (5, 1, "nightly")
    assert (row["route"], row["model"], row["usage_source"]) == (
        "batch.chat.completions",
        "tiny",
        "provider",
    )
    assert (row["ending"], row["upstream_request_id"]) == ("completed", batch.id)
    assert assert_clean(weir)["ledger_nano"] == cost_nano
    listed = client.batches.list(limit=5)
    assert [(one.id, one.status) for one in listed] == [(batch.id, "completed")]
    assert {one.purpose for one in client.files.list()} == {"batch", "batch_output"}
    assert client.files.delete(file.id).deleted
    with pytest.raises(NotFoundError):
        client.files.retrieve(file.id)


@pytest.mark.parametrize(
    ("script", "status", "ending", "code", "done"),
    [
        ("end=failed", "failed", "upstream_failed", "batch_failed", 0),
        ("end=expired,done=2", "expired", "deadline_hit", "batch_expired", 2),
        ("end=cancelled,done=0", "cancelled", "client_gone", "batch_cancelled", 0),
        ("usage=wrong", "completed", "completed", "", 4),
    ],
)
def test_however_it_ends_it_costs_what_was_done(
    up: ScriptedServer,
    weir: GatewayProcess,
    script: str,
    status: str,
    ending: str,
    code: str,
    done: int,
) -> None:
    created = create(weir, upload(weir, lines(4)), script)
    answer = ended(weir, created)
    assert answer.json["status"] == status
    row = row_of(weir, answer)
    assert row["cost_nano"] == billed_nano(up) == nano_from_usd(answer.headers["x-weir-cost-usd"])
    assert (row["ending"], row["error_code"], row["basis"]) == (ending, code, "settled")
    assert (row["batch_requests"], row["batch_failed"]) == (done, 4 - done)
    assert ("usage_reported" in row["decision_json"]) is (script == "usage=wrong")


def test_a_cancelled_batch_pays_for_what_it_did(up: ScriptedServer, weir: GatewayProcess) -> None:
    created = create(weir, upload(weir, lines(4)), "done=3,end=never")
    working(weir, created, 3)
    cancelled = ask(weir, "POST", f"/v1/batches/{created.json['id']}/cancel")
    assert cancelled.json["status"] in ("cancelling", "cancelled")
    answer = ended(weir, created)
    row = row_of(weir, answer)
    assert (answer.json["status"], row["batch_requests"], row["batch_failed"]) == (
        "cancelled",
        3,
        1,
    )
    assert row["cost_nano"] == billed_nano(up) > 0


def test_without_its_output_a_batch_costs_what_it_reports_or_what_was_held(
    up: ScriptedServer, weir: GatewayProcess
) -> None:
    file_id = upload(weir, lines(2))
    row = row_of(weir, ended(weir, create(weir, file_id, "output=lost")))
    assert (row["cost_nano"], row["usage_source"]) == (billed_nano(up), "estimated")
    row = row_of(weir, ended(weir, create(weir, file_id, "output=lost,usage=none")))
    assert (row["cost_nano"], row["usage_source"]) == (row["reserved_nano"], "assumed")


def test_a_line_that_does_not_tell_its_usage_is_charged_at_its_bound(
    up: ScriptedServer, weir: GatewayProcess
) -> None:
    created = create(weir, upload(weir, [line(0), line(1, "#weir:usage=none")]), "usage=none")
    row = row_of(weir, ended(weir, created))
    assert row["usage_source"] == "estimated"
    assert billed_nano(up) < row["cost_nano"] <= row["reserved_nano"]


def test_a_batch_that_the_provider_refuses_costs_nothing(
    up: ScriptedServer, weir: GatewayProcess
) -> None:
    refused = create(weir, upload(weir, lines(2)), "status=429")
    assert refused.status == 429
    row = row_of(weir, refused)
    assert (row["cost_nano"], row["ending"], row["status"]) == (0, "upstream_failed", 429)
    assert ask(weir, "GET", "/v1/batches").json["data"] == []


@pytest.mark.parametrize("script", ["accept=silent", "status=500"])
def test_a_batch_of_which_nobody_knows_stays_held(
    up: ScriptedServer, weir: GatewayProcess, script: str
) -> None:
    created = create(weir, upload(weir, lines(2)), script)
    assert (created.status, created.error["code"]) == (502, "batch_uncertain")
    assert created.headers["x-should-retry"] == "false"
    [request_id] = [word for word in created.error["message"].split() if word.startswith("req_")]
    weir.stop()
    weir.start()
    row = weir.request(request_id)
    assert (row["basis"], row["cost_nano"]) == ("assumed", row["reserved_nano"])


def test_a_batch_whose_acceptance_was_lost_is_found_and_becomes_its_teams(
    up: ScriptedServer, tmp_path: Path
) -> None:
    with gateway(tmp_path, config(up, poll_s=0.2)) as weir:
        file_id = upload(weir, lines(3))
        created = create(weir, file_id, "accept=silent,after_ms=300")
        assert created.error["code"] == "batch_uncertain"
        wait_for(lambda: bool(ask(weir, "GET", "/v1/batches").json["data"]), "the batch")
        [found] = ask(weir, "GET", "/v1/batches").json["data"]
        path = f"/v1/batches/{found['id']}"
        wait_for(lambda: "x-weir-cost-usd" in ask(weir, "GET", path).headers, "its cost")
        row = row_of(weir, ask(weir, "GET", path))
        assert (row["cost_nano"], row["batch_requests"]) == (billed_nano(up), 3)
        assert assert_clean(weir)["entries"] == 1


def test_a_batch_is_settled_though_nobody_asks_for_it(up: ScriptedServer, tmp_path: Path) -> None:
    with gateway(tmp_path, config(up, poll_s=0.2)) as weir:
        created = create(weir, upload(weir, lines(3)), "after_ms=300")
        row = weir.ended(created.request_id)
        assert (row["cost_nano"], row["batch_requests"]) == (billed_nano(up), 3)
        assert_clean(weir)


def test_a_restart_charges_the_most_until_the_truth_is_known(
    up: ScriptedServer, tmp_path: Path
) -> None:
    with gateway(tmp_path, config(up, poll_s=0.2)) as weir:
        created = create(weir, upload(weir, lines(3)), "done=3,end=never")
        working(weir, created, 3)
        weir.kill()
        weir.start()
        row = weir.request(created.request_id)
        assert (row["basis"], row["cost_nano"]) == ("assumed", row["reserved_nano"])
        assert_clean(weir)
        ask(weir, "POST", f"/v1/batches/{created.json['id']}/cancel")
        wait_for(lambda: weir.request(created.request_id)["basis"] == "corrected", "the correction")
        row = weir.request(created.request_id)
        assert (row["cost_nano"], row["batch_requests"]) == (billed_nano(up), 3)
        answer = ended(weir, created)
        assert nano_from_usd(answer.headers["x-weir-cost-usd"]) == billed_nano(up)
        assert assert_clean(weir)["ledger_nano"] == billed_nano(up)


def test_a_gateway_that_is_killed_before_it_wrote_a_batch_down_charges_the_most(
    up: ScriptedServer, tmp_path: Path
) -> None:
    with gateway(tmp_path, config(up)) as weir:
        file_id = upload(weir, lines(3))
        with ThreadPoolExecutor(1) as pool:
            asking = pool.submit(create, weir, file_id, "accept=late")
            wait_for(lambda: len(up.bill()) == 3, "the provider's work")
            weir.kill()
            with pytest.raises((HTTPException, ConnectionError)):
                asking.result()
        weir.start()
        assert ask(weir, "GET", "/v1/batches").json["data"] == []
        report = assert_clean(weir)
        assert (report["entries"], report["ledger_nano"] >= billed_nano(up)) == (1, True)
        weir.stop()
        [event] = weir.events()
        assert (event["kind"], event["usage_source"]) == ("assumed", "assumed")
        assert (event["cost_nano"], event["batch_requests"]) == (event["reserved_nano"], 3)


def test_a_file_is_bounded_again_where_its_price_is_another_now(
    up: ScriptedServer, tmp_path: Path
) -> None:
    with gateway(tmp_path, config(up)) as weir:
        file_id = upload(weir, lines(2))
        before = create(weir, file_id).headers["x-weir-reserved-usd"]
        weir.stop()
        told = weir.config.read_text()
        weir.config.write_text(
            told.replace('input = "1", output = "2"', 'input = "2", output = "4"')
        )
        weir.start()
        after = create(weir, file_id).headers["x-weir-reserved-usd"]
        assert nano_from_usd(after) == 2 * nano_from_usd(before)


def test_another_team_finds_nothing(up: ScriptedServer, weir: GatewayProcess) -> None:
    file_id = upload(weir, lines(1))
    batch = ended(weir, create(weir, file_id))
    output_id = batch.json["output_file_id"]
    key, _ = weir.make_key("others")
    stranger = {"Authorization": f"Bearer {key}"}
    paths = [f"/v1/files/{one}{end}" for one in (file_id, output_id) for end in ("", "/content")]
    for path in (*paths, f"/v1/batches/{batch.json['id']}"):
        unknown = path.replace(file_id, "file-x").replace(output_id, "file-x")
        unknown = unknown.replace(batch.json["id"], "batch_x")
        answers = [ask(weir, "GET", one, **stranger) for one in (path, unknown)]
        assert [answer.status for answer in answers] == [404, 404]
        told = [answer.error["message"].rpartition(":")[0] for answer in answers]
        assert told[0] == told[1]
        assert ask(weir, "GET", path).status == 200
    assert ask(weir, "DELETE", f"/v1/files/{file_id}", **stranger).status == 404
    cancel = f"/v1/batches/{batch.json['id']}/cancel"
    assert ask(weir, "POST", cancel, **stranger).status == 404
    assert create(weir, file_id, **stranger).error["code"] == "object_not_found"
    for kind in ("files", "batches"):
        assert ask(weir, "GET", f"/v1/{kind}", **stranger).json["data"] == []
    own = upload(weir, lines(1), key)
    assert [one.id for one in sdk(weir, key).files.list()] == [own]
