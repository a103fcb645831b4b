"""The data of an event is found whatever stands around it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.chat import ChatMeter
from gateway.dialects.events import data_of, named_event, object_in

LINES = st.lists(
    st.sampled_from(
        [b"event: x", b"event:", b"data: {}", b"data:{}", b"data: [DONE]", b"data", b": note",
         b"id: 7", b"retry: 9", b"data: ", b"data:  two", b"dataset: no", b"event: data: x"]
    ),
    max_size=6,
)  # fmt: skip


@given(LINES, st.sampled_from([b"\n", b"\r\n", b"\r"]))
def test_data_is_what_the_lines_say_whatever_ends_them(lines: list[bytes], end: bytes) -> None:
    told = [line[5:].removeprefix(b" ") for line in lines if line.startswith(b"data:")]
    expected = b"\n".join(told).strip() if told else None
    assert data_of(end.join([*lines, b"", b""])) == expected


@pytest.mark.parametrize(
    ("event", "data"),
    [
        (b"event: message_stop\ndata: {}\n\n", b"{}"),
        (b"event: message_stop\r\ndata: {}\r\n\r\n", b"{}"),
        (b"data: {}\nevent: late\n\n", b"{}"),
        (b"event: ping\n\n", None),
        (b"event: two\ndata: one\ndata: two\n\n", b"one\ntwo"),
    ],
)
def test_data_is_found_before_and_after_the_name(event: bytes, data: bytes | None) -> None:
    assert data_of(event) == data


def test_half_a_character_is_text_all_the_same() -> None:
    meter = ChatMeter(100, len)
    meter.feed(b'data: {"choices":[{"delta":{"content":"a\\ud83d"}}]}\n\n')
    assert meter.text_events == 1
    assert meter.text_bytes == 4


@pytest.mark.parametrize("data", [b"7", b"[]", b"x", b"", b'{"a":', b"[" * 100_000])
def test_what_is_no_object_is_none(data: bytes) -> None:
    assert object_in(data) is None


def test_an_event_of_ours_has_a_name_and_data() -> None:
    assert named_event("error", {"a": "\u00fc"}) == 'event: error\ndata: {"a":"ü"}\n\n'.encode()
