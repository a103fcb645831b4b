"""A request of any dialect is read strictly; what escapes metering is refused by name."""

from typing import Any

import pytest

from gateway.dialects.completions import DEFAULT_TOKENS
from gateway.dialects.index import BY_ROUTE
from gateway.dialects.port import Dialect
from gateway.errors import ApiError
from tests.unit.gateway.dialects.requests_made import (
    ALL,
    CHAT,
    COMPLETIONS,
    COUNT_TOKENS,
    EMBEDDINGS,
    FORMS,
    MESSAGES,
    PLAIN,
    RESPONSES,
    SAID,
    SPEECH,
    read,
)


def name_of(value: object) -> str | None:
    return getattr(value, "name", None)


def refusal(dialect: Dialect, **fields: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        read(dialect, **fields)
    return caught.value


def test_every_dialect_has_a_route_of_its_own() -> None:
    assert set(BY_ROUTE) == set(PLAIN) | set(FORMS)
    assert [dialect.route for dialect in ALL] == [f"/v1{dialect.path}" for dialect in ALL]
    assert len({dialect.name for dialect in ALL}) == len(ALL)
    assert [dialect for dialect in ALL if dialect.is_free] == [COUNT_TOKENS]


@pytest.mark.parametrize("dialect", ALL, ids=name_of)
@pytest.mark.parametrize(
    ("raw", "param", "code"),
    [
        (b"{", "body", "invalid_json"),
        (b"[]", "body", "invalid_json"),
        (b'{"model":"m","x":NaN}', "body", "invalid_json"),
        (b'{"model":"m","x":1e999}', "body", "invalid_json"),
        (b'{"model":"\xff"}', "body", "invalid_json"),
        (b'{"model":"m","x":' + b"[" * 300 + b"]" * 300 + b"}", "body", "invalid_json"),
        (b'{"model":"m","model":"n"}', "model", "duplicate_key"),
        (b'{"model":"m","mod\\u0065l":"n"}', "model", "duplicate_key"),
        (b'{"model":"m","x":[{"a":1,"a":2}]}', "a", "duplicate_key"),
        (b"{}", "model", "missing_required_parameter"),
        (b'{"model":7}', "model", "invalid_type"),
        (b'{"model":""}', "model", "invalid_type"),
    ],
)
def test_a_body_that_is_no_request_is_refused_in_every_dialect(
    dialect: Dialect, raw: bytes, param: str, code: str
) -> None:
    with pytest.raises(ApiError) as caught:
        dialect.read(raw)
    assert (caught.value.status, caught.value.param, caught.value.code) == (400, param, code)


@pytest.mark.parametrize("dialect", ALL, ids=name_of)
def test_the_plainest_request_is_read(dialect: Dialect) -> None:
    request = read(dialect)
    assert (request.model, request.stream, request.choices) == ("m", dialect is SPEECH, 1)
    assert request.body == PLAIN[dialect.route]
    assert dialect.unseen(request) is None
    assert dialect.service_tier(request) == "default"


@pytest.mark.parametrize(
    ("dialect", "fields", "param", "code"),
    [
        (CHAT, {"messages": []}, "messages", "invalid_value"),
        (COMPLETIONS, {"prompt": 7}, "prompt", "invalid_type"),
        (COMPLETIONS, {"prompt": []}, "prompt", "invalid_type"),
        (COMPLETIONS, {"prompt": ["a", 1]}, "prompt", "invalid_type"),
        (COMPLETIONS, {"prompt": [True]}, "prompt", "invalid_type"),
        (COMPLETIONS, {"prompt": ["a"] * 3_000}, "prompt", "invalid_value"),
        (COMPLETIONS, {"prompt": ["a"] * 300, "best_of": 9}, "prompt", "invalid_value"),
        (COMPLETIONS, {"n": 0}, "n", "invalid_value"),
        (COMPLETIONS, {"best_of": 0}, "best_of", "invalid_value"),
        (COMPLETIONS, {"max_tokens": -1}, "max_tokens", "invalid_value"),
        (COMPLETIONS, {"max_tokens": 1.5}, "max_tokens", "invalid_value"),
        (COMPLETIONS, {"stream": 1}, "stream", "invalid_type"),
        (COMPLETIONS, {"stream_options": []}, "stream_options", "invalid_type"),
        (COMPLETIONS, {"stream": True, "echo": True}, "echo", "unsupported_parameter"),
        (EMBEDDINGS, {"input": None}, "input", "missing_required_parameter"),
        (EMBEDDINGS, {"input": []}, "input", "invalid_value"),
        (RESPONSES, {"input": None}, "input", "missing_required_parameter"),
        (RESPONSES, {"input": 7}, "input", "invalid_type"),
        (RESPONSES, {"input": ["Hi"]}, "input[0]", "invalid_type"),
        (RESPONSES, {"stream": "yes"}, "stream", "invalid_type"),
        (RESPONSES, {"stream_options": 1}, "stream_options", "invalid_type"),
        (RESPONSES, {"max_output_tokens": 0}, "max_output_tokens", "invalid_value"),
        (RESPONSES, {"max_tool_calls": -1}, "max_tool_calls", "invalid_value"),
        (RESPONSES, {"previous_response_id": 7}, "previous_response_id", "invalid_type"),
        (RESPONSES, {"background": True}, "background", "unsupported_parameter"),
        (RESPONSES, {"background": "no"}, "background", "invalid_type"),
        (RESPONSES, {"prompt": {"id": "pmpt_1"}}, "prompt", "unsupported_parameter"),
        (MESSAGES, {"messages": [{}]}, "messages[0].role", "missing_required_parameter"),
        (MESSAGES, {"messages": ["Hi"]}, "messages[0]", "invalid_type"),
        (MESSAGES, {"max_tokens": -1}, "max_tokens", "invalid_value"),
        (MESSAGES, {"max_tokens": True}, "max_tokens", "invalid_value"),
        (MESSAGES, {"stream": 0}, "stream", "invalid_type"),
        (MESSAGES, {"fallbacks": "default"}, "fallbacks", "unsupported_parameter"),
        (MESSAGES, {"speed": "fast"}, "speed", "unsupported_parameter"),
        (MESSAGES, {"inference_geo": "us"}, "inference_geo", "unsupported_parameter"),
        (MESSAGES, {"tools": [{"name": "a", "input_schema": {}}, {"type": "advisor_20260301"}]},
         "tools[1]", "unsupported_parameter"),
        (COUNT_TOKENS, {"messages": None}, "messages", "missing_required_parameter"),
        *[(dialect, {"n_predict": 9}, "n_predict", "unsupported_parameter")
          for dialect in (CHAT, COMPLETIONS, RESPONSES, MESSAGES)],
        *[(dialect, {"n_cmpl": 9}, "n_cmpl", "unsupported_parameter")
          for dialect in (CHAT, COMPLETIONS, RESPONSES, MESSAGES)],
    ],
    ids=name_of,
)  # fmt: skip
def test_a_bad_field_is_refused_by_name(
    dialect: Dialect, fields: dict[str, Any], param: str, code: str
) -> None:
    error = refusal(dialect, **fields)
    assert (error.status, error.param, error.code) == (400, param, code)
    assert error.message


@pytest.mark.parametrize(
    ("fields", "choices"),
    [
        ({}, 1),
        ({"prompt": None}, 1),
        ({"n": 3}, 3),
        ({"best_of": 4}, 4),
        ({"n": 2, "best_of": 5}, 5),
        ({"prompt": ["a", "b"], "n": 2}, 4),
        ({"prompt": [1, 2, 3]}, 1),
        ({"prompt": [[1, 2], [3]], "best_of": 2}, 4),
    ],
)
def test_every_completion_that_is_tried_is_counted(fields: dict[str, Any], choices: int) -> None:
    assert read(COMPLETIONS, **fields).choices == choices


@pytest.mark.parametrize(
    ("dialect", "fields", "limit"),
    [
        (COMPLETIONS, {}, DEFAULT_TOKENS),
        (COMPLETIONS, {"max_tokens": None}, DEFAULT_TOKENS),
        (COMPLETIONS, {"max_tokens": 0, "echo": True}, 0),
        (COMPLETIONS, {"max_tokens": 900}, 900),
        (EMBEDDINGS, {}, 0),
        (RESPONSES, {}, None),
        (RESPONSES, {"max_output_tokens": 900}, 900),
        (MESSAGES, {"max_tokens": 0}, 0),
        (MESSAGES, {"max_tokens": None}, None),
        (MESSAGES, {"max_tokens": 900}, 900),
        (COUNT_TOKENS, {}, 0),
    ],
)
def test_the_output_limit_is_the_dialect_s_own(
    dialect: Dialect, fields: dict[str, Any], limit: int | None
) -> None:
    assert read(dialect, **fields).output_tokens == limit


def test_a_completion_stream_says_whether_the_client_wants_its_usage() -> None:
    assert not read(COMPLETIONS, stream=True).wants_usage
    wanted = read(COMPLETIONS, stream=True, stream_options={"include_usage": True})
    assert wanted.wants_usage
    assert read(RESPONSES, stream=True).wants_usage
    assert read(MESSAGES, stream=True).wants_usage


def test_input_may_be_left_out_of_a_response_that_goes_on() -> None:
    for fields in ({"previous_response_id": "resp_1"}, {"conversation": "conv_1"}):
        assert read(RESPONSES, input=None, **fields).body["input"] is None


@pytest.mark.parametrize(
    ("asked", "tier"),
    [
        (None, "default"),
        ("auto", "default"),
        ("fast", "priority"),
        ("flex", "flex"),
        (7, "default"),
    ],
)
def test_a_service_tier_has_the_name_that_the_price_card_has(asked: object, tier: str) -> None:
    for dialect in (CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES):
        assert dialect.service_tier(read(dialect, service_tier=asked)) == tier
    assert MESSAGES.service_tier(read(MESSAGES, service_tier="auto")) == "default"


def test_claims_are_read_from_where_each_dialect_has_them() -> None:
    claims = RESPONSES.claims(
        read(
            RESPONSES,
            metadata={"run": "r1"},
            user="u",
            safety_identifier="s",
            prompt_cache_key="p",
            previous_response_id="resp_1",
            conversation={"id": "conv_1"},
        )
    )
    assert (claims.metadata, claims.user, claims.safety_identifier) == ({"run": "r1"}, "u", "s")
    assert (claims.prompt_cache_key, claims.previous_response, claims.conversation) == (
        "p",
        "resp_1",
        "conv_1",
    )
    odd = CHAT.claims(read(CHAT, metadata=[1], user=7, conversation=["x"]))
    assert (odd.metadata, odd.user, odd.conversation) == ({}, "", "")
    message = MESSAGES.claims(read(MESSAGES, metadata={"user_id": "user_1_session_abcdefgh"}))
    assert (message.user, message.session) == ("user_1", "abcdefgh")


def test_roles_and_tool_types_that_weir_does_not_know_are_the_provider_s_to_judge() -> None:
    read(MESSAGES, messages=[{"role": "system", "content": "x"}, *SAID])
    read(RESPONSES, tools=[{"type": "namespace", "tools": []}, {"type": "custom"}, 7])
