"""Figures about limits and quality: budgets, tokens, endings and latency. Pure, like `figures`."""

from collections.abc import Sequence
from typing import Any

from budgets.scopes import Unit
from dashboards.amounts import (
    amount_exact,
    amount_short,
    count,
    percent,
    share_of,
)
from dashboards.frame import (
    HOVER,
    Figure,
    Frame,
    bar_height,
    caption,
    layout_of,
    name_axis,
    safe,
    short_name,
)
from dashboards.tables import Row, cell
from dashboards.theme import Theme

NEARLY_SPENT = 0.8
MAX_BUDGETS = 15
TOKEN_CLASSES = (
    ("fresh_tokens", "Fresh input"),
    ("cached_tokens", "Cached input"),
    ("cache_write_tokens", "Cache write"),
    ("audio_input_tokens", "Audio input"),
    ("output_tokens", "Output"),
    ("reasoning_tokens", "Reasoning"),
    ("audio_output_tokens", "Audio output"),
)
QUANTILES = (
    ("Median", "first_byte_p50_ms", "gateway_p50_ms", 0, "circle"),
    ("95th percentile", "first_byte_p95_ms", "gateway_p95_ms", 1, "diamond"),
)


def ending_colour(ending: str, theme: Theme) -> str:
    """Good for a completed answer, a warning for a limit that held, bad for what broke."""
    if ending == "completed":
        return theme.good
    if ending in ("refused", "killed", "deadline_hit"):
        return theme.warn
    if ending == "client_gone":
        return theme.neutral
    return theme.bad


def budget_share(row: Row) -> float:
    """What is spent and held as a share of the limit; a limit of zero counts as used up."""
    used_nano = int(row["posted_nano"]) + int(row["held_nano"])
    return share_of(used_nano, int(row["limit_nano"])) or float(not row["limit_nano"])


def tightest(rows: Sequence[Row]) -> list[Row]:
    """The budgets nearest to their limit, at most fifteen, the tightest first."""
    return sorted(rows, key=lambda row: (-budget_share(row), str(row["scope"])))[:MAX_BUDGETS]


def _budget_colour(share: float, theme: Theme) -> str:
    if share >= 1:
        return theme.bad
    return theme.warn if share >= NEARLY_SPENT else theme.good


def _budget_text(row: Row) -> str:
    return caption(
        f"{safe(str(row['scope']))} · {row['window']} ({safe(str(row['timezone']))})",
        f"spent {amount_exact(int(row['posted_nano']), Unit(row['unit']))}",
        f"held {amount_exact(int(row['held_nano']), Unit(row['unit']))}",
        f"limit {amount_exact(int(row['limit_nano']), Unit(row['unit']))}",
    )


def _budget_name(row: Row) -> str:
    unit = Unit(row["unit"])
    spent, limit = (amount_short(int(row[name]), unit) for name in ("posted_nano", "limit_nano"))
    what = "" if unit is Unit.USD else f" {unit.value}"
    amounts = f"{spent} of {limit}{what}"
    return f"{short_name(str(row['scope']))} · {row['window']}{caption('', amounts)}"


def _share_of_limit(row: Row, column: str) -> float:
    limit_nano = int(row["limit_nano"])
    return share_of(int(row[column]), limit_nano) or float(not limit_nano and bool(row[column]))


def budgets(rows: Sequence[Row], frame: Frame) -> Figure:
    """A bullet for each budget: spent and held as a share of its limit, the limit as the track.

    Budgets of a cent and of a thousand dollars share one axis, so it shows per cent; the dollars
    stand below each name.
    """
    shown = tightest(rows)
    places = list(range(len(shown)))
    texts = [_budget_text(row) for row in shown]
    spent = [_share_of_limit(row, "posted_nano") for row in shown]
    held = [_share_of_limit(row, "held_nano") for row in shown]
    colours = [_budget_colour(budget_share(row), frame.theme) for row in shown]
    widest = max([1.0, *(used + kept for used, kept in zip(spent, held, strict=True))])

    def bars(name: str, x: list[float], colour: object, **own: Any) -> dict[str, Any]:
        return {
            "type": "bar",
            "orientation": "h",
            "name": name,
            "x": x,
            "y": places,
            "marker": {"color": colour},
            "customdata": texts,
            "hovertemplate": HOVER,
            **own,
        }

    track = bars("Limit", [1.0] * len(shown), frame.theme.raised, width=0.72)
    return {
        "data": [
            track,
            bars("Spent", spent, colours, width=0.36),
            bars("Held", held, frame.theme.held, width=0.36, base=spent),
        ],
        "layout": layout_of(
            frame,
            height=bar_height(len(shown), row_px=46),
            barmode="overlay",
            showlegend=False,
            xaxis={"tickformat": ".0%", "range": [0, widest * 1.02], "nticks": 6},
            yaxis=name_axis([_budget_name(row) for row in shown]),
        ),
    }


def _counts(names: Sequence[str], values: Sequence[int], colours: object, frame: Frame) -> Figure:
    most, total = max(values, default=0), sum(values)
    bars = {
        "type": "bar",
        "orientation": "h",
        "x": list(values),
        "y": list(range(len(values))),
        "text": [count(value) for value in values],
        "textposition": "outside",
        "cliponaxis": False,
        "marker": {"color": colours},
        "customdata": [
            caption(safe(name), f"{count(value)} · {percent(share_of(value, total))}")
            for name, value in zip(names, values, strict=True)
        ],
        "hovertemplate": HOVER,
    }
    return {
        "data": [bars],
        "layout": layout_of(
            frame,
            height=bar_height(len(values)),
            showlegend=False,
            xaxis={"range": [0, most * 1.2 or 1], "nticks": 5, "tickformat": "~s"},
            yaxis=name_axis([short_name(name) for name in names]),
        ),
    }


def token_rows(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The one row of `totals` as one row a class, without the classes nothing was counted in."""
    sums = [
        {"token_class": name, "tokens": sum(int(row[column]) for row in rows)}
        for column, name in TOKEN_CLASSES
    ]
    return [row for row in sums if row["tokens"]]


def tokens(rows: Sequence[Row], frame: Frame) -> Figure:
    """Tokens by billing class; the classes are disjoint, so they add up to the total."""
    names = [str(row["token_class"]) for row in rows]
    return _counts(names, [int(row["tokens"]) for row in rows], frame.theme.series[0], frame)


def endings(rows: Sequence[Row], frame: Frame) -> Figure:
    """Requests by how they ended."""
    ranked = sorted(rows, key=lambda row: -int(row["requests"]))
    names = [str(row["ending"]) for row in ranked]
    return _counts(
        [name.replace("_", " ") for name in names],
        [int(row["requests"]) for row in ranked],
        [ending_colour(name, frame.theme) for name in names],
        frame,
    )


def latency(rows: Sequence[Row], frame: Frame) -> Figure:
    """Median and 95th percentile of the time to the first byte, by model; unmeasured has no dot."""

    def text(row: Row, name: str, column: str, gateway_column: str) -> str:
        waited, gateway = cell(column, row[column]), cell(gateway_column, row[gateway_column])
        return caption(
            safe(str(row["model"])),
            f"{name} {waited}, of it in the gateway {gateway}",
            f"{count(int(row['requests']))} requests",
        )

    dots = [
        {
            "type": "scatter",
            "mode": "markers",
            "name": name,
            "x": [row[column] for row in rows],
            "y": list(range(len(rows))),
            "marker": {"size": 12, "color": frame.theme.series[slot], "symbol": symbol},
            "customdata": [text(row, name, column, gateway_column) for row in rows],
            "hovertemplate": HOVER,
        }
        for name, column, gateway_column, slot, symbol in QUANTILES
    ]
    return {
        "data": dots,
        "layout": layout_of(
            frame,
            height=bar_height(len(rows)) + 40,
            showlegend=True,
            xaxis={"ticksuffix": " ms", "rangemode": "tozero", "nticks": 5},
            yaxis=name_axis([short_name(str(row["model"])) for row in rows]),
        ),
    }
