"""Every limit of time ends a call to a real server that keeps it waiting, at the right cost."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.faults.upstreams import assert_at_rest, model, provider, refused, tier, unanswered
from tests.journeys.gateway_process import GatewayProcess, gateway
from tests.journeys.upstream import Play, Upstream, upstream

SHORT = "connect_s = 0.3, first_byte_s = 0.5, idle_s = 0.5, total_s = 1.5"
INPUT_NANO, OUTPUT_NANO = 1_000, 2_000
MAX_TOKENS = 20


@pytest.fixture(scope="module")
def up() -> Iterator[Upstream]:
    with upstream() as server:
        yield server


@pytest.fixture(scope="module")
def weir(up: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("timeouts")
    with ExitStack() as stack:
        full, none = stack.enter_context(unanswered()), stack.enter_context(refused())
        text = "[server]\nretry_wait_ms = 0\n"
        for name, url in (("here", up.base_url), ("full", full), ("none", none)):
            text += provider(name, url, SHORT) + model(name, provider=f'"{name}"')
        yield stack.enter_context(gateway(folder, text + tier("here", "full", "none")))


@pytest.mark.parametrize(
    ("name", "words"), [("none", "cannot connect"), ("full", "no connection within 0.3 s")]
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_provider_that_is_never_reached_costs_nothing(
    weir: GatewayProcess, name: str, words: str, stream: bool
) -> None:
    answer = weir.chat(model=name, stream=stream, max_tokens=MAX_TOKENS)
    assert (answer.status, answer.error["code"]) == (502, "upstream_unreachable")
    assert words in answer.error["message"]
    row = weir.ended(answer.request_id)
    assert (row["cost_nano"], row["usage_source"]) == (0, "none")
    [tried] = row["attempt_rows"]
    assert (tried["provider"], tried["fault"], tried["cost_nano"]) == (name, "connect", 0)
    assert_at_rest(weir)


def slow_start() -> Play:
    return Play(first_delay_s=30)


def falls_silent() -> Play:
    return Play(tokens=MAX_TOKENS, stall_after=3)


def never_ends() -> Play:
    return Play(tokens=1_000, delay_s=0.1, obey_limit=False)


def test_a_whole_answer_that_does_not_begin_is_charged_as_long_as_allowed(
    weir: GatewayProcess, up: Upstream
) -> None:
    up.play = slow_start()
    answer = weir.chat(model="here", max_tokens=MAX_TOKENS)
    assert (answer.status, answer.error["code"]) == (504, "upstream_timeout")
    assert "no response began in time" in answer.error["message"]
    row = weir.ended(answer.request_id)
    assert (row["output_tokens"], row["usage_source"]) == (MAX_TOKENS, "estimated")
    assert 0 < row["cost_nano"] <= row["reserved_nano"]
    [tried] = row["attempt_rows"]
    assert (tried["fault"], tried["status"]) == ("first_byte_timeout", 0)
    assert tried["cost_nano"] == row["cost_nano"]
    assert 450 <= tried["took_ms"] <= 5_000
    assert_at_rest(weir)


@pytest.mark.parametrize(
    ("play", "words", "least", "most"),
    [(falls_silent, "fell silent", 3, 3), (never_ends, "took too long", 5, MAX_TOKENS)],
)
def test_a_stream_that_stops_or_never_ends_is_ended_with_an_error_event(
    weir: GatewayProcess,
    up: Upstream,
    play: Callable[[], Play],
    words: str,
    least: int,
    most: int,
) -> None:
    up.play = play()
    answer = weir.chat(model="here", stream=True, max_tokens=MAX_TOKENS)
    assert answer.status == 200
    last = answer.body.rstrip().split(b"\n\n")[-1]
    assert last.startswith(b"event: error\n")
    error = json.loads(last.partition(b"data: ")[2])["error"]
    assert (error["code"], words in error["message"]) == ("upstream_timeout", True)
    row = weir.ended(answer.request_id)
    assert (row["ending"], row["usage_source"]) == ("deadline_hit", "estimated")
    assert least <= row["output_tokens"] <= most
    assert row["cost_nano"] <= row["reserved_nano"]
    assert_at_rest(weir)


def test_after_all_of_it_a_request_is_answered_as_ever(weir: GatewayProcess, up: Upstream) -> None:
    up.play = Play(tokens=5)
    row = weir.ended(weir.chat(model="here", max_tokens=MAX_TOKENS).request_id)
    assert row["cost_nano"] == INPUT_NANO * 7 + OUTPUT_NANO * 5
    [tried] = row["attempt_rows"]
    assert (tried["status"], tried["fault"], tried["cost_nano"]) == (200, "", row["cost_nano"])
    text = weir.command("explain", row["request_id"]).stdout
    assert "attempts\n  1. here (here at here): status 200 in " in text


def test_no_config_key_can_turn_the_limits_off(tmp_path: Path) -> None:
    folder = tmp_path / "config"
    text = provider("here", "http://127.0.0.1:1/v1", "idle_s = 0") + model("m", provider='"here"')
    process = GatewayProcess(folder, text + tier("m"))
    checked = process.command("check")
    assert checked.returncode != 0
    assert "providers.here.timeouts.idle_s" in checked.stdout + checked.stderr
