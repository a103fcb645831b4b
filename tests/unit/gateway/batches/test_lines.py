"""The lines of a batch's file: each is the request it will be, or an error with its number."""

from typing import Any

import orjson
import pytest

from gateway.batches.lines import BATCHED, MAX_LINES, read_line, renamed_line, spans
from gateway.errors import ApiError
from tests.unit.gateway.batches.made import CHAT, chat, jsonl, refusal

RESPONSES = "/v1/responses"


def test_a_line_is_the_request_in_its_body() -> None:
    line = read_line(7, orjson.dumps(chat(3, n=2)))
    assert (line.number, line.custom_id, line.url) == (7, "c3", CHAT)
    assert (line.request.model, line.request.output_tokens, line.request.choices) == ("tiny", 10, 2)
    assert line.dialect is BATCHED[CHAT]


def test_lines_are_counted_from_one_whatever_ends_them() -> None:
    raw = b'head{"a":1}\r\n{"b":2}\n\n  \r\ntail'
    found = [raw[start:end] for _, start, end in spans(raw, 4, len(raw) - 4)]
    assert found == [b'{"a":1}\r', b'{"b":2}']


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "no line"),
        (b"\n \n", "no line"),
        (b"{}\n\n{}\n", "Line 2: it is blank"),
        (b"{}\n" * (MAX_LINES + 1), "more than 50000 lines"),
    ],
)
def test_a_file_has_lines_none_blank_and_not_too_many(raw: bytes, words: str) -> None:
    with refusal(words) as refused:
        list(spans(raw, 0, len(raw)))
    assert refused.value.status == 400


def without(name: str) -> dict[str, Any]:
    return {key: part for key, part in chat().items() if key != name}


@pytest.mark.parametrize(
    ("line", "param", "code"),
    [
        (b"{", "file", "invalid_json"),
        (b"[]", "file", "invalid_json"),
        (b'{"custom_id":"a","custom_id":"b"}', "file", "duplicate_key"),
        (without("custom_id"), "custom_id", "invalid_value"),
        ({**chat(), "custom_id": 3}, "custom_id", "invalid_value"),
        ({**chat(), "method": "GET"}, "method", "invalid_value"),
        ({**chat(), "url": "/v1/images/generations"}, "url", "invalid_value"),
        ({**chat(), "url": "/v1/messages"}, "url", "invalid_value"),
        ({**chat(), "body": "text"}, "body", "invalid_value"),
        (chat(model=""), "body.model", "invalid_type"),
        (chat(messages=[]), "body.messages", "invalid_value"),
        (chat(max_tokens="many"), "body.max_tokens", "invalid_value"),
        (chat(stream=True), "body.stream", "unsupported_parameter"),
        (chat(service_tier="priority"), "body.service_tier", "unsupported_parameter"),
        (
            {**chat(), "url": RESPONSES, "body": {"model": "m", "previous_response_id": "resp_1"}},
            "body.previous_response_id",
            "unsupported_parameter",
        ),
        (
            {**chat(), "url": RESPONSES, "body": {"model": "m", "conversation": "conv_1"}},
            "body.conversation",
            "unsupported_parameter",
        ),
    ],
)
def test_a_bad_line_is_told_by_its_number_and_field(line: Any, param: str, code: str) -> None:
    text = line if isinstance(line, bytes) else orjson.dumps(line)
    with pytest.raises(ApiError) as refused:
        read_line(12, text)
    error = refused.value
    assert (error.status, error.param, error.code) == (400, param, code)
    assert error.message.startswith("Line 12: ")
    assert error.details == {"line": 12}


def test_only_the_name_of_the_model_is_changed_and_only_where_it_is_another() -> None:
    text = (
        b'{ "custom_id":"a","method":"POST", "url":"/v1/chat/completions","body": '
        b'{"temperature":0.70,"messages":[{"role":"user","content":"tiny\\u00e9"}],"model":"tiny"}}'
    )
    line = read_line(1, text)
    assert renamed_line(line, "tiny") == text
    assert renamed_line(line, "up-tiny") == text.replace(b'"model":"tiny"', b'"model":"up-tiny"')


def test_every_kind_of_line_can_be_read() -> None:
    bodies: dict[str, dict[str, Any]] = {
        CHAT: chat()["body"],
        "/v1/completions": {"model": "tiny", "prompt": "Hello"},
        RESPONSES: {"model": "tiny", "input": "Hello"},
        "/v1/embeddings": {"model": "tiny", "input": ["a", "b"]},
    }
    assert set(bodies) == set(BATCHED)
    for url, body in bodies.items():
        assert read_line(1, jsonl({**chat(), "url": url, "body": body})).request.model == "tiny"
