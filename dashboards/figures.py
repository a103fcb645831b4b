"""Rows become figures: plain Plotly JSON, pure, one function a chart. Here: where the money went.

The figures are dictionaries in Plotly's own schema and `plotly.graph_objects` stays out of the
process that serves requests: importing it took 29 MB and 0.26 s, and one stacked chart of 8 x 30
bars 2.6 ms instead of 0.02 ms (Python 3.11, plotly 7.1). The tests hand every figure to
`plotly.graph_objects.Figure`, which refuses what is not in the schema.

Lengths are dollars as floats; the exact amount is in the hover text and in the table.
"""

from collections.abc import Mapping, Sequence

from dashboards.amounts import count, percent, share_of, usd_exact, usd_float, usd_short
from dashboards.frame import (
    HOVER,
    Figure,
    Frame,
    bar_height,
    caption,
    day_axis,
    layout_of,
    name_axis,
    safe,
    short_name,
    usd_axis,
)
from dashboards.tables import Row

MAX_BARS = 10
MAX_STACKS = 7
_OTHER = "everything else"


def _top(rows: Sequence[Row], column: str, limit: int) -> list[tuple[str, int, int]]:
    """(name, cost in nano-USD, requests), dearest first; what is beyond `limit` is added up."""
    ranked = sorted(
        ((str(row[column]), int(row["cost_nano"]), int(row["requests"])) for row in rows),
        key=lambda entry: (-entry[1], entry[0]),
    )
    if len(ranked) <= limit:
        return ranked
    rest = ranked[limit - 1 :]
    cost_nano = sum(entry[1] for entry in rest)
    requests = sum(entry[2] for entry in rest)
    return [*ranked[: limit - 1], (f"{_OTHER} ({len(rest)})", cost_nano, requests)]


def _spend_bars(rows: Sequence[Row], column: str, frame: Frame, slot: int) -> Figure:
    top = _top(rows, column, MAX_BARS)
    total_nano = sum(entry[1] for entry in top)
    most = max((usd_float(entry[1]) for entry in top), default=0.0)
    bars = {
        "type": "bar",
        "orientation": "h",
        "x": [usd_float(cost_nano) for _, cost_nano, _ in top],
        "y": list(range(len(top))),
        "text": [usd_short(cost_nano) for _, cost_nano, _ in top],
        "textposition": "outside",
        "cliponaxis": False,
        "marker": {"color": frame.theme.series[slot]},
        "customdata": [
            caption(
                safe(name),
                f"{usd_exact(cost_nano)} · {percent(share_of(cost_nano, total_nano))} of spend",
                f"{count(requests)} requests",
            )
            for name, cost_nano, requests in top
        ],
        "hovertemplate": HOVER,
    }
    return {
        "data": [bars],
        "layout": layout_of(
            frame,
            height=bar_height(len(top)),
            showlegend=False,
            xaxis=usd_axis(most, range=[0, most * 1.2 or 1], nticks=5),
            yaxis=name_axis([short_name(name) for name, _, _ in top]),
        ),
    }


def spend_by_workflow(rows: Sequence[Row], frame: Frame) -> Figure:
    """Horizontal bars of `cost_nano` by `workflow`, dearest first."""
    return _spend_bars(rows, "workflow", frame, 0)


def spend_by_model(rows: Sequence[Row], frame: Frame) -> Figure:
    """Horizontal bars of `cost_nano` by `model`, dearest first."""
    return _spend_bars(rows, "model", frame, 3)


def spend_by_team(rows: Sequence[Row], frame: Frame) -> Figure:
    """Horizontal bars of `cost_nano` by `team`, dearest first."""
    return _spend_bars(rows, "team", frame, 2)


def _by_day(rows: Sequence[Row], column: str, value: str) -> dict[str, dict[str, int]]:
    """name -> day -> sum of `value`."""
    found: dict[str, dict[str, int]] = {}
    for row in rows:
        days = found.setdefault(str(row[column]), {})
        day = str(row["day"])
        days[day] = days.get(day, 0) + int(row[value])
    return found


def _fold(by_name: Mapping[str, dict[str, int]], limit: int) -> list[tuple[str, dict[str, int]]]:
    """The `limit` largest names; the others are added up under one."""
    ranked = sorted(by_name.items(), key=lambda item: (-sum(item[1].values()), item[0]))
    if len(ranked) <= limit:
        return ranked
    rest: dict[str, int] = {}
    for _, days in ranked[limit:]:
        for day, amount in days.items():
            rest[day] = rest.get(day, 0) + amount
    return [*ranked[:limit], (_OTHER, rest)]


def spend_by_day(rows: Sequence[Row], frame: Frame) -> Figure:
    """`cost_nano` by `day`, stacked by `workflow`; beyond the seven largest as one stack."""
    largest = _fold(_by_day(rows, "workflow", "cost_nano"), MAX_STACKS)
    totals = [usd_float(sum(days.get(day, 0) for _, days in largest)) for day in frame.days]
    stacks = [
        {
            "type": "bar",
            "name": short_name(name),
            "x": list(frame.days),
            "y": [usd_float(days.get(day, 0)) for day in frame.days],
            "marker": {"color": frame.theme.series[slot]},
            "customdata": [
                caption(safe(name), f"{day} · {usd_exact(days.get(day, 0))}") for day in frame.days
            ],
            "hovertemplate": HOVER,
        }
        for slot, (name, days) in enumerate(largest)
    ]
    return {
        "data": stacks,
        "layout": layout_of(
            frame,
            height=340,
            barmode="stack",
            showlegend=True,
            xaxis=day_axis(frame),
            yaxis=usd_axis(max(totals)),
        ),
    }


def tier_colour(tier: str, frame: Frame) -> str:
    """Tiers keep their colour by place in the order, cheap to dear."""
    slots = (2, 0, 3, 1, 4, 5, 6)
    known = frame.tiers.index(tier) if tier in frame.tiers else len(frame.tiers)
    return frame.theme.series[slots[known % len(slots)]]


def _tier_order(tiers: Mapping[str, object], frame: Frame) -> list[str]:
    known = [tier for tier in frame.tiers if tier in tiers]
    return [*known, *sorted(set(tiers) - set(known))]


def tier_mix(rows: Sequence[Row], frame: Frame) -> Figure:
    """Share of `requests` by `day` and `tier`, cheap tiers at the bottom."""
    requests = _by_day(rows, "tier", "requests")
    costs = _by_day(rows, "tier", "cost_nano")
    totals = {day: sum(days.get(day, 0) for days in requests.values()) for day in frame.days}

    def text(tier: str, day: str) -> str:
        number = requests[tier].get(day, 0)
        return caption(
            f"{safe(tier)} · {day}",
            f"{count(number)} requests, {percent(share_of(number, totals[day]))}",
            usd_exact(costs[tier].get(day, 0)),
        )

    stacks = [
        {
            "type": "bar",
            "name": short_name(tier),
            "x": list(frame.days),
            "y": [share_of(requests[tier].get(day, 0), totals[day]) or 0 for day in frame.days],
            "marker": {"color": tier_colour(tier, frame)},
            "customdata": [text(tier, day) for day in frame.days],
            "hovertemplate": HOVER,
        }
        for tier in _tier_order(requests, frame)
    ]
    return {
        "data": stacks,
        "layout": layout_of(
            frame,
            height=320,
            barmode="stack",
            showlegend=True,
            xaxis=day_axis(frame),
            yaxis={"tickformat": ".0%", "range": [0, 1]},
        ),
    }


def savings(rows: Sequence[Row], frame: Frame) -> Figure:
    """What was spent by `day`, and as a line what the same tokens cost on the frontier model.

    Both count only the requests that have a frontier price.
    """
    by_day = {str(row["day"]): row for row in rows}

    def amounts(column: str) -> list[int]:
        return [int(by_day[day][column]) if day in by_day else 0 for day in frame.days]

    actual, frontier = amounts("compared_cost_nano"), amounts("frontier_cost_nano")
    most = usd_float(max([*actual, *frontier]))
    bars = {
        "type": "bar",
        "name": "Actual spend",
        "x": list(frame.days),
        "y": [usd_float(amount) for amount in actual],
        "marker": {"color": frame.theme.series[2]},
        "customdata": [
            caption(day, f"actual {usd_exact(spent)}", f"saved {usd_exact(dear - spent)}")
            for day, spent, dear in zip(frame.days, actual, frontier, strict=True)
        ],
        "hovertemplate": HOVER,
    }
    line = {
        "type": "scatter",
        "mode": "lines+markers",
        "name": "Same tokens, frontier only",
        "x": list(frame.days),
        "y": [usd_float(amount) for amount in frontier],
        "line": {"color": frame.theme.series[3], "width": 2, "dash": "dot"},
        "marker": {"size": 6},
        "customdata": [
            caption(day, f"frontier only {usd_exact(dear)}")
            for day, dear in zip(frame.days, frontier, strict=True)
        ],
        "hovertemplate": HOVER,
    }
    return {
        "data": [bars, line],
        "layout": layout_of(
            frame, height=320, showlegend=True, xaxis=day_axis(frame), yaxis=usd_axis(most)
        ),
    }
