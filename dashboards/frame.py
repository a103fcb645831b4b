"""What every figure is built from: the frame it is drawn in, safe names, axes and layout.

Names come from callers and Plotly reads a subset of HTML in every text: each name passes `safe`.
Categories are placed by position, so that a workflow called `2024` is not taken for a date.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, TypeAlias

from dashboards.theme import Theme, plotly_template

Figure: TypeAlias = dict[str, Any]

HOVER = "%{customdata}<extra></extra>"
_MAX_NAME = 28
_DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Frame:
    """What a figure needs beside its rows: colours, the days on the axis, tiers cheap to dear."""

    theme: Theme
    days: tuple[str, ...]
    tiers: tuple[str, ...]


def safe(name: str) -> str:
    """A caller's text so that Plotly shows it as it is; empty becomes `(none)`."""
    return name.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;") or "(none)"


def caption(*lines: str) -> str:
    """Lines of one text. Two dollar signs would make Plotly look for a formula between them."""
    return "<br>".join(lines).replace("$", "&#36;")


def short_name(name: str) -> str:
    """A name short enough for an axis or a legend."""
    return caption(safe(name if len(name) <= _MAX_NAME else f"{name[: _MAX_NAME - 1]}…"))


def layout_of(frame: Frame, **own: Any) -> dict[str, Any]:
    return {"template": plotly_template(frame.theme), "hovermode": "closest", **own}


def day_axis(frame: Frame) -> dict[str, Any]:
    """Every day of the period, also those without a row; no tick is closer than a day."""
    ticks = {"dtick": _DAY_MS} if len(frame.days) <= 7 else {"nticks": min(len(frame.days), 10)}
    return {
        "type": "date",
        "range": [f"{_day_before(frame.days[0])} 09:00", f"{frame.days[-1]} 15:00"],
        "tickformat": "%-d %b",
        **ticks,
        "showgrid": False,
        "tickangle": 0,
    }


def _day_before(day: str) -> str:
    return (date.fromisoformat(day) - timedelta(days=1)).isoformat()


def usd_axis(most_usd: float, **own: Any) -> dict[str, Any]:
    """Dollars from zero up; with cents where the longest bar has some."""
    cents = {"tickformat": ",.2f"} if most_usd >= 0.1 else {}
    return {"tickprefix": "$", "rangemode": "tozero", "nticks": 6, **cents, **own}


def name_axis(names: Sequence[str]) -> dict[str, Any]:
    """Names, already safe, from top to bottom beside horizontal bars."""
    return {
        "tickmode": "array",
        "tickvals": list(range(len(names))),
        "ticktext": list(names),
        "range": [len(names) - 0.5, -0.5],
        "showgrid": False,
        "zeroline": False,
        "ticks": "outside",
        "ticklen": 6,
        "tickcolor": "rgba(0,0,0,0)",
    }


def bar_height(bars: int, row_px: int = 34) -> int:
    """Pixels of a chart with so many horizontal bars."""
    return 64 + row_px * max(bars, 1)
