"""Which differences between two requests tell conversations apart, and which tell nothing."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.turns import LATER_CHARS, OPENING_CHARS, anchor_of, turns_of

ASK = {"role": "user", "content": "Where is my parcel?"}
CALL = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"id": "call_1", "function": {"name": "find", "arguments": "{}"}}],
}
FOUND = {"role": "tool", "tool_call_id": "call_1", "content": "in Kiel"}
ANSWER = {"role": "assistant", "content": "In Kiel."}
THANKS = {"role": "user", "content": "Thanks. And the other?"}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=12,
)


def text_block(text: str, **more: Any) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "text", "text": text, **more}]}


def whole(*items: Any) -> int:
    turns = turns_of(items)
    assert turns is not None
    return turns.whole


def test_what_stands_before_an_answer_is_what_the_earlier_request_said() -> None:
    later = turns_of([ASK, CALL, FOUND, ANSWER, THANKS])
    assert later is not None
    assert [before for before, _ in later.branches] == [whole(ASK, CALL, FOUND), whole(ASK)]


def test_an_answer_that_a_client_begins_itself_belongs_to_no_request() -> None:
    assert whole(ASK, {"role": "assistant", "content": "{"}) == whole(ASK)


@pytest.mark.parametrize("items", [[], [None, 7, "x"], [{"role": "system", "content": "x"}]])
def test_where_nobody_says_anything_there_are_no_turns(items: list[Any]) -> None:
    assert turns_of(items) is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([{"role": "system", "content": "It is 9:00"}, ASK], [ASK]),
        ([text_block("Hi", cache_control={"type": "ephemeral"})], [text_block("Hi")]),
        ([text_block("Hi")], [{"role": "user", "content": "Hi"}]),
        ([{"role": "user", "type": "message", "content": "Hi"}], [text_block("Hi")]),
        ([ASK, {"type": "reasoning", "summary": []}], [ASK]),
    ],
)
def test_what_says_nothing_makes_no_difference(one: list[Any], other: list[Any]) -> None:
    assert whole(*one) == whole(*other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([ASK], [THANKS]),
        ([ASK], [{"role": "assistant", "content": ASK["content"]}, ASK]),
        ([ASK, CALL, FOUND], [ASK, CALL, {**FOUND, "tool_call_id": "call_2"}]),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "a"}}]}],
            [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "b"}}]}],
        ),
        (
            [{"type": "function_call_output", "call_id": "a", "output": "1"}],
            [{"type": "function_call_output", "call_id": "b", "output": "1"}],
        ),
        ([ASK, ASK], [ASK]),
    ],
)
def test_what_is_said_makes_a_difference(one: list[Any], other: list[Any]) -> None:
    assert whole(*one) != whole(*other)


def test_beginnings_are_read_whole_and_later_texts_in_parts() -> None:
    long = "x" * (OPENING_CHARS - 10)
    begins = [{"role": "user", "content": f"{long}{end}{long[:5]}"} for end in "ab"]
    assert whole(begins[0]) != whole(begins[1])
    later = [{"role": "user", "content": "y" * LATER_CHARS + end} for end in "ab"]
    assert whole(ASK, ANSWER, later[0]) != whole(ASK, ANSWER, later[1])


def test_an_anchor_is_of_the_first_answer_and_what_follows_it_and_never_changes() -> None:
    early = anchor_of([ASK, CALL, FOUND])
    assert anchor_of([ASK, CALL, FOUND, ANSWER, THANKS]) == early
    assert anchor_of([ASK, ANSWER, THANKS]) != early
    assert early.hex() == "b803462ef0a938e97f4cead7b03e9f31"


def test_half_a_character_has_an_anchor_too() -> None:
    assert len(anchor_of([{"role": "user", "content": "\ud800"}])) == 16


@given(st.lists(JSON | st.fixed_dictionaries({"role": JSON, "content": JSON, "tool_calls": JSON})))
def test_whatever_stands_in_a_list_of_messages_is_borne(items: list[Any]) -> None:
    turns_of(items)
    assert len(anchor_of(items)) == 16
