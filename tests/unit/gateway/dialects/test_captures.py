"""Every captured stream passes byte for byte, however it is cut, and every meter finds the same."""

from collections.abc import Callable, Iterator

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.port import Meter
from gateway.meter import MAX_EVENT_BYTES, Sighting
from tests.unit.gateway.dialects.captures import FINDINGS, FOLDER, capture, meter_for

LINE_ENDS = [b"\n", b"\r\n", b"\r"]
SIZES = st.lists(st.integers(1, 700), max_size=60)


def pieces(whole: bytes, sizes: list[int]) -> Iterator[bytes]:
    at = 0
    for size in [*sizes, len(whole)]:
        if at < len(whole):
            yield whole[at : at + size]
        at += size


def heard(texts: list[str]) -> Callable[[str], int]:
    """A tokenizer that keeps what it was asked to count."""

    def count(text: str) -> int:
        texts.append(text)
        return len(text.split())

    return count


def read_through(name: str, whole: bytes, sizes: list[int]) -> tuple[Meter, list[Sighting], str]:
    texts: list[str] = []
    meter = meter_for(name, heard(texts))
    seen: list[Sighting] = []
    for piece in pieces(whole, sizes):
        seen += meter.feed(piece)
    meter.allow(1 << 60, 1)  # a watermark makes the meter count what it has
    meter.at_watermark()
    return meter, seen, "".join(texts)


def test_every_capture_has_a_finding_and_every_finding_a_capture() -> None:
    on_disk = {
        path.relative_to(FOLDER).with_suffix("").as_posix() for path in FOLDER.rglob("*.sse")
    }
    assert on_disk == set(FINDINGS)


@pytest.mark.parametrize("name", FINDINGS)
@given(sizes=SIZES, line_end=st.sampled_from(LINE_ENDS))
def test_a_stream_passes_byte_for_byte_and_tells_the_same_in_every_chunking(
    name: str, sizes: list[int], line_end: bytes
) -> None:
    whole = capture(name).replace(b"\n", line_end)
    meter, seen, text = read_through(name, whole, sizes)
    expected = FINDINGS[name]
    assert b"".join(one.raw for one in seen) + meter.pending == whole
    assert (meter.usage, meter.fault, meter.early) == (expected.usage, None, expected.early)
    assert (meter.finished, meter.error_seen) == (expected.finished, expected.failed)
    assert text == expected.text
    assert sum(one.only_usage for one in seen) == expected.hidden
    assert sum(one.done for one in seen) == expected.finished
    assert dict(meter.extras.tool_uses) == expected.uses
    assert not meter.over_limit()
    assert meter.response_id or expected.usage is None


@pytest.mark.parametrize("name", FINDINGS)
def test_a_stream_that_comes_byte_by_byte_is_the_same(name: str) -> None:
    whole = capture(name)
    meter, seen, text = read_through(name, whole, [1] * len(whole))
    assert b"".join(one.raw for one in seen) + meter.pending == whole
    assert (meter.usage, text) == (FINDINGS[name].usage, FINDINGS[name].text)


@pytest.mark.parametrize("name", [name for name in FINDINGS if FINDINGS[name].text])
def test_a_stream_is_over_its_limit_as_soon_as_more_is_generated(name: str) -> None:
    meter = meter_for(name, lambda text: 0, limit_tokens=0)
    cut_at = next(place for place, _ in enumerate(meter.each(capture(name))) if meter.over_limit())
    assert meter.text_events == 1
    assert cut_at < len(meter_for(name, len).feed(capture(name)))


LARGE = {
    "chat/text": lambda text: {"choices": [{"index": 0, "delta": {"content": text}}]},
    "completions/text": lambda text: {"choices": [{"index": 0, "text": text}]},
    "messages/text": lambda text: {
        "type": "content_block_delta",
        "index": 0,
        "delta": {"type": "text_delta", "text": text},
    },
    "responses/text": lambda text: {"type": "response.output_text.delta", "delta": text},
}


@pytest.mark.parametrize("name", LARGE)
def test_an_event_of_five_megabytes_is_read_and_one_beyond_the_limit_is_told(name: str) -> None:
    text = "b\u00fc" * 1_700_000
    event = b"data: " + orjson.dumps(LARGE[name](text)) + b"\n\n"
    assert len(event) > 5_000_000
    meter = meter_for(name, lambda text: 1)
    seen: list[Sighting] = []
    for start in range(0, len(event), 65_536):
        seen += meter.feed(event[start : start + 65_536])
    assert [one.raw for one in seen] == [event]
    assert meter.text_bytes == len(text.encode())
    assert not meter.oversized
    meter.feed(b"data: " + b"x" * MAX_EVENT_BYTES)
    assert meter.oversized
