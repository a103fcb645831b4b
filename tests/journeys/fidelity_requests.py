"""What of requests is measured: a field of each dialect, and what of it the provider reads."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.clients.canned_server import JSON
from tests.journeys.fidelity_bench import (
    CARRIED,
    DROPPED,
    IDENTICAL,
    LOST,
    REFUSED,
    SAID,
    Bench,
    Way,
    body_of,
    dropped_in,
)
from tests.journeys.fidelity_litellm import OTHER_WORDS, gemini_answer
from tests.unit.gateway.dialects.captures import FOLDER

Fields = Mapping[str, Any]
USER = SAID[0]
SCHEMA = {
    "type": "object",
    "properties": {"probe_answer": {"type": "string"}},
    "required": ["probe_answer"],
    "additionalProperties": False,
}
IMAGE = "https://example.com/probe.png"
FUNCTION = {"name": "probe_tool", "description": "Probe.", "parameters": SCHEMA}
CHAT_TOOLS: Fields = {"tools": [{"type": "function", "function": FUNCTION}]}
RESPONSES_TOOLS: Fields = {"tools": [{"type": "function", **FUNCTION}]}
MESSAGES_TOOLS: Fields = {
    "tools": [{"name": "probe_tool", "description": "Probe.", "input_schema": SCHEMA}]
}
CHAT_CALL = {
    "id": "call_probe",
    "type": "function",
    "function": {"name": "probe_tool", "arguments": '{"probe_answer":"x"}'},
}
MESSAGES_CALL = {
    "type": "tool_use",
    "id": "call_probe",
    "name": "probe_tool",
    "input": {"probe_answer": "x"},
}
SEAL = "EqQBprobeSEAL"
# Responses reach a provider of messages by way of chat, where a field may have another name.
BY_WAY_OF_CHAT = {"response_format": "text.format"}


@dataclass(frozen=True)
class RequestRow:
    """One line: fields in each dialect, and what the provider must find of them somewhere."""

    title: str
    fields: Mapping[str, Fields]
    needles: tuple[str, ...]


def _schema_of(dialect: str) -> Fields:
    named = {"name": "probe", "schema": SCHEMA, "strict": True}
    if dialect == "chat":
        return {"response_format": {"type": "json_schema", "json_schema": named}}
    if dialect == "responses":
        return {"text": {"format": {"type": "json_schema", **named}}}
    return {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}}


def _asked_of_all(fields: Fields, *dialects: str) -> Mapping[str, Fields]:
    return dict.fromkeys(dialects, fields)


GENERATING = ("chat", "completions", "responses", "messages")
ROWS: tuple[RequestRow, ...] = (
    RequestRow(
        "Tools",
        {"chat": CHAT_TOOLS, "responses": RESPONSES_TOOLS, "messages": MESSAGES_TOOLS},
        ("probe_tool", "probe_answer", "Probe."),
    ),
    RequestRow(
        "The choice of a tool",
        {
            "chat": {
                **CHAT_TOOLS,
                "tool_choice": {"type": "function", "function": {"name": "probe_tool"}},
            },
            "responses": {
                **RESPONSES_TOOLS,
                "tool_choice": {"type": "function", "name": "probe_tool"},
            },
            "messages": {**MESSAGES_TOOLS, "tool_choice": {"type": "tool", "name": "probe_tool"}},
        },
        ('"tool_choice"', "probe_tool"),
    ),
    RequestRow(
        "No parallel calls",
        {
            "chat": {**CHAT_TOOLS, "parallel_tool_calls": False},
            "responses": {**RESPONSES_TOOLS, "parallel_tool_calls": False},
            "messages": {
                **MESSAGES_TOOLS,
                "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
            },
        },
        ("parallel_tool",),
    ),
    RequestRow(
        "Calls and their results in the history",
        {
            "chat": {
                **CHAT_TOOLS,
                "messages": [
                    USER,
                    {"role": "assistant", "content": None, "tool_calls": [CHAT_CALL]},
                    {"role": "tool", "tool_call_id": "call_probe", "content": "probe result"},
                ],
            },
            "responses": {
                **RESPONSES_TOOLS,
                "input": [
                    USER,
                    {
                        "type": "function_call",
                        "call_id": "call_probe",
                        "name": "probe_tool",
                        "arguments": '{"probe_answer":"x"}',
                    },
                    {
                        "type": "function_call_output",
                        "call_id": "call_probe",
                        "output": "probe result",
                    },
                ],
            },
            "messages": {
                **MESSAGES_TOOLS,
                "messages": [
                    USER,
                    {"role": "assistant", "content": [MESSAGES_CALL]},
                    {
                        "role": "user",
                        "content": [
                            {
                                "type": "tool_result",
                                "tool_use_id": "call_probe",
                                "content": "probe result",
                            }
                        ],
                    },
                ],
            },
        },
        ("call_probe", "probe_tool", "probe result", "probe_answer"),
    ),
    RequestRow(
        "Signed and sealed thinking in the history",
        {
            "chat": {
                "messages": [
                    USER,
                    {
                        "role": "assistant",
                        "content": "Hm.",
                        "thinking_blocks": [
                            {"type": "thinking", "thinking": "Probe.", "signature": SEAL}
                        ],
                    },
                    USER,
                ]
            },
            "responses": {
                "input": [
                    USER,
                    {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": SEAL},
                    {"role": "assistant", "content": "Hm."},
                    USER,
                ]
            },
            "messages": {
                "messages": [
                    USER,
                    {
                        "role": "assistant",
                        "content": [
                            {"type": "thinking", "thinking": "Probe.", "signature": SEAL},
                            {"type": "text", "text": "Hm."},
                        ],
                    },
                    USER,
                ]
            },
        },
        (SEAL,),
    ),
    RequestRow(
        "How much to think",
        {
            "chat": {"reasoning_effort": "high"},
            "responses": {"reasoning": {"effort": "high"}},
            "messages": {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}},
        },
        ('"high"',),
    ),
    RequestRow(
        "An answer after a schema",
        {name: _schema_of(name) for name in ("chat", "responses", "messages")},
        ("probe_answer", "json_schema"),
    ),
    RequestRow(
        "An image by its address",
        {
            "chat": {
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {"type": "text", "text": "Look:"},
                            {"type": "image_url", "image_url": {"url": IMAGE}},
                        ],
                    }
                ]
            },
            "responses": {
                "input": [
                    {"role": "user", "content": [{"type": "input_image", "image_url": IMAGE}]}
                ]
            },
            "messages": {
                "messages": [
                    {
                        "role": "user",
                        "content": [{"type": "image", "source": {"type": "url", "url": IMAGE}}],
                    }
                ]
            },
        },
        (IMAGE,),
    ),
    RequestRow(
        "Temperature and `top_p`",
        _asked_of_all({"temperature": 0.4375, "top_p": 0.8125}, *GENERATING),
        ("0.4375", "0.8125"),
    ),
    RequestRow(
        "Stop sequences",
        {
            "chat": {"stop": ["probe stop"]},
            "completions": {"stop": ["probe stop"]},
            "messages": {"stop_sequences": ["probe stop"]},
        },
        ("probe stop",),
    ),
    RequestRow("`top_k`", _asked_of_all({"top_k": 4_447}, *GENERATING), ("4447",)),
    RequestRow("`seed`", _asked_of_all({"seed": 424_243}, "chat", "completions"), ("424243",)),
    RequestRow(
        "Log probabilities",
        {
            "chat": {"logprobs": True, "top_logprobs": 7},
            "completions": {"logprobs": 7},
            "responses": {"top_logprobs": 7, "include": ["message.output_text.logprobs"]},
        },
        ("logprobs", "7"),
    ),
    RequestRow("Several answers", _asked_of_all({"n": 2}, "chat", "completions"), ('"n"',)),
    RequestRow(
        "Sound as the answer",
        {"chat": {"modalities": ["text", "audio"], "audio": {"voice": "probe", "format": "wav"}}},
        ("probe", "modalities"),
    ),
    RequestRow(
        "A custom tool",
        {
            "responses": {"tools": [{"type": "custom", "name": "probe_tool"}]},
            "chat": {"tools": [{"type": "custom", "custom": {"name": "probe_tool"}}]},
        },
        ("probe_tool",),
    ),
    RequestRow(
        "A tool that the provider runs",
        {
            "responses": {"tools": [{"type": "web_search"}], "max_tool_calls": 1},
            "messages": {
                "tools": [{"type": "web_search_20250305", "name": "web_search", "max_uses": 1}]
            },
        },
        ("web_search",),
    ),
    RequestRow(
        "Going on from an earlier response",
        {"responses": {"previous_response_id": "resp_probe"}},
        ("resp_probe",),
    ),
    RequestRow(
        "Marks for the cache",
        {
            "messages": {
                "system": [{"type": "text", "text": "Be.", "cache_control": {"type": "ephemeral"}}]
            },
            "chat": {
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {"type": "text", "text": "Hi", "cache_control": {"type": "ephemeral"}}
                        ],
                    }
                ]
            },
            "responses": {"prompt_cache_key": "probe-key"},
        },
        ("cache",),
    ),
    RequestRow(
        "Who it is for",
        {
            "chat": {"user": "probe-user"},
            "completions": {"user": "probe-user"},
            "responses": {"user": "probe-user"},
            "messages": {"metadata": {"user_id": "probe-user"}},
            "embeddings": {"user": "probe-user"},
        },
        ("probe-user",),
    ),
    RequestRow(
        "Metadata",
        _asked_of_all({"metadata": {"probe": "value"}}, "chat", "responses"),
        ('"metadata"',),
    ),
    RequestRow(
        "Fields of the future",
        _asked_of_all({"hologram": {"beam": 1.5}}, *GENERATING, "embeddings"),
        ("hologram",),
    ),
)


def cell(bench: Bench, row: RequestRow, way: Way) -> str | None:
    """What became of the fields; None where the dialect has none of the kind."""
    fields = row.fields.get(way.asked)
    if fields is None:
        return None
    bench.canned.say(200, JSON, _some_answer(way.spoken))
    answer = bench.ask(way, fields)
    if answer.status == 400:
        assert bench.canned.asked == [], "it was sent all the same"
        error = answer.error if way.asked != "messages" else answer.json["error"]["details"]
        if not (way.lax or _is_told(error["param"], fields)):
            return f"{LOST}: refused for {error['param']}"
        return REFUSED
    assert answer.status == 200, (row.title, way, answer.body)
    received = bench.canned.asked[-1][1]
    if way.is_same:
        sent = body_of(way, fields)
        renamed = sent.replace(b'"same"', b'"up-same"', 1)
        return IDENTICAL if received == renamed else f"{LOST}: {received!r}"
    if any(_is_told(name, fields) for name in dropped_in(answer)):
        return DROPPED
    needles = OTHER_WORDS.get((way.vendor, row.title), row.needles)
    # Spaces between a name and what it says are nobody's.
    packed = received.decode().replace('": ', '":')
    missing = [needle for needle in needles if needle not in packed]
    return f"{LOST}: {missing} in {received!r}" if missing else CARRIED


def _some_answer(dialect: str) -> bytes:
    found = gemini_answer("Whole: usage") if dialect == "gemini" else None
    if found is not None:
        return found[0]
    name = "floats" if dialect == "embeddings" else "whole"
    return (FOLDER / dialect / f"{name}.json").read_bytes()


def _is_told(name: str, fields: Fields) -> bool:
    """Whether a name that the gateway gave is one of these fields, or of what is in them."""
    if name.startswith("answer."):
        return False
    inside = json.dumps(fields)
    if name not in fields:
        name = BY_WAY_OF_CHAT.get(name, name)
    steps = [step.split("[")[0] for step in name.split(".")]
    return (steps[0] in fields and f'"{steps[-1]}"' in inside) or f'"{name}"' in inside
