"""Events come apart the same in every chunking, and a long one costs no more than its length."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.meter import EventSplitter

PIECES = st.lists(
    st.sampled_from([b"\n", b"\r", b"\r\n", b"\n\n", b"\r\n\r\n", b"\r\r", b"data: x", b"a"]),
    max_size=14,
)


def in_chunks(whole: bytes, sizes: list[int]) -> tuple[list[bytes], EventSplitter]:
    splitter = EventSplitter()
    events: list[bytes] = []
    at = 0
    for size in [*sizes, len(whole)]:
        if at < len(whole):
            events += splitter.feed(whole[at : at + size])
        at += size
    return events, splitter


@given(PIECES, st.lists(st.integers(1, 9), max_size=30))
def test_any_bytes_are_kept_and_what_is_pending_ends_no_event(
    pieces: list[bytes], sizes: list[int]
) -> None:
    whole = b"".join(pieces)
    events, splitter = in_chunks(whole, sizes)
    assert b"".join(events) + splitter.pending == whole
    assert splitter.size == len(splitter.pending)
    for event in events:
        assert event.endswith((b"\n\n", b"\r\n\r\n", b"\r\r"))
    for mark in (b"\n\n", b"\r\n\r\n", b"\r\r"):
        assert mark not in splitter.pending


@given(st.lists(st.sampled_from([b"data: x", b"a", b": note"]), min_size=1, max_size=6), st.data())
def test_one_kind_of_line_end_gives_the_same_events_in_every_chunking(
    lines: list[bytes], data: st.DataObject
) -> None:
    end = data.draw(st.sampled_from([b"\n", b"\r\n", b"\r"]))
    whole = b"".join(line + end + end for line in lines) + b"data: un"
    sizes = data.draw(st.lists(st.integers(1, 9), max_size=30))
    events, splitter = in_chunks(whole, sizes)
    assert events == [line + end + end for line in lines]
    assert splitter.pending == b"data: un"


def test_a_long_event_is_not_copied_again_with_every_chunk() -> None:
    class Counted(bytes):
        """Bytes that tell how much of them was searched or joined to something."""

        touched = 0

        def __radd__(self, other: bytes) -> bytes:
            Counted.touched += len(other)
            return bytes(other) + bytes(self)

    splitter = EventSplitter()
    for _ in range(1_000):
        assert splitter.feed(Counted(b"x" * 1_000)) == []
    assert splitter.size == 1_000_000
    assert Counted.touched <= 3 * 1_000
    (event,) = splitter.feed(b"\n\n")
    assert len(event) == 1_000_002
