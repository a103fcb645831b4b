"""A request's features: right on real shapes, silent on broken ones, bounded on huge ones."""

import time
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.features import (
    IMAGE_TOKENS,
    USER_HEAD_CHARS,
    USER_TAIL_CHARS,
    extract,
    extract_with_text,
)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)
KNOWN_KEYS = """
    messages role content type text image_url input_audio file function tools tool_calls arguments
    response_format max_tokens max_completion_tokens n stream reasoning reasoning_effort
    functions user system tool assistant data file_data effort enabled json_schema
"""
known_keys = st.sampled_from(KNOWN_KEYS.split())
request_like = st.recursive(
    json_values | known_keys,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(known_keys, inner, max_size=6),
    max_leaves=30,
)


def user(content: object, **fields: object) -> dict[str, Any]:
    return {"model": "auto", "messages": [{"role": "user", "content": content}], **fields}


@given(body=st.dictionaries(known_keys | st.text(max_size=8), request_like, max_size=8))
def test_any_json_object_has_features(body: dict[str, object]) -> None:
    features = extract(body)
    assert features.prompt_tokens >= 0
    assert 0.0 <= features.code <= 1.0
    assert 0.0 <= features.math <= 1.0
    assert features.n >= 1
    orjson.dumps(features)


@given(messages=st.lists(st.dictionaries(known_keys, request_like, max_size=4), max_size=6))
def test_any_message_has_features(messages: list[dict[str, object]]) -> None:
    assert extract({"messages": messages}).messages == len(messages)


def test_a_conversation_is_counted_by_role() -> None:
    body = {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "developer", "content": "Be kind."},
            {"role": "user", "content": "First"},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"function": {"name": "look", "arguments": '{"a": 1}'}}],
            },
            {"role": "tool", "content": "found"},
            {"role": "user", "content": "Second one"},
        ]
    }
    features = extract(body)
    assert (features.messages, features.turns, features.tool_results) == (6, 2, 1)
    assert features.system_bytes == len("Be brief.Be kind.")
    assert features.last_user_text_bytes == len("Second one")
    assert features.prompt_bytes == len('Be brief.Be kind.First{"a": 1}foundSecond one')


def test_sizes_are_utf8_bytes() -> None:
    assert extract(user("Grüße 你好")).prompt_bytes == len("Grüße 你好".encode())


def test_a_long_wide_text_is_projected_from_its_start() -> None:
    text = "привет " * 40_000
    assert extract(user(text)).prompt_bytes == pytest.approx(len(text.encode()), rel=0.01)


def test_parts_are_counted_by_kind() -> None:
    parts = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        {"type": "input_audio", "input_audio": {"data": "A" * 20_000, "format": "wav"}},
        {"type": "file", "file": {"file_data": "A" * 4_000}},
        {"type": "something_new"},
    ]
    features = extract(user(parts))
    assert (features.images, features.audio, features.files) == (1, 1, 1)
    assert features.last_user_text_bytes == len("What is this?")
    assert features.prompt_tokens >= IMAGE_TOKENS + 10 + 1_000


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, None),
        ({"max_tokens": 100}, 100),
        ({"max_completion_tokens": 50}, 50),
        ({"max_tokens": 100, "max_completion_tokens": 50}, 50),
        ({"max_tokens": 100, "max_completion_tokens": None}, 100),
        ({"max_tokens": True}, None),
        ({"max_tokens": -1}, None),
        ({"max_tokens": "100"}, None),
    ],
)
def test_the_smaller_cap_on_the_answer_counts(
    fields: dict[str, object], expected: int | None
) -> None:
    assert extract(user("hi", **fields)).max_output_tokens == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, False),
        ({"reasoning_effort": "high"}, True),
        ({"reasoning_effort": "none"}, False),
        ({"reasoning": {"effort": "medium"}}, True),
        ({"reasoning": {"effort": "none"}}, False),
        ({"reasoning": {"enabled": True}}, True),
        ({"reasoning": "yes"}, False),
    ],
)
def test_reasoning_is_asked_for_by_parameter(fields: dict[str, object], expected: bool) -> None:
    assert extract(user("hi", **fields)).reasoning_asked is expected


def test_reasoning_is_asked_for_in_words_at_the_end_of_a_long_prompt() -> None:
    assert extract(user("Some facts. " * 300 + "Think step by step.")).reasoning_asked


@pytest.mark.parametrize(
    ("response_format", "expected"),
    [
        ({"type": "json_schema", "json_schema": {"name": "a", "schema": {}}}, True),
        ({"type": "json_object"}, True),
        ({"type": "text"}, False),
        ("json_object", False),
        ({"type": ["json_object"]}, False),
    ],
)
def test_a_structured_format_is_seen(response_format: object, expected: bool) -> None:
    assert extract(user("hi", response_format=response_format)).schema is expected


def test_tools_count_and_their_definitions_are_part_of_the_prompt() -> None:
    tools = [{"type": "function", "function": {"name": "look", "parameters": {"a": 1}}}] * 3
    features = extract(user("hi", tools=tools))
    assert features.tools == 3
    assert features.prompt_bytes == 2 + len(orjson.dumps(tools))


def test_tools_no_json_writer_takes_do_not_stop_the_request() -> None:
    assert extract(user("hi", tools=[{"x": 1 << 80}])).tools == 1


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("Where is the station?", "latin"),
        ("Où est la gare ?", "latin"),
        ("Где находится вокзал?", "cyrillic"),
        ("车站在哪里", "cjk"),
        ("駅はどこですか", "cjk"),
        ("أين المحطة؟", "other"),
        ("The area is πr², what is r?", "latin"),
        ("", "latin"),
    ],
)
def test_the_script_is_told_from_the_letters(text: str, script: str) -> None:
    assert extract(user(text)).script == script


def test_code_and_mathematics_score_and_prose_does_not() -> None:
    prose = extract(user("The committee met on Tuesday and agreed (at last) on a new schedule."))
    code = extract(user("```python\ndef f(x):\n    return x\n```"))
    tex = extract(user("Find $\\frac{1}{2} + \\sqrt{x^2}$ for $x = 3$."))
    assert prose.code == prose.math == 0.0
    assert code.code >= 0.6
    assert tex.math >= 0.5


def test_only_the_edges_of_a_long_message_are_searched() -> None:
    text = "a" * 50_000 + "MIDDLE" + "b" * 50_000
    features, view = extract_with_text(user(text))
    assert len(view.user) == USER_HEAD_CHARS + 1 + USER_TAIL_CHARS
    assert b"MIDDLE" not in view.user
    assert features.last_user_text_bytes == len(text)
    assert len(view.zone) < 1_000


def test_a_prompt_of_ten_megabytes_is_read_within_milliseconds() -> None:
    body = user("hello world " * 800_000)
    best_s = min(_seconds(lambda: extract(body)) for _ in range(5))
    # Searching it all takes some 50 ms; the bound takes 0.03 ms. The limit leaves room for a slow
    # machine and still tells the two apart.
    assert best_s < 0.01


def _seconds(call: Callable[[], object]) -> float:
    started_s = time.perf_counter()
    call()
    return time.perf_counter() - started_s
