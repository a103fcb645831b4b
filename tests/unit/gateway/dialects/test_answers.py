"""Whole answers and errors are read and worded as each dialect has them."""

from typing import Any

import orjson
import pytest

from budgets.usage import TokenUsage, UsageExtras, UsageFault
from gateway.dialects.anthropic_style import error_type
from gateway.dialects.openai_style import text_field
from gateway.dialects.port import Dialect
from gateway.errors import ApiError, stream_cut
from tests.unit.gateway.dialects.requests_made import (
    ALL,
    CHAT,
    COMPLETIONS,
    COUNT_TOKENS,
    EMBEDDINGS,
    MESSAGES,
    RESPONSES,
)
from tests.unit.gateway.test_errors import every_error

CALL = {"function": {"name": "f", "arguments": "{}"}}
ANTHROPIC = (MESSAGES, COUNT_TOKENS)


@pytest.mark.parametrize(
    ("dialect", "answer", "usage", "texts"),
    [
        (CHAT, {"usage": {"prompt_tokens": 9, "completion_tokens": 4}, "choices": [
            {"message": {"content": "said", "refusal": None, "reasoning_content": "hm"}},
            {"message": {"content": None, "tool_calls": [CALL, {"custom": {"name": "g",
                "input": "raw"}}, 7]}},
            {"message": {"function_call": {"name": "h", "arguments": "[]"}}},
            {"message": {"content": None, "audio": {"data": "UklG", "transcript": "heard"}}},
            7, {"message": 7}]},
         TokenUsage(fresh=9, output=4),
         ["said", "hm", "f", "{}", "g", "raw", "h", "[]", "heard"]),
        (COMPLETIONS, {"usage": {"prompt_tokens": 9, "completion_tokens": 4},
                       "choices": [{"text": "one"}, {"text": "two"}, 7, {"text": 7}]},
         TokenUsage(fresh=9, output=4), ["one", "two"]),
        (EMBEDDINGS, {"usage": {"prompt_tokens": 9, "total_tokens": 9}, "data": [{"x": "AAAA"}]},
         TokenUsage(fresh=9), []),
        (RESPONSES, {"usage": {"input_tokens": 9, "output_tokens": 4},
                     "output": [{"type": "message", "content": [{"text": "said"}]}]},
         TokenUsage(fresh=9, output=4), ["said"]),
        (MESSAGES, {"usage": {"input_tokens": 9, "output_tokens": 4},
                    "content": [{"type": "text", "text": "said"}]},
         TokenUsage(fresh=9, output=4), ["said"]),
        (COUNT_TOKENS, {"input_tokens": 2_095}, TokenUsage(), []),
    ],
)  # fmt: skip
def test_a_whole_answer_tells_its_usage_and_what_was_generated(
    dialect: Dialect, answer: dict[str, Any], usage: TokenUsage, texts: list[str]
) -> None:
    assert dialect.usage_in(answer) == usage
    assert list(dialect.texts_in(answer)) == texts


@pytest.mark.parametrize("dialect", [one for one in ALL if not one.is_free])
@pytest.mark.parametrize("answer", [None, [], "x", {}, {"usage": None}, {"usage": {"x": 1}}])
def test_an_answer_without_a_report_is_a_fault_and_never_a_number(
    dialect: Dialect, answer: object
) -> None:
    assert isinstance(dialect.usage_in(answer), UsageFault)
    assert list(dialect.texts_in(answer)) == []
    assert dialect.extras_in(answer) == UsageExtras()


def test_uses_of_tools_are_told_as_each_provider_counts_them() -> None:
    counted = {"usage": {"server_tool_use": {"web_search_requests": 2}}}
    assert MESSAGES.extras_in(counted).tool_uses == {"web_search_requests": 2}
    listed = {"output": [{"type": "web_search_call"}, {"type": "file_search_call"}]}
    assert RESPONSES.extras_in(listed).tool_uses == {"web_search_call": 1, "file_search_call": 1}


@pytest.mark.parametrize("error", every_error(), ids=lambda error: error.code)
@pytest.mark.parametrize("dialect", ALL, ids=lambda dialect: dialect.name)
def test_every_error_keeps_its_code_message_and_details_in_every_dialect(
    dialect: Dialect, error: ApiError
) -> None:
    body = orjson.loads(dialect.error_body(error, "req_1"))
    headers = dialect.error_headers(error, "req_1")
    assert set(error.headers()) <= set(headers)
    if dialect not in ANTHROPIC:
        assert body == orjson.loads(error.body())
        assert headers == error.headers()
        return
    assert (body["type"], body["request_id"]) == ("error", "req_1")
    assert body["error"]["message"] == error.message
    assert body["error"]["type"] == error_type(error)
    assert body["error"]["details"] == {
        "error_code": error.code,
        "param": error.param,
        **error.details,
    }
    assert (b"request-id", b"req_1") in headers


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "invalid_value", "invalid_request_error"),
        (401, "invalid_api_key", "authentication_error"),
        (402, "budget_exceeded", "billing_error"),
        (403, "admin_key_required", "permission_error"),
        (404, "model_not_found", "not_found_error"),
        (405, "method_not_allowed", "invalid_request_error"),
        (408, "late", "timeout_error"),
        (409, "twice", "conflict_error"),
        (413, "request_too_large", "request_too_large"),
        (422, "odd", "invalid_request_error"),
        (429, "slow", "rate_limit_error"),
        (500, "internal_error", "api_error"),
        (502, "upstream_broken", "api_error"),
        (503, "ledger_unavailable", "api_error"),
        (503, "overloaded", "overloaded_error"),
        (503, "provider_down", "overloaded_error"),
        (504, "upstream_timeout", "timeout_error"),
        (529, "upstream_529", "overloaded_error"),
    ],
)
def test_every_status_has_anthropic_s_name(status: int, code: str, kind: str) -> None:
    assert error_type(ApiError(status, code, "x")) == kind


@pytest.mark.parametrize("dialect", ALL, ids=lambda dialect: dialect.name)
def test_the_end_of_a_stream_of_which_nothing_is_known_is_an_error_event(dialect: Dialect) -> None:
    for ending in (
        dialect.error_event(stream_cut(7), "req_1"),
        dialect.meter(9, len).fail(stream_cut(7), "req_1"),
    ):
        head, _, data = ending.partition(b"\ndata: ")
        assert (head, ending[-2:]) == (b"event: error", b"\n\n")
        assert orjson.loads(data)["error"]["message"] == stream_cut(7).message


def test_a_field_that_is_no_text_is_an_empty_one() -> None:
    assert text_field({"a": "x", "b": 7}, "a") == "x"
    assert text_field({"a": "x", "b": 7}, "b") == text_field({}, "c") == ""
