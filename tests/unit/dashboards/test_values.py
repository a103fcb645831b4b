"""Periods, amounts, tables, cards, sessions and colours: the plain values behind the pages."""

import csv
import io
from dataclasses import fields
from datetime import UTC, date, datetime

import pytest

from dashboards import sessions, theme
from dashboards.amounts import milliseconds, percent, usd_exact, usd_short
from dashboards.assets import Assets
from dashboards.cards import Totals, cards_of, small_share, totals_of
from dashboards.overview import days_of, freshness_text
from dashboards.panels import PANELS
from dashboards.payloads import MAX_TABLE_ROWS, panel_payload
from dashboards.periods import LABELS, PeriodError, period_at
from dashboards.request_page import is_table, table_columns
from dashboards.tables import csv_of, heading, table_of

DAY_MS = 86_400_000
NOON_MS = int(datetime(2026, 3, 31, 12, tzinfo=UTC).timestamp()) * 1000


def utc(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")


def test_seven_days_are_whole_days_that_end_now() -> None:
    period = period_at("7d", NOON_MS)
    assert utc(period.from_ms) == "2026-03-25 00:00"
    assert period.to_ms == NOON_MS + 1
    assert utc(period.before_from_ms) == "2026-03-18 00:00"
    assert utc(period.before_to_ms) == "2026-03-24 12:00"
    assert len(days_of(period)) == 7


def test_month_to_date_is_compared_with_no_more_than_last_month() -> None:
    period = period_at("mtd", NOON_MS)
    assert utc(period.from_ms) == "2026-03-01 00:00"
    assert utc(period.before_from_ms) == "2026-02-01 00:00"
    assert utc(period.before_to_ms) == "2026-03-01 00:00"


@pytest.mark.parametrize("key", LABELS)
def test_the_comparison_never_overlaps_the_period(key: str) -> None:
    period = period_at(key, NOON_MS)
    assert period.before_from_ms < period.before_to_ms <= period.from_ms < period.to_ms


def test_an_unknown_period_names_those_that_exist() -> None:
    with pytest.raises(PeriodError, match="expected one of 24h, 7d, 30d, mtd, got 'year'"):
        period_at("year", NOON_MS)


@pytest.mark.parametrize(
    ("nano", "text"),
    [
        (0, "$0.00"),
        (1, "$0.000000001"),
        (12_345, "$0.0000123"),
        (500_000_000, "$0.500"),
        (1_234_500_000_000, "$1,234.50"),
        (-2_000_000_000, "-$2.00"),
    ],
)
def test_short_dollars_keep_three_digits_of_small_amounts(nano: int, text: str) -> None:
    assert usd_short(nano) == text


def test_exact_dollars_keep_every_nano() -> None:
    assert usd_exact(-12_300) == "-$0.000012300"


def test_shares_and_durations_read_well() -> None:
    assert [percent(None), percent(0.0001), percent(0.5)] == ["—", "<0.1 %", "50.0 %"]
    assert [milliseconds(0.42), milliseconds(350), milliseconds(12_300)] == [
        "0.42 ms",
        "350 ms",
        "12.3 s",
    ]


def test_a_table_shows_exact_money_and_marks_numbers() -> None:
    table = table_of([{"workflow": "", "cost_nano": 5, "day": date(2026, 1, 2), "p95_ms": None}])
    assert table.headings == ("Workflow", "Cost (USD)", "Day", "P95")
    assert table.rows == (("—", "$0.000000005", "2026-01-02", "—"),)
    assert table.numeric == (False, True, False, False)
    assert heading("input_tokens") == "Input tokens"


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n"])
def test_a_spreadsheet_runs_no_cell_of_the_csv(start: str) -> None:
    text = csv_of([{"workflow": f"{start}1+1", "saved_nano": -5}])
    header, row = list(csv.reader(io.StringIO(text, newline="")))
    assert header == ["workflow", "saved_nano", "saved_usd"]
    assert row == [f"'{start}1+1", "-5", "-0.000000005"]


TOTALS = Totals(
    requests=90,
    refused=10,
    killed=2,
    cost_nano=9_000_000_000,
    frontier_cost_nano=36_000_000_000,
    saved_nano=27_000_000_000,
)
NOTHING = Totals(0, 0, 0, 0, 0, 0)


def test_the_cards_say_what_was_spent_saved_and_stopped() -> None:
    cards = {card.id: card for card in cards_of(TOTALS, NOTHING, 0.25, "small", "7 days before")}
    assert cards["spend"].value == "$9.00"
    assert cards["saved"].value == "$27.00"
    assert cards["saved"].note.startswith("75.0 % of $36.00")
    assert cards["saved"].tone == "good"
    assert cards["requests"].value == "100"
    assert cards["stopped"].value == "12"
    assert cards["per-request"].value == "$0.100"
    assert cards["small-share"].value == "25.0 %"
    assert cards["spend"].note == "nothing in the 7 days before"


def test_the_cards_of_an_empty_period_divide_by_nothing() -> None:
    cards = {card.id: card for card in cards_of(NOTHING, NOTHING, None, "small", "before")}
    assert cards["per-request"].value == "$0.00"
    assert cards["small-share"].value == "—"
    assert cards["spend"].note == ""


def test_a_loss_against_frontier_is_shown_as_one() -> None:
    lost = Totals(1, 0, 0, 5, 4, -1)
    saved = cards_of(lost, TOTALS, None, "small", "week before")[1]
    assert (saved.value, saved.tone) == ("-$0.000000001", "bad")


def test_totals_read_the_row_of_the_query() -> None:
    row = {field.name: getattr(TOTALS, field.name) for field in fields(Totals)}
    assert totals_of([row | {"runs": 4}]) == TOTALS
    mix = [{"tier": "small", "requests": 3}, {"tier": "x", "requests": 1}]
    assert small_share(mix, "small") == 0.75


def test_a_session_ends_by_time_by_logout_and_by_crowding() -> None:
    store = sessions.SessionStore(capacity=2, ttl_s=10)
    first, second = store.open(0), store.open(1)
    assert store.holds(first, 9.9)
    assert not store.holds(first, 10)
    third, fourth = store.open(2), store.open(3)
    assert not store.holds(second, 3), "the oldest makes room"
    assert len(store) == 2
    store.close(third)
    assert not store.holds(third, 3)
    assert store.holds(fourth, 3)
    assert not store.holds("guess", 3)


def test_wrong_keys_are_limited_in_any_minute() -> None:
    limiter = sessions.FailureLimiter(limit=2, window_s=60)
    limiter.record(0)
    assert limiter.retry_after_s(1) == 0
    limiter.record(10)
    assert limiter.retry_after_s(20) == 40
    assert limiter.retry_after_s(60) == 0


@pytest.mark.parametrize("colours", [theme.LIGHT, theme.DARK], ids=["light", "dark"])
def test_text_and_charts_have_the_contrast_people_need(colours: theme.Theme) -> None:
    for surface in (colours.page, colours.card, colours.raised):
        for text in (colours.text, colours.muted, colours.accent):
            assert theme.contrast(text, surface) >= 4.5, (text, surface)
    for text in (colours.good, colours.warn, colours.bad):
        assert theme.contrast(text, colours.card) >= 4.5, text
    assert theme.contrast(colours.on_accent, colours.accent) >= 4.5
    for drawn in (*colours.series, colours.held, colours.neutral):
        assert theme.contrast(drawn, colours.card) >= 3, drawn


def test_contrast_is_that_of_wcag() -> None:
    assert theme.contrast("#000000", "#ffffff") == pytest.approx(21)
    assert theme.contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


def test_a_file_changes_its_name_with_its_content_and_is_kept_compressed() -> None:
    assets = Assets()
    plotly = assets.get(assets.name_of("plotly-basic.min.js"))
    assert plotly is not None
    assert len(plotly.gzipped) < 450_000 < len(plotly.plain)
    assert assets.get("plotly-basic.min.js") is None
    style = assets.get(assets.name_of("theme.css"))
    assert style is not None
    assert theme.DARK.page.encode() in style.plain


def test_the_chart_library_can_run_without_eval() -> None:
    assets = Assets()
    plotly = assets.get(assets.name_of("plotly-basic.min.js"))
    assert plotly is not None
    assert b"new Function" not in plotly.plain
    assert b"eval(" not in plotly.plain.replace(b"e.eval(", b"")


def test_a_long_table_is_cut_on_the_page_and_says_so() -> None:
    rows = [{"workflow": f"w{n}", "requests": 1, "cost_nano": n} for n in range(MAX_TABLE_ROWS + 7)]
    panel = PANELS["spend_by_workflow"]
    payload = panel_payload(panel, rows, period_at("7d", NOON_MS), "light", (), NOON_MS)
    assert len(payload["table"]["rows"]) == MAX_TABLE_ROWS
    assert payload["table"]["left_out"] == 7
    assert len(payload["rows"]) == MAX_TABLE_ROWS + 7


def test_freshness_says_how_far_behind_the_warehouse_is() -> None:
    assert freshness_text({}) == "Nothing collected since the gateway started."
    late = freshness_text({"lag_rows": 5_000, "last_batch_ms": NOON_MS})
    assert late.endswith("UTC. 5,000 events are waiting. The collector is behind.")


def test_evidence_is_a_table_only_when_every_entry_is_an_object() -> None:
    assert is_table([{"a": 1}, {"b": 2}])
    assert not is_table([{"a": 1}, "b"])
    assert table_columns([{"a": 1}, {"b": 2, "a": 3}]) == ["a", "b"]
