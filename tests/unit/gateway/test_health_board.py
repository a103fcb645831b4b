"""The board remembers who failed, and forgets it with the first success."""

import pytest

from gateway.clock import now_ms
from gateway.health_board import HealthBoard
from gateway.retry_after import MAX_RETRY_AFTER_S
from routing.catalog import ModelCard
from routing.health import DEFAULT_LIMITS

CARD = ModelCard("m", "p", "up", "m", 1_000, 100)
OTHER = ModelCard("n", "p", "up", "n", 1_000, 100)


def down(board: HealthBoard, card: ModelCard = CARD, after_ms: int = 0) -> bool:
    return board.health.why_down(card, now_ms() + after_ms) is not None


def test_many_failures_in_a_row_are_enough_and_one_success_is_too() -> None:
    board, few = HealthBoard(), DEFAULT_LIMITS.failures_at_once - 1
    for _ in range(few):
        board.failed(CARD, "connect")
    board.answered(CARD, 200, ())
    for _ in range(few):
        board.answered(CARD, 500, ())
    assert not down(board)
    board.failed(CARD, "connect")
    assert down(board)
    assert not down(board, OTHER)
    assert not down(board, after_ms=6_000)


def test_after_the_pause_one_request_probes_and_the_others_stay_away() -> None:
    board = HealthBoard()
    board.answered(CARD, 429, [(b"retry-after", b"0")])
    assert not down(board)
    board.answered(CARD, 429, [(b"retry-after", b"3")])
    assert down(board)
    assert not down(board, after_ms=3_100)


@pytest.mark.parametrize("status", [400, 404, 422])
def test_a_refusal_that_the_request_caused_says_nothing_about_the_provider(status: int) -> None:
    board = HealthBoard()
    for _ in range(10):
        board.answered(CARD, status, [(b"retry-after", b"60")])
    assert not down(board)


@pytest.mark.parametrize("wish", [b"Wed, 21 Oct 2015 07:28:00 GMT", b"-1", b"soon", b""])
def test_a_wish_that_is_no_number_of_seconds_is_no_wish(wish: bytes) -> None:
    board = HealthBoard()
    board.answered(CARD, 429, [(b"retry-after", wish)])
    assert not down(board)


def test_no_provider_rests_longer_than_five_minutes_for_its_wish() -> None:
    board = HealthBoard()
    board.answered(CARD, 503, [(b"x", b"y"), (b"retry-after", b"999999")])
    assert down(board, after_ms=(MAX_RETRY_AFTER_S - 1) * 1_000)
    assert not down(board, after_ms=(MAX_RETRY_AFTER_S + 1) * 1_000)


def test_a_healthy_board_is_not_touched_by_requests() -> None:
    board = HealthBoard()
    before = board.health
    board.asked(CARD)
    board.answered(CARD, 200, ())
    assert board.health is before
