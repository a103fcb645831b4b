"""A provider's wish to be left alone, in every form that providers send it."""

import pytest

from gateway.retry_after import MAX_RETRY_AFTER_S, retry_after_ms

# Sun, 06 Nov 1994 08:49:37 GMT
NOW_MS = 784_111_777_000


@pytest.mark.parametrize(
    ("headers", "wish_ms"),
    [
        ([], 0),
        ([(b"retry-after", b"2")], 2_000),
        ([(b"retry-after", b" 0.25 ")], 250),
        ([(b"retry-after", b"0")], 0),
        ([(b"retry-after", b"Sun, 06 Nov 1994 08:49:40 GMT")], 3_000),
        ([(b"retry-after", b"Sun, 06 Nov 1994 08:49:40 -0000")], 3_000),
        ([(b"retry-after", b"Sun, 06 Nov 1994 08:49:30 GMT")], 0),
        ([(b"retry-after", b"Fri, 31 Dec 9999 23:59:59 GMT")], MAX_RETRY_AFTER_S * 1_000),
        ([(b"retry-after-ms", b"120")], 120),
        ([(b"retry-after", b"1"), (b"retry-after-ms", b"120.5")], 120),
        ([(b"retry-after-ms", b"120"), (b"retry-after", b"1")], 120),
        ([(b"retry-after-ms", b"soon"), (b"retry-after", b"1")], 1_000),
    ],
)
def test_the_wish_is_read_in_every_form(headers: list[tuple[bytes, bytes]], wish_ms: int) -> None:
    assert retry_after_ms(headers, NOW_MS) == wish_ms


@pytest.mark.parametrize("wish", [b"999999", b"9" * 5_000, b"9" * 15 + b".5", b"1" * 25 + b".1"])
def test_an_absurd_wish_is_five_minutes(wish: bytes) -> None:
    assert retry_after_ms([(b"retry-after", wish)], NOW_MS) == MAX_RETRY_AFTER_S * 1_000


@pytest.mark.parametrize(
    "wish",
    [b"", b"-1", b"soon", b"nan", b"inf", b"1e9", b"1.2.3", b"\xff\xfe", b"1;2", b"Sun, 99 Foo"],
)
def test_nonsense_is_no_wish(wish: bytes) -> None:
    for name in (b"retry-after", b"retry-after-ms"):
        assert retry_after_ms([(name, wish)], NOW_MS) == 0
