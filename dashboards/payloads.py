"""What a panel answers to the page: the figure, its rows, the one-line answer and their date."""

from collections.abc import Sequence
from typing import Any

from dashboards.amounts import utc_time
from dashboards.frame import Frame
from dashboards.overview import days_of
from dashboards.panels import Panel
from dashboards.periods import Period
from dashboards.tables import Row, table_of
from dashboards.theme import PLOTLY_CONFIG, SCHEMES

MAX_TABLE_ROWS = 500
_EMPTY_BUDGETS = "No budget is configured. Add [[budgets]] to the configuration to set a limit."
_EMPTY = "No request in this period."


def panel_payload(
    panel: Panel,
    rows: Sequence[Row],
    period: Period,
    scheme: str,
    tiers: tuple[str, ...],
    as_of_ms: int,
) -> dict[str, Any]:
    """The JSON of one panel; `figure` is None for a plain table and where there are no rows.

    The table holds 500 rows at most and says so; the CSV holds all.
    """
    frame = Frame(theme=SCHEMES[scheme], days=days_of(period), tiers=tiers)
    table = table_of(rows[:MAX_TABLE_ROWS])
    return {
        "panel": panel.id,
        "title": panel.title,
        "question": panel.question,
        "definition": panel.definition,
        "answer": panel.answer(rows) if rows else "",
        "empty": _EMPTY_BUDGETS if panel.query is None else _EMPTY,
        "as_of": utc_time(as_of_ms),
        "as_of_ms": as_of_ms,
        "from_ms": period.from_ms,
        "to_ms": period.to_ms,
        "figure": panel.draw(rows, frame) if rows and panel.draw else None,
        "config": PLOTLY_CONFIG,
        "table": {
            "headings": table.headings,
            "numeric": table.numeric,
            "rows": table.rows,
            "left_out": max(0, len(rows) - MAX_TABLE_ROWS),
        },
        "rows": rows,
    }
