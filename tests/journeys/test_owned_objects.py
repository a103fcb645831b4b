"""What a provider keeps belongs to one team, at every gateway and after a restart."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.contracts.redis_server import RedisServer
from tests.journeys.gateway_process import (
    IN_REDIS,
    Answer,
    GatewayProcess,
    assert_clean,
    gateway,
    on_redis,
    sse_data,
    upstream_config,
    wait_for,
)
from tests.journeys.upstream import Play, Upstream

REDIS = f"{IN_REDIS}timeout_ms = 5_000\n"
INPUT_NANO, WINDOW_TOKENS = 1_000, 100_000
NOT_FOUND = (404, "previous_response_not_found")


def config(up: Upstream) -> str:
    speaking = '[providers.up]\ndialects = ["chat", "responses"]'
    return upstream_config(up.base_url).replace("[providers.up]", speaking, 1)


def answering(response_id: str) -> Play:
    """A response of this id, whole and streamed."""
    used = {"input_tokens": 7, "output_tokens": 5, "total_tokens": 12}
    done = {
        "id": response_id,
        "object": "response",
        "status": "completed",
        "output": [],
        "usage": used,
    }
    begun = {"type": "response.created", "response": {**done, "status": "in_progress"}}
    ended = {"type": "response.completed", "response": done}
    pieces = [
        f"event: {one['type']}\ndata: {json.dumps(one)}\n\n".encode() for one in (begun, ended)
    ]
    return Play(body=json.dumps(done).encode(), pieces=tuple(pieces))


def respond(weir: GatewayProcess, key: str, **fields: Any) -> Answer:
    body = json.dumps({"model": "auto", "input": "Hello", **fields}).encode()
    return weir.ask("POST", "/v1/responses", body, Authorization=f"Bearer {key}")


def go_on(weir: GatewayProcess, key: str, response_id: str) -> tuple[int, str]:
    """Status and code of a request that goes on from a response."""
    answer = respond(weir, key, previous_response_id=response_id)
    return answer.status, "" if answer.status == 200 else answer.error["code"]


def held_tokens(weir: GatewayProcess, key: str, response_id: str, collector: GatewayProcess) -> int:
    """What a request that goes on from a response had set aside, in tokens of input."""
    answer = respond(weir, key, previous_response_id=response_id, max_output_tokens=10)
    return int(collector.ended(answer.request_id)["reserved_nano"]) // INPUT_NANO


@pytest.mark.redis
def test_a_response_made_at_one_gateway_is_its_teams_at_the_other(
    server: RedisServer, up: Upstream, tmp_path: Path
) -> None:
    env = on_redis(server)
    with (
        gateway(tmp_path / "a", config(up) + REDIS, env) as first,
        gateway(tmp_path / "b", config(up) + REDIS, env) as second,
    ):
        ours, _ = first.make_key("lab")
        theirs, _ = first.make_key("ops")
        wait_for(lambda: second.chat(key=theirs).status == 200, "the keys at the other")
        for number, stream in enumerate((False, True)):
            made = f"resp_{number}"
            up.play = answering(made)
            answer = respond(first, ours, stream=stream)
            assert answer.status == 200
            assert not stream or sse_data(answer.body)[-1]["response"]["id"] == made
            up.play = answering("resp_next")
            seen = len(up.seen)
            assert go_on(second, theirs, made) == NOT_FOUND
            assert go_on(first, theirs, made) == NOT_FOUND
            assert len(up.seen) == seen, "nothing was sent"
            assert go_on(second, ours, made) == (200, "")
            assert held_tokens(second, ours, made, first) < 1_000, "its use is known"
        assert held_tokens(second, ours, "resp_unknown", first) >= WINDOW_TOKENS
        assert respond(first, ours, conversation="conv_1").status == 200
        refused = respond(second, theirs, conversation="conv_1")
        assert (refused.status, refused.error["code"]) == (404, "conversation_not_found")
        assert respond(second, ours, conversation="conv_1").status == 200
        assert_clean(first)


def test_a_response_is_its_teams_after_a_restart_from_a_file(up: Upstream, tmp_path: Path) -> None:
    with gateway(tmp_path, config(up)) as weir:
        ours, _ = weir.make_key("lab")
        theirs, _ = weir.make_key("ops")
        up.play = answering("resp_1")
        assert respond(weir, ours).status == 200
        up.play = answering("resp_2")
        assert respond(weir, ours, store=False).status == 200
        weir.kill()
        weir.start()
        up.play = answering("resp_next")
        assert go_on(weir, theirs, "resp_1") == NOT_FOUND
        assert go_on(weir, ours, "resp_1") == (200, "")
        assert go_on(weir, theirs, "resp_2") == (200, ""), "the provider does not keep it"
        assert_clean(weir)


@pytest.mark.redis
def test_without_redis_a_request_that_names_what_is_not_remembered_is_not_sent(
    server: RedisServer, up: Upstream, tmp_path: Path
) -> None:
    with gateway(tmp_path, config(up) + REDIS, on_redis(server)) as weir:
        up.play = answering("resp_1")
        assert respond(weir, weir.key).status == 200
        server.kill()
        seen = len(up.seen)
        answer = respond(weir, weir.key, previous_response_id="resp_elsewhere")
        assert (answer.status, answer.error["code"]) == (503, "owner_unavailable")
        assert len(up.seen) == seen
