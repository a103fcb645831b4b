"""Input that is not in the request is found, and bounded by the model's window."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.port import Dialect
from gateway.dialects.unseen import (
    FurtherUses,
    ResponseBook,
    Unseen,
    any_object,
    further_uses,
    input_bound,
)
from gateway.errors import ApiError
from tests.unit.gateway.dialects.requests_made import (
    CHAT,
    COMPLETIONS,
    EMBEDDINGS,
    MESSAGES,
    RESPONSES,
    read,
)

WEB = {"type": "web_search"}
CLAUDE_WEB = {"type": "web_search_20250305", "name": "web_search"}
FUNCTION = {"type": "function", "name": "f", "parameters": {}}


def user(*parts: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": list(parts)}]


def response(*fields: str, **rest: Any) -> Unseen:
    return Unseen(fields, limit_field="max_tool_calls", **rest)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"tools": [FUNCTION, {"type": "custom"}, {"type": "namespace", "tools": [FUNCTION]}]},
         None),
        ({"input": user({"type": "input_image", "image_url": "https://x"})}, None),
        ({"previous_response_id": "resp_1"},
         response("previous_response_id", response_id="resp_1")),
        ({"conversation": "conv_1"}, response("conversation")),
        ({"conversation": "conv_1", "previous_response_id": "resp_1"},
         response("previous_response_id", "conversation")),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, response("input")),
        ({"input": [{"id": "msg_1"}]}, response("input")),
        ({"input": user({"type": "input_file", "file_data": "x"})}, response("input")),
        ({"input": user({"type": "input_image", "file_id": "file_1"})}, response("input")),
        ({"input": user({"type": "input_image", "image_url": "x", "detail": "original"})},
         response("input")),
        ({"input": [{"type": "function_call_output", "call_id": "c",
                     "output": [{"type": "input_file", "file_url": "x"}]}]}, response("input")),
        ({"tools": [WEB]}, response("tools", tool_uses=None)),
        ({"tools": [WEB], "tool_choice": "none"}, None),
        ({"tools": [{"type": "web_search_preview_2025_03_11"}], "max_tool_calls": 3},
         response("tools", tool_uses=3)),
        ({"tools": [{"type": "namespace", "tools": [{"type": "mcp"}]}]},
         response("tools", tool_uses=None)),
        ({"input": [{"type": "additional_tools", "tools": [{"type": "file_search"}]}]},
         response("tools", tool_uses=None)),
        ({"tools": [{"type": "local_shell"}]}, response("tools")),
        ({"tools": [{"type": "tool_search", "execution": "client"}]}, response("tools")),
        ({"tools": [{"type": "tool_search"}]}, response("tools", tool_uses=None)),
        ({"tools": [{"type": "shell", "environment": {"type": "local"}}]}, response("tools")),
        ({"tools": [{"type": "shell", "environment": {"type": "container_auto"}}]},
         response("tools", tool_uses=None)),
        ({"context_management": [{"type": "compaction"}]},
         response("context_management", compactions=1)),
        ({"input": [{"type": "compaction_trigger"}]},
         response("context_management", compactions=1)),
    ],
)  # fmt: skip
def test_a_response_tells_what_it_reads_beyond_its_bytes(
    fields: dict[str, Any], expected: Unseen | None
) -> None:
    assert RESPONSES.unseen(read(RESPONSES, **fields)) == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"tools": [{"name": "f", "input_schema": {}}, {"type": "custom", "name": "g"}]}, None),
        ({"messages": user({"type": "image", "source": {"type": "url", "url": "x"}})}, None),
        ({"thread": {"type": "create"}}, None),
        ({"context_management": {"edits": [{"type": "clear_thinking_20251015"}]}}, None),
        ({"thread": {"type": "continue", "previous_message_id": "m"}}, Unseen(("thread",))),
        ({"messages": user({"type": "document", "source": {"type": "base64", "data": "x"}})},
         Unseen(("messages",))),
        ({"messages": user({"type": "tool_result", "content": [{"type": "document"}]})},
         Unseen(("messages",))),
        ({"messages": user({"type": "image", "source": {"type": "file", "file_id": "f"}})},
         Unseen(("messages",))),
        ({"system": [{"type": "document"}]}, Unseen(("messages",))),
        ({"tools": [{"type": "bash_20250124", "name": "bash"}]}, Unseen(("tools[0]",))),
        ({"tools": [CLAUDE_WEB]}, Unseen(("tools[0]",), tool_uses=None)),
        ({"tools": [{**CLAUDE_WEB, "max_uses": 5}]}, Unseen(("tools[0]",), tool_uses=5)),
        ({"tools": [{**CLAUDE_WEB, "max_uses": "5"}]}, Unseen(("tools[0]",), tool_uses=None)),
        ({"tools": [{**CLAUDE_WEB, "max_uses": 5}, {"type": "web_fetch_1", "max_uses": 2}]},
         Unseen(("tools[0]", "tools[1]"), tool_uses=7)),
        ({"tools": [CLAUDE_WEB, {"type": "web_fetch_1", "max_uses": 2}]},
         Unseen(("tools[0]", "tools[1]"), tool_uses=None)),
        ({"tools": [CLAUDE_WEB], "tool_choice": {"type": "none"}}, None),
        ({"mcp_servers": [{"url": "x"}]}, Unseen(("mcp_servers",), tool_uses=None)),
        ({"context_management": {"edits": [{"type": "compact_20260112"}]}},
         Unseen(("context_management",), compactions=1)),
        ({"compaction": {"type": "summarize"}}, Unseen(("context_management",), compactions=1)),
    ],
)  # fmt: skip
def test_a_message_tells_what_it_reads_beyond_its_bytes(
    fields: dict[str, Any], expected: Unseen | None
) -> None:
    assert MESSAGES.unseen(read(MESSAGES, **fields)) == expected


@pytest.mark.parametrize(
    ("dialect", "body"),
    [
        (RESPONSES, b'{"model":"m","input":[{"role":"user","content":[{"type":"%b"}]}]}'),
        (MESSAGES, b'{"model":"m","messages":[{"role":"user","content":[{"type":"%b"}]}]}'),
    ],
)
def test_an_escape_hides_nothing(dialect: Dialect, body: bytes) -> None:
    for kind in (b"input_fil\\u0065", b"d\\u006fcument"):
        found = dialect.unseen(dialect.read(body % kind))
        assert (found is not None) == (kind.startswith(b"input") == (dialect is RESPONSES))


def test_other_dialects_read_what_they_hold() -> None:
    for dialect in (CHAT, COMPLETIONS, EMBEDDINGS):
        assert dialect.unseen(read(dialect, tools=[WEB], previous_response_id="r")) is None


def test_one_use_of_a_model_reads_its_window_at_most() -> None:
    lone = Unseen(("previous_response_id",), response_id="resp_1")
    assert input_bound(500, None, 8_000) == 500
    assert input_bound(500, lone, 8_000) == 8_000
    assert input_bound(500, lone, 8_000, known_tokens=700) == 1_200
    assert input_bound(500, lone, 8_000, known_tokens=90_000) == 8_000
    files = Unseen(("input", "previous_response_id"))
    assert input_bound(500, files, 8_000, known_tokens=700) == 8_000
    assert input_bound(500, files, 8_000, uses=3) == 32_000


@given(st.integers(0, 9_000), st.integers(1, 9_000), st.integers(0, 5), st.integers(0, 9_000))
def test_a_bound_never_falls_when_less_is_known(
    seen: int, window: int, uses: int, known: int
) -> None:
    lone = Unseen(("previous_response_id",), response_id="resp_1")
    told = input_bound(seen, lone, window, uses, known)
    assert told <= input_bound(seen, lone, window, uses)
    assert told <= input_bound(seen, lone, window, uses + 1, known)
    assert told <= (uses + 1) * window


@pytest.mark.parametrize(
    ("unseen", "most", "expected"),
    [
        (Unseen(("thread",)), 0, FurtherUses(0)),
        (Unseen(("tools[0]",), tool_uses=3), 3, FurtherUses(3)),
        (response("tools", tool_uses=None), 8, FurtherUses(8, 8)),
        (response("tools", tool_uses=None, compactions=1), 8, FurtherUses(8, 7)),
        (response("tools", tool_uses=2, compactions=1), 8, FurtherUses(3)),
    ],
)
def test_further_uses_are_held_for_and_limited_where_the_gateway_can(
    unseen: Unseen, most: int, expected: FurtherUses
) -> None:
    assert further_uses(unseen, most) == expected


@pytest.mark.parametrize(
    ("unseen", "most", "param"),
    [
        (Unseen(("tools[0]",), tool_uses=None), 8, "tools[0]"),
        (Unseen(("tools[0]",), tool_uses=9), 8, "tools[0]"),
        (response("tools", tool_uses=None), 0, "tools"),
        (response("context_management", compactions=1), 0, "context_management"),
        (response("tools", tool_uses=None, compactions=8), 8, "tools"),
    ],
)
def test_more_uses_than_are_allowed_are_refused_by_name(
    unseen: Unseen, most: int, param: str
) -> None:
    with pytest.raises(ApiError) as caught:
        further_uses(unseen, most)
    error = caught.value
    assert (error.status, error.code, error.param) == (400, "unsupported_parameter", param)


def test_a_response_is_known_only_to_who_made_it_and_the_oldest_are_forgotten() -> None:
    book = ResponseBook(kept=2)
    book.learn("team", "", 5)
    book.learn("team", "resp_1", 10)
    book.learn("other", "resp_1", 99)
    assert (book.tokens_of("team", "resp_1"), book.tokens_of("third", "resp_1")) == (10, None)
    book.learn("team", "resp_1", 11)
    book.learn("team", "resp_2", 20)
    assert book.tokens_of("other", "resp_1") is None
    assert (book.tokens_of("team", "resp_1"), book.tokens_of("team", "resp_2")) == (11, 20)
    book.learn("other", "resp_3", None)
    assert [book.owner_of(f"resp_{number}") for number in (1, 2, 3)] == [None, "team", "other"]
    book.take_over("third", "resp_3", 7)
    assert (book.owner_of("resp_3"), book.tokens_of("third", "resp_3")) == ("third", 7)


def test_every_object_is_looked_at() -> None:
    nested = [{"a": [{"b": 1, "c": [[{"d": 2}]]}]}, 7]
    seen: list[list[str]] = []
    assert not any_object(nested, lambda one: bool(seen.append(list(one))))
    assert seen == [["a"], ["b", "c"], ["d"]]
    assert any_object(nested, lambda one: "d" in one)
