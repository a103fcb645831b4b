"""One source of colour: the CSS variables of the pages and the Plotly templates of the charts.

Text keeps a contrast of 4.5:1 to the surface it stands on and chart colours 3:1 (WCAG 2.2, criteria
1.4.3 and 1.4.11); `contrast` measures it and the tests hold every pair to it.
"""

from dataclasses import dataclass, fields
from typing import Any

FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif'


@dataclass(frozen=True, slots=True)
class Theme:
    """The colours of one scheme as `#rrggbb`; neighbours in `series` are easy to tell apart."""

    page: str
    card: str
    raised: str
    line: str
    text: str
    muted: str
    accent: str
    on_accent: str
    good: str
    warn: str
    bad: str
    neutral: str
    held: str
    series: tuple[str, ...]


LIGHT = Theme(
    page="#f4f6f9",
    card="#ffffff",
    raised="#eef2f7",
    line="#d8dfe8",
    text="#14202e",
    muted="#55647a",
    accent="#0a6a8f",
    on_accent="#ffffff",
    good="#0b7a5c",
    warn="#a15a00",
    bad="#b3261e",
    neutral="#6b7a90",
    held="#7b8fa8",
    series=(
        "#1f77b4",
        "#d1620f",
        "#0f8f7c",
        "#8a55cc",
        "#a3820a",
        "#c43d7b",
        "#4f7d1a",
        "#6b7a90",
    ),
)

DARK = Theme(
    page="#0c121b",
    card="#141c28",
    raised="#1d2836",
    line="#2c3a4c",
    text="#e7edf5",
    muted="#a3b2c5",
    accent="#56b9dc",
    on_accent="#0c121b",
    good="#4cc9a0",
    warn="#f0b45a",
    bad="#ff8a80",
    neutral="#8798ad",
    held="#6f86a3",
    series=(
        "#5aa9e6",
        "#f29455",
        "#3dc2ad",
        "#b995f5",
        "#d9bd45",
        "#f083ac",
        "#93c65a",
        "#8798ad",
    ),
)

SCHEMES = {"light": LIGHT, "dark": DARK}

# Left alone, Plotly puts a button on each chart that sends its data to a server of its maker.
PLOTLY_CONFIG = {
    "showSendToCloud": False,
    "plotlyServerURL": "",
    "displaylogo": False,
    "displayModeBar": False,
    "responsive": True,
}


def _channel(value: int) -> float:
    share = value / 255
    return share / 12.92 if share <= 0.04045 else float(((share + 0.055) / 1.055) ** 2.4)


def _luminance(colour: str) -> float:
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return 0.2126 * _channel(red) + 0.7152 * _channel(green) + 0.0722 * _channel(blue)


def contrast(one: str, other: str) -> float:
    """The WCAG contrast ratio of two `#rrggbb` colours, from 1 to 21."""
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _variables(theme: Theme, indent: str) -> str:
    named = [
        f"{indent}--{field.name.replace('_', '-')}: {getattr(theme, field.name)};"
        for field in fields(theme)
        if field.name != "series"
    ]
    return "\n".join(named)


def css_variables() -> str:
    """The style sheet that defines every colour once, light by default and dark where preferred."""
    return (
        f":root {{\n  color-scheme: light dark;\n{_variables(LIGHT, '  ')}\n}}\n"
        "@media (prefers-color-scheme: dark) {\n"
        f"  :root {{\n{_variables(DARK, '    ')}\n  }}\n}}\n"
    )


def plotly_template(theme: Theme) -> dict[str, Any]:
    """The Plotly `layout.template` every figure carries: fonts, grid, margins, legend, hover."""
    axis = {
        "gridcolor": theme.line,
        "linecolor": theme.line,
        "zerolinecolor": theme.line,
        "tickfont": {"color": theme.muted, "size": 12},
        "title": {"font": {"color": theme.muted, "size": 12}},
        "automargin": True,
        "exponentformat": "none",
        "separatethousands": True,
        "fixedrange": True,
    }
    return {
        "layout": {
            "paper_bgcolor": theme.card,
            "plot_bgcolor": theme.card,
            "font": {"family": FONT, "size": 13, "color": theme.text},
            "colorway": list(theme.series),
            "margin": {"l": 8, "r": 12, "t": 8, "b": 8},
            "bargap": 0.32,
            "xaxis": axis,
            "yaxis": axis,
            "legend": {
                "orientation": "h",
                "x": 0,
                "xanchor": "left",
                "y": 1.02,
                "yanchor": "bottom",
                "traceorder": "normal",
                "font": {"color": theme.text, "size": 12},
            },
            "hoverlabel": {
                "bgcolor": theme.raised,
                "bordercolor": theme.line,
                "font": {"family": FONT, "size": 12, "color": theme.text},
                "namelength": -1,
            },
        }
    }
