"""Whatever JSON a client or a provider sends, it is read or refused, and nothing breaks."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.port import Bounds, Dialect
from gateway.errors import ApiError, stream_cut
from routing.features import extract
from tests.unit.gateway.dialects.captures import METERS
from tests.unit.gateway.dialects.requests_made import ALL, PLAIN

KEYS = """
    type role content text input output prompt messages system instructions tools tool_choice
    arguments name delta usage choices message response item error id status summary code index
    thinking data signature partial_json content_block annotations audio transcript tool_calls
    function custom function_call environment execution max_uses file_id detail metadata user_id
    user conversation previous_response_id context_management edits compaction thread mcp_servers
    container service_tier stream stream_options n best_of max_tokens max_output_tokens
    max_tool_calls source sequence_number input_tokens output_tokens prompt_tokens
    cache_creation server_tool_use iterations output_config format response_format output_text
"""
KINDS = """
    response.created response.completed response.failed response.output_text.delta error
    response.output_item.added response.output_item.done message_start message_delta message_stop
    content_block_start content_block_delta text_delta thinking_delta input_json_delta tool_use
    tool_result document function_call function_call_output web_search mcp tool_search shell
    namespace additional_tools compaction_trigger item_reference input_file user assistant none
"""
NAMES = st.sampled_from(KEYS.split())
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 62), 1 << 62)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
    | st.sampled_from(KINDS.split()),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(NAMES, inner, max_size=6)
        | st.fixed_dictionaries({"type": st.sampled_from(KINDS.split()) | inner}, optional={})
    ),
    max_leaves=25,
)
OBJECTS = st.dictionaries(NAMES, JSON, max_size=8)


@pytest.mark.parametrize("dialect", ALL, ids=lambda dialect: dialect.name)
@given(fields=OBJECTS)
def test_any_request_is_read_or_refused(dialect: Dialect, fields: dict[str, Any]) -> None:
    try:
        request = dialect.read(json.dumps({**PLAIN[dialect.route], **fields}).encode())
    except ApiError as error:
        assert error.status == 400
        return
    extract(dialect.chat_view(request))
    parts = dialect.input_parts(request)
    assert parts.frames >= 0
    assert parts.token_ids >= 0
    dialect.unseen(request)
    dialect.claims(request)
    assert dialect.service_tier(request)
    sent = json.loads(dialect.upstream_body(request, "other", Bounds(7, tool_uses=2)))
    assert sent["model"] == "other"


@pytest.mark.parametrize("dialect", ALL, ids=lambda dialect: dialect.name)
@given(answer=JSON | OBJECTS)
def test_any_answer_is_read(dialect: Dialect, answer: object) -> None:
    assert all(isinstance(text, str) for text in dialect.texts_in(answer))
    dialect.usage_in(answer)
    assert all(count > 0 for count in dialect.extras_in(answer).tool_uses.values())


@pytest.mark.parametrize("name", METERS)
@given(events=st.lists(OBJECTS | JSON, max_size=5))
def test_any_stream_passes_as_it_is(name: str, events: list[object]) -> None:
    meter = METERS[name](9, len)
    whole = b"".join(b"data: %b\n\n" % json.dumps(event).encode() for event in events)
    assert b"".join(sighting.raw for sighting in meter.feed(whole)) == whole
    assert meter.output_tokens() >= 0
    assert meter.text_events <= len(events)
    assert meter.fail(stream_cut(7), "req_1").endswith(b"\n\n")
