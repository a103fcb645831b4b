"""What litellm would pass over in silence is refused, or left out and named."""

from collections.abc import Mapping
from typing import Any

import pytest

from gateway.providers.litellm_contents import (
    Losses,
    RequestFault,
    Written,
    carried,
    written_for,
)

SAID = {"role": "user", "content": "Hi"}
PNG = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBOR", "detail": "high"}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {}}}
EPHEMERAL = {"type": "ephemeral"}
MODELS = {Written.GEMINI: "gemini-3-pro", Written.CLAUDE: "claude-opus-5"}
Fields = Mapping[str, Any]


def read(
    written: Written, *, may_drop: bool = False, takes_addresses: bool = False, **fields: Any
) -> tuple[dict[str, Any], list[str]]:
    losses = Losses(may_drop=may_drop)
    asked = {"model": MODELS.get(written, "m"), "messages": [SAID], **fields}
    found = carried(asked, written, losses, takes_addresses=takes_addresses)
    return found, list(losses.dropped)


def said(*parts: Fields, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(parts), **more}]}


@pytest.mark.parametrize(
    ("vendor", "model", "speaks_chat", "written"),
    [
        ("openai", "m", True, Written.CHAT),
        ("anthropic", "m", False, Written.CLAUDE),
        ("vertex_ai", "claude-opus-5", False, Written.CLAUDE),
        ("vertex_ai", "gemini-3-pro", False, Written.GEMINI),
        ("gemini", "m", False, Written.GEMINI),
        ("bedrock", "anthropic.claude", False, Written.UNMEASURED),
    ],
)
def test_the_vendor_and_the_model_say_what_is_written(
    vendor: str, model: str, speaks_chat: bool, written: Written
) -> None:
    assert written_for(vendor, model, speaks_chat=speaks_chat) is written


@pytest.mark.parametrize(
    ("written", "fields", "param"),
    [
        (Written.CLAUDE, said(SAID, {"type": "text", "text": "x"}), "messages[0].content[0]"),
        (
            Written.CLAUDE,
            said({"type": "text", "text": "x"}, {"type": "input_audio", "input_audio": {}}),
            "messages[0].content[1]",
        ),
        (Written.CHAT, said(PNG, {"type": "hologram"}), "messages[0].content[1]"),
        (Written.GEMINI, said(PNG, name="Ann"), "messages[0].name"),
        (Written.CLAUDE, {"response_format": {"type": "json_object"}}, "response_format"),
        (Written.GEMINI, {"parallel_tool_calls": False}, "parallel_tool_calls"),
        (Written.GEMINI, {"presence_penalty": 0.5}, "presence_penalty"),
        (Written.GEMINI, {"tools": [{"type": "custom", "custom": {}}]}, "tools[0]"),
        (Written.UNMEASURED, {"tools": [{"type": "custom", "custom": {}}]}, "tools[0]"),
        (Written.CLAUDE, {"tools": [{**TOOL, "beam": 1}]}, "tools[0].beam"),
    ],
)
def test_what_the_answer_depends_on_is_refused_by_name(
    written: Written, fields: Fields, param: str
) -> None:
    with pytest.raises(RequestFault) as caught:
        read(written, **fields)
    assert (caught.value.param, caught.value.code) == (param, "unsupported_parameter")
    if "content[0]" in param:  # a part without a type is no part, and stays one
        return
    found, dropped = read(written, may_drop=True, **fields)
    assert dropped == [param]
    assert not {"response_format", "parallel_tool_calls", "presence_penalty"} & set(found)


@pytest.mark.parametrize(
    ("written", "fields", "name"),
    [
        (Written.CLAUDE, said(PNG), "messages.image_url.detail"),
        (
            Written.GEMINI,
            said({"type": "text", "text": "x", "cache_control": EPHEMERAL}),
            "messages.cache_control",
        ),
        (Written.GEMINI, {"tools": [{**TOOL, "cache_control": EPHEMERAL}]}, "tools.cache_control"),
        (
            Written.CLAUDE,
            {"tools": [{"type": "function", "function": {"name": "f", "strict": True}}]},
            "tools.function.strict",
        ),
        (
            Written.CLAUDE,
            {"messages": [{"role": "tool", "tool_call_id": "c", "content": "x", "name": "f"}]},
            "messages.name",
        ),
        (
            Written.CLAUDE,
            {"messages": [{"role": "assistant", "content": "x", "reasoning_content": "y"}]},
            "messages.reasoning_content",
        ),
        (
            Written.GEMINI,
            {"messages": [{"role": "assistant", "content": "x", "thinking_blocks": [{}]}]},
            "messages.thinking_blocks",
        ),
        (
            Written.GEMINI,
            said({"type": "file", "file": {"filename": "a"}}),
            "messages.file.filename",
        ),
        (
            Written.GEMINI,
            {"web_search_options": {"search_context_size": "high"}},
            "web_search_options.search_context_size",
        ),
    ],
)
def test_hints_are_left_out_and_named(written: Written, fields: Fields, name: str) -> None:
    found, dropped = read(written, **fields)
    assert dropped == [name]
    if not name.startswith(("messages.file", "web_search")):
        assert f"'{name.rpartition('.')[2]}'" not in str(found)


ADDRESS = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
PLAIN = {"type": "image_url", "image_url": "http://example.com/a.png"}
FILE = {"type": "file", "file": {"file_id": "https://example.com/a.pdf"}}


@pytest.mark.parametrize(
    ("written", "part", "takes_addresses", "passes"),
    [
        (Written.CHAT, ADDRESS, False, True),
        (Written.CHAT, PLAIN, False, True),
        (Written.CHAT, FILE, False, False),
        (Written.CLAUDE, ADDRESS, True, True),
        (Written.CLAUDE, FILE, True, True),
        (Written.CLAUDE, PLAIN, True, False),
        (Written.CLAUDE, ADDRESS, False, False),
        (Written.GEMINI, ADDRESS, False, False),
        (Written.UNMEASURED, ADDRESS, False, False),
        (Written.UNMEASURED, FILE, False, False),
    ],
)
def test_no_address_is_fetched_by_the_gateway(
    written: Written, part: Fields, takes_addresses: bool, passes: bool
) -> None:
    fields = said({"type": "text", "text": "x"}, part)
    if passes:
        found, dropped = read(written, takes_addresses=takes_addresses, **fields)
        assert (found["messages"], dropped) == (fields["messages"], [])
        return
    with pytest.raises(RequestFault, match="data URL"):
        read(written, takes_addresses=takes_addresses, **fields)
    found, _ = read(written, takes_addresses=takes_addresses, may_drop=True, **fields)
    assert "example.com" not in str(found)
    with pytest.raises(RequestFault, match="nothing of it"):
        read(written, may_drop=True, **said(PLAIN if written is Written.CLAUDE else FILE))


def test_a_refusal_stays_in_the_conversation() -> None:
    history = [SAID, {"role": "assistant", "content": "Hm.", "refusal": "No."}, SAID]
    found, dropped = read(Written.CLAUDE, messages=history)
    texts = [part["text"] for part in found["messages"][1]["content"]]
    assert (texts, dropped) == (["Hm.", "No."], [])


def test_a_call_of_no_function_is_refused_even_where_fields_may_be_dropped() -> None:
    history = [{"role": "assistant", "tool_calls": [{"type": "custom", "id": "c", "custom": {}}]}]
    with pytest.raises(RequestFault) as caught:
        read(Written.GEMINI, may_drop=True, messages=history)
    assert caught.value.param == "messages[0].tool_calls[0]"


def test_without_tools_there_is_no_choice_of_one() -> None:
    fields = {"tools": [{"type": "custom"}], "tool_choice": "auto", "parallel_tool_calls": True}
    found, _ = read(Written.CLAUDE, may_drop=True, **fields)
    assert set(found) == {"model", "messages"}


def test_a_vendors_own_tools_and_what_says_nothing_pass() -> None:
    message = {"role": "assistant", "content": "x", "name": None, "refusal": None, "audio": None}
    tools = [{"googleSearch": {}}, {**TOOL, "cache_control": None}]
    found, dropped = read(Written.GEMINI, messages=[message], tools=tools, presence_penalty=0)
    assert (found["tools"], dropped) == ([{"googleSearch": {}}, TOOL], [])
    assert found["messages"] == [{"role": "assistant", "content": "x"}]


def test_everything_passes_to_who_is_asked_in_chat_completions() -> None:
    message = {"role": "user", "content": [PNG], "name": "Ann", "hologram": 1}
    fields = {"tools": [{"type": "custom"}], "response_format": {"type": "json_object"}}
    found, dropped = read(Written.CHAT, messages=[message], **fields)
    assert (found, dropped) == ({"model": "m", "messages": [message], **fields}, [])
