"""Every figure is valid in Plotly's own schema, exact about money, and safe to show."""

import json
from typing import Any

import plotly.graph_objects as go
import pytest

from dashboards import breakdowns, figures
from dashboards.frame import Frame, caption, safe, short_name
from dashboards.panels import CHARTS, PANELS
from dashboards.theme import DARK, LIGHT, PLOTLY_CONFIG, plotly_template

DAYS = ("2026-11-04", "2026-11-05", "2026-11-06")
FRAME = Frame(theme=LIGHT, days=DAYS, tiers=("small", "frontier"))
MARKUP = '<img src=x onerror="alert(1)">'


def spend(column: str, name: str, cost_nano: int, requests: int = 1) -> dict[str, Any]:
    return {column: name, "cost_nano": cost_nano, "requests": requests}


ROWS: dict[str, list[dict[str, Any]]] = {
    "spend_by_day": [
        {"day": DAYS[0], "workflow": MARKUP, "requests": 2, "cost_nano": 1_500_000_001},
        {"day": DAYS[2], "workflow": "b", "requests": 1, "cost_nano": 7},
    ],
    "savings": [
        {
            "day": DAYS[1],
            "cost_nano": 5,
            "compared_cost_nano": 4,
            "frontier_cost_nano": 10,
            "saved_nano": 6,
        }
    ],
    "tier_mix": [
        {"day": DAYS[0], "tier": "frontier", "requests": 1, "cost_nano": 90},
        {"day": DAYS[0], "tier": "small", "requests": 3, "cost_nano": 10},
        {"day": DAYS[1], "tier": MARKUP, "requests": 1, "cost_nano": 1},
    ],
    "spend_by_workflow": [spend("workflow", MARKUP, 3), spend("workflow", "2024", 9)],
    "spend_by_team": [spend("team", "", 3)],
    "spend_by_model": [spend("model", "gpt-5.5", 2_000_000_000)],
    "tokens": [{"token_class": "Output", "tokens": 12}],
    "endings": [
        {"ending": "completed", "requests": 8, "cost_nano": 1},
        {"ending": "upstream_failed", "requests": 2, "cost_nano": 0},
    ],
    "latency": [
        {
            "model": MARKUP,
            "requests": 3,
            "first_byte_p50_ms": 12.5,
            "first_byte_p95_ms": None,
            "gateway_p50_ms": 0.3,
            "gateway_p95_ms": 0.9,
        }
    ],
    "budgets": [
        {
            "name": "a",
            "scope": f"workflow:{MARKUP}",
            "window": "month",
            "unit": "usd",
            "timezone": "UTC",
            "limit_nano": 100,
            "posted_nano": 85,
            "held_nano": 5,
        }
    ],
}


@pytest.mark.parametrize("panel", CHARTS, ids=lambda panel: panel.id)
@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_every_figure_is_valid_plotly(panel: Any, theme: Any) -> None:
    rows = ROWS[panel.id]
    drawn = panel.draw(rows, Frame(theme=theme, days=DAYS, tiers=("small", "frontier")))
    made = go.Figure(drawn)
    assert len(made.data) == len(drawn["data"]) > 0
    assert made.layout.template.layout.paper_bgcolor == theme.card
    assert panel.answer(rows)


@pytest.mark.parametrize("panel", CHARTS, ids=lambda panel: panel.id)
def test_no_figure_carries_markup_of_a_caller(panel: Any) -> None:
    text = json.dumps(panel.draw(ROWS[panel.id], FRAME))
    assert "<img" not in text


def test_every_chart_has_sample_rows_here() -> None:
    assert set(ROWS) == {panel.id for panel in CHARTS}
    assert set(PANELS) - set(ROWS) == {"requests_recent"}


def test_a_caption_keeps_dollars_out_of_the_formula_reader() -> None:
    assert caption("$1", "of $2") == "&#36;1<br>of &#36;2"


def test_safe_names_escape_markup_and_name_the_empty_one() -> None:
    assert safe("a<b>&c") == "a&lt;b&gt;&amp;c"
    assert safe("") == "(none)"
    assert short_name("x" * 60) == "x" * 27 + "…"


def test_a_name_that_looks_like_a_year_stays_a_name() -> None:
    axis = figures.spend_by_workflow(ROWS["spend_by_workflow"], FRAME)["layout"]["yaxis"]
    assert axis["ticktext"][0] == "2024"
    assert axis["tickvals"] == [0, 1]


def test_the_hover_text_keeps_every_nano_dollar() -> None:
    drawn = figures.spend_by_day(ROWS["spend_by_day"], FRAME)
    assert "&#36;1.500000001" in drawn["data"][0]["customdata"][0]


def test_a_day_without_a_row_is_drawn_as_zero() -> None:
    drawn = figures.spend_by_day(ROWS["spend_by_day"], FRAME)
    assert drawn["data"][0]["x"] == list(DAYS)
    assert drawn["data"][0]["y"] == [1.500000001, 0, 0]


def test_workflows_beyond_the_seven_dearest_share_one_stack() -> None:
    rows = [
        {"day": DAYS[0], "workflow": f"w{n}", "requests": 1, "cost_nano": n} for n in range(1, 11)
    ]
    stacks = figures.spend_by_day(rows, FRAME)["data"]
    assert [stack["name"] for stack in stacks][-1] == "everything else"
    assert len(stacks) == 8
    assert stacks[-1]["y"][0] == pytest.approx((1 + 2 + 3) / 1e9)


def test_bars_beyond_the_limit_are_added_up_and_nothing_is_lost() -> None:
    rows = [spend("workflow", f"w{n}", n * 1_000_000_000) for n in range(1, 31)]
    bars = figures.spend_by_workflow(rows, FRAME)["data"][0]
    assert len(bars["x"]) == figures.MAX_BARS
    assert sum(bars["x"]) == sum(range(1, 31))


def test_tiers_are_stacked_from_cheap_to_dear_and_add_up_to_one() -> None:
    stacks = figures.tier_mix(ROWS["tier_mix"], FRAME)["data"]
    assert [stack["name"] for stack in stacks][:2] == ["small", "frontier"]
    assert [sum(stack["y"][at] for stack in stacks) for at in range(3)] == [1, 1, 0]


def test_savings_compare_like_with_like() -> None:
    bars, line = figures.savings(ROWS["savings"], FRAME)["data"]
    assert bars["y"] == [0, 4e-9, 0]
    assert line["y"] == [0, 1e-8, 0]
    assert "saved &#36;0.000000006" in bars["customdata"][1]


@pytest.mark.parametrize(
    ("posted_nano", "held_nano", "limit_nano", "colour"),
    [
        (10, 5, 100, LIGHT.good),
        (70, 10, 100, LIGHT.warn),
        (99, 1, 100, LIGHT.bad),
        (0, 0, 0, LIGHT.bad),
    ],
)
def test_a_budget_is_coloured_by_what_is_spent_and_held(
    posted_nano: int, held_nano: int, limit_nano: int, colour: str
) -> None:
    row = {
        **ROWS["budgets"][0],
        "posted_nano": posted_nano,
        "held_nano": held_nano,
        "limit_nano": limit_nano,
    }
    spent = breakdowns.budgets([row], FRAME)["data"][1]
    assert spent["marker"]["color"] == [colour]


def test_a_budget_in_tokens_is_told_in_tokens() -> None:
    row = {**ROWS["budgets"][0], "unit": "tokens", "posted_nano": 1_200, "limit_nano": 5_000}
    drawn = breakdowns.budgets([row], FRAME)
    assert "spent 1,200 tokens" in drawn["data"][1]["customdata"][0]
    assert "1,200 of 5,000 tokens" in str(drawn["layout"]["yaxis"])


def test_the_tightest_budgets_come_first_and_at_most_fifteen() -> None:
    rows = [
        {**ROWS["budgets"][0], "scope": f"key:{n}", "posted_nano": n, "held_nano": 0}
        for n in range(40)
    ]
    shown = breakdowns.tightest(rows)
    assert [row["scope"] for row in shown] == [f"key:{n}" for n in range(39, 24, -1)]


def test_token_rows_leave_out_classes_nothing_was_counted_in() -> None:
    totals = {column: 0 for column, _ in breakdowns.TOKEN_CLASSES} | {"output_tokens": 4}
    assert breakdowns.token_rows([totals]) == [{"token_class": "Output", "tokens": 4}]


def test_no_chart_offers_to_send_its_data_away() -> None:
    assert PLOTLY_CONFIG["showSendToCloud"] is False
    assert PLOTLY_CONFIG["plotlyServerURL"] == ""
    assert PLOTLY_CONFIG["displayModeBar"] is False
    assert "newchart" not in json.dumps(plotly_template(LIGHT))
