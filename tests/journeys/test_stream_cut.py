"""Providers that do not keep to the agreement: too long, broken off, silent, or without a count."""

from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI

from tests.journeys.gateway_process import (
    Answer,
    GatewayProcess,
    assert_clean,
    budget,
    gateway,
    sse_data,
    upstream_config,
    wait_for,
)
from tests.journeys.upstream import PROMPT_TOKENS, Play, Upstream, event, upstream, usage

INPUT_NANO, OUTPUT_NANO = 1_000, 2_000
LET_GO_WITHIN_S = 2.0
MAX_TOKENS = 30


@pytest.fixture(scope="module")
def up() -> Iterator[Upstream]:
    with upstream() as server:
        yield server


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, up: Upstream) -> Iterator[GatewayProcess]:
    timeouts = "idle_s = 1.5\nfirst_byte_s = 3"
    config = upstream_config(up.base_url, budget("key:*", "50"), timeouts=timeouts)
    with gateway(tmp_path_factory.mktemp("weir"), config) as weir:
        yield weir
        assert_clean(weir)
        [account] = weir.admin("budgets")["budgets"]
        assert account["held_nano"] == 0


@pytest.fixture
def weir(running: GatewayProcess, up: Upstream) -> GatewayProcess:
    """The gateway with a provider that is well again after what the test before did to it."""
    up.play = Play()
    wait_for(lambda: running.chat(max_tokens=1).status == 200, "the provider is used again")
    up.bill.clear()
    up.aborted = 0
    return running


def asked(weir: GatewayProcess, *, stream: bool = True, **fields: Any) -> tuple[Answer, Any]:
    """One request and its row."""
    answer = weir.chat(stream=stream, **{"max_tokens": MAX_TOKENS, **fields})
    return answer, weir.ended(answer.request_id)


def error_event(answer: Answer) -> dict[str, Any]:
    """The error at the end of a stream, as an event of its own kind."""
    assert answer.body.count(b"event: error\ndata: ") == 1
    error = sse_data(answer.body)[-1]["error"]
    assert {"message", "type", "param", "code"} <= set(error)
    assert isinstance(error, dict)
    return error


# -- too long ---------------------------------------------------------------------------------


def test_a_stream_that_ignores_its_limit_is_cut_at_what_was_reserved(
    weir: GatewayProcess, up: Upstream
) -> None:
    up.play = Play(tokens=100_000, obey_limit=False, delay_s=0.002)
    answer, row = asked(weir)
    assert answer.status == 200
    assert error_event(answer)["code"] == "budget_exceeded"
    assert b"[DONE]" not in answer.body
    wait_for(lambda: up.aborted == 1, "the upstream is let go", LET_GO_WITHIN_S)
    assert answer.body.count(b"water") == MAX_TOKENS
    assert (row["ending"], row["error_code"], row["usage_source"]) == (
        "killed",
        "budget_exceeded",
        "estimated",
    )
    assert 0 < row["cost_nano"] <= row["reserved_nano"]
    assert row["all_output_tokens"] == MAX_TOKENS


def test_a_flood_is_cut_at_the_same_place(weir: GatewayProcess, up: Upstream) -> None:
    """However the events are packed, what is charged for has reached the client."""
    flood = b"".join([event({"content": " water"})] * 1_000)
    for pieces in ((flood,), split(flood, 3_000), split(flood, 100)):
        up.play = Play(pieces=pieces)
        answer, row = asked(weir)
        assert (row["ending"], row["all_output_tokens"]) == ("killed", MAX_TOKENS)
        assert answer.body.count(b"water") == MAX_TOKENS


def test_the_sdk_raises_what_the_cut_says(weir: GatewayProcess, up: Upstream) -> None:
    up.play = Play(tokens=1_000, obey_limit=False, delay_s=0.002)
    client = OpenAI(
        base_url=f"{weir.base_url}/v1",
        api_key=weir.key,
        http_client=httpx.Client(trust_env=False),
    )
    stream = client.chat.completions.create(
        model="auto",
        messages=[{"role": "user", "content": "Hello"}],
        max_tokens=MAX_TOKENS,
        stream=True,
    )
    text = ""
    with pytest.raises(openai.APIError, match="reached the") as caught:
        for chunk in stream:
            text += chunk.choices[0].delta.content or ""
    assert text.count("water") >= MAX_TOKENS
    assert caught.value.code == "budget_exceeded"


def test_one_long_event_of_many_tokens_is_cut_as_well(weir: GatewayProcess, up: Upstream) -> None:
    up.play = Play(tokens=50, word=" water" * 25, obey_limit=False, delay_s=0.01)
    answer, row = asked(weir)
    assert error_event(answer)["code"] == "budget_exceeded"
    assert row["ending"] == "killed"
    assert row["cost_nano"] <= row["reserved_nano"]
    wait_for(lambda: up.aborted == 1, "the upstream is let go", LET_GO_WITHIN_S)


def test_a_whole_answer_above_its_limit_is_posted_in_full_and_counted_as_overrun(
    weir: GatewayProcess, up: Upstream
) -> None:
    up.play = Play(tokens=1_000, obey_limit=False)
    answer, row = asked(weir, stream=False)
    assert answer.status == 200
    assert row["cost_nano"] == INPUT_NANO * PROMPT_TOKENS + OUTPUT_NANO * 1_000
    assert row["overrun_nano"] == row["cost_nano"] - row["reserved_nano"] > 0


# -- without a count --------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
def test_an_answer_without_usage_is_estimated_and_says_so(
    weir: GatewayProcess, up: Upstream, stream: bool
) -> None:
    up.play = Play(tokens=12, report_usage=False)
    answer, row = asked(weir, stream=stream)
    assert answer.status == 200
    assert (row["usage_source"], row["ending"]) == ("estimated", "completed")
    assert 12 <= row["all_output_tokens"] <= 14
    assert 0 < row["input_tokens"] < 40
    assert 0 < row["cost_nano"] <= row["reserved_nano"]


@pytest.mark.parametrize(
    "report",
    [
        {"prompt_tokens": -1, "completion_tokens": 3},
        {"prompt_tokens": "7", "completion_tokens": 3},
        {"completion_tokens": 3},
        {"prompt_tokens": 7, "completion_tokens": 10**30},
        {"prompt_tokens": 7, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 9}},
        ["seven"],
    ],
)
def test_a_usage_report_that_cannot_be_right_is_not_believed(
    weir: GatewayProcess, up: Upstream, report: Any
) -> None:
    pieces = (event({"content": " one two"}), event(None, usage=report), b"data: [DONE]\n\n")
    up.play = Play(pieces=pieces)
    answer, row = asked(weir)
    assert answer.status == 200
    assert (row["usage_source"], row["ending"]) == ("estimated", "completed")
    assert 0 < row["cost_nano"] <= row["reserved_nano"]


# -- broken off and silent --------------------------------------------------------------------


def test_a_stream_that_breaks_ends_with_an_error_and_is_paid_as_far_as_it_came(
    weir: GatewayProcess, up: Upstream
) -> None:
    up.play = Play(tokens=20, break_after=8, delay_s=0.005)
    answer, row = asked(weir)
    assert error_event(answer)["code"] == "upstream_broken"
    assert (row["ending"], row["error_code"]) == ("upstream_failed", "upstream_broken")
    # What was on its way when the connection broke may be lost, as it is for the client.
    received = answer.body.count(b"water")
    assert 0 < received <= 8
    assert row["all_output_tokens"] == received


def test_a_stream_that_falls_silent_is_ended_by_the_time_limit(
    weir: GatewayProcess, up: Upstream
) -> None:
    up.play = Play(tokens=20, stall_after=8)
    answer, row = asked(weir)
    assert error_event(answer)["code"] == "upstream_timeout"
    assert (row["ending"], row["all_output_tokens"]) == ("deadline_hit", 8)
    wait_for(lambda: up.aborted == 1, "the upstream is let go", LET_GO_WITHIN_S)


def test_a_whole_answer_that_breaks_is_billed_as_if_it_were_as_long_as_allowed(
    weir: GatewayProcess, up: Upstream
) -> None:
    """It had been made when its first byte came; how long it was, nobody knows here."""
    up.play = Play(tokens=20, break_after=0)
    answer, row = asked(weir, stream=False)
    assert (answer.status, answer.error["code"]) == (502, "upstream_broken")
    assert (row["ending"], row["usage_source"]) == ("upstream_failed", "estimated")
    assert row["all_output_tokens"] == MAX_TOKENS
    assert row["cost_nano"] <= row["reserved_nano"]


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
def test_a_provider_that_does_not_begin_is_a_504(
    weir: GatewayProcess, up: Upstream, stream: bool
) -> None:
    up.play = Play(first_delay_s=30)
    answer, row = asked(weir, stream=stream)
    assert (answer.status, answer.error["code"]) == (504, "upstream_timeout")
    assert (row["error_code"], row["usage_source"]) == ("upstream_timeout", "estimated")
    # A whole answer may have been made by then; of a stream nothing had begun.
    assert row["all_output_tokens"] == (0 if stream else MAX_TOKENS)
    wait_for(lambda: up.aborted == 1, "the upstream is let go", LET_GO_WITHIN_S)


@pytest.mark.parametrize("status", [400, 404, 422])
@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
def test_a_refusal_of_the_provider_reaches_the_client_as_it_is_and_costs_nothing(
    weir: GatewayProcess, up: Upstream, status: int, stream: bool
) -> None:
    body = b'{"error": {"message": "no", "type": "t", "param": "x", "code": "c"},  "more": 1}'
    up.play = Play(status=status, body=body, headers={"x-ratelimit-remaining-tokens": "7"})
    answer, row = asked(weir, stream=stream)
    assert (answer.status, answer.body) == (status, body)
    assert answer.headers["x-ratelimit-remaining-tokens"] == "7"
    assert (row["status"], row["cost_nano"], row["usage_source"]) == (status, 0, "none")
    assert (row["ending"], row["error_code"]) == ("upstream_failed", f"upstream_{status}")


# -- byte for byte ----------------------------------------------------------------------------


def split(whole: bytes, size: int) -> tuple[bytes, ...]:
    return tuple(whole[at : at + size] for at in range(0, len(whole), size))


TEXTS = ("Gr\u00fc\u00dfe ", "\u4f60\u597d ", "\U0001f9d1\u200d\U0001f692", "e\u0301")
WORDS = b"".join(event({"content": text}) for text in TEXTS)
TAIL = b"data: [DONE]\n\n"


@pytest.mark.parametrize(
    ("whole", "size"),
    [
        pytest.param(WORDS + TAIL, 7, id="characters cut in two"),
        pytest.param(WORDS + TAIL, 1_000_000, id="all in one packet"),
        pytest.param((WORDS + TAIL).replace(b"\n", b"\r\n"), 13, id="CRLF"),
        pytest.param(b": ping\n\n: pong\n\n" + WORDS + b": end\n\n" + TAIL, 11, id="comments"),
        pytest.param(b"event: note\nid: 7\nretry: 10\n" + WORDS + TAIL, 50, id="named events"),
        pytest.param(b"data: not json\n\ndata: [1]\n\n" + WORDS + TAIL, 50, id="strange data"),
        pytest.param(WORDS, 50, id="no end mark"),
        pytest.param(WORDS + b"data: [DONE]", 50, id="no last line end"),
        pytest.param(WORDS + TAIL + b": after\n\n", 50, id="bytes after the end"),
        pytest.param(
            b": " + b"x" * 5_000_000 + b"\n\n" + WORDS + TAIL, 100_000, id="a comment of 5 MB"
        ),
        pytest.param(
            event({"role": "assistant"}, blob="y" * 5_000_000) + WORDS + TAIL,
            100_000,
            id="an event of 5 MB",
        ),
    ],
)
def test_a_stream_passes_byte_for_byte(
    weir: GatewayProcess, up: Upstream, whole: bytes, size: int
) -> None:
    up.play = Play(pieces=split(whole, size), delay_s=0.0005)
    answer, row = asked(weir)
    assert answer.status == 200
    assert answer.body == whole
    assert (row["ending"], row["usage_source"]) == ("completed", "estimated")


@pytest.mark.parametrize("wanted", [True, False], ids=["asked for", "hidden"])
def test_only_the_usage_report_that_nobody_asked_for_is_taken_out(
    weir: GatewayProcess, up: Upstream, wanted: bool
) -> None:
    report = event(None, usage=usage(4))
    pieces = split(WORDS + report + TAIL, 9)
    up.play = Play(pieces=pieces)
    options = {"stream_options": {"include_usage": True}} if wanted else {}
    answer, row = asked(weir, **options)
    assert answer.body == WORDS + (report if wanted else b"") + TAIL
    assert up.seen[-1].body["stream_options"] == {"include_usage": True}
    assert (row["usage_source"], row["input_tokens"], row["all_output_tokens"]) == (
        "provider",
        PROMPT_TOKENS,
        4,
    )


def test_a_report_on_the_last_chunk_with_text_is_read_and_stays(
    weir: GatewayProcess, up: Upstream
) -> None:
    """Some servers put the report beside the last choice, or report in every chunk."""
    whole = event({"content": "a"}, usage=usage(1)) + event({}, usage=usage(2)) + TAIL
    up.play = Play(pieces=split(whole, 40))
    answer, row = asked(weir)
    assert answer.body == whole
    assert (row["usage_source"], row["all_output_tokens"]) == ("provider", 2)


def test_an_error_inside_a_stream_passes_and_is_on_record(
    weir: GatewayProcess, up: Upstream
) -> None:
    whole = WORDS + b'data: {"error":{"message":"overloaded","type":"server_error"}}\n\n'
    up.play = Play(pieces=split(whole, 60))
    answer, row = asked(weir)
    assert answer.body == whole
    assert row["ending"] == "upstream_failed"
    assert row["cost_nano"] > 0
