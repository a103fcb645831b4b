"""When a budget has reached a share of its limit, and whether that is news. Pure.

A threshold is crossed once in a calendar window, however spending moves on. A rolling window has no
end, so its threshold can be crossed again after the sum has been below it.
"""

from collections.abc import Collection, Sequence

from budgets.value import value


@value
class News:
    """Thresholds (thousandths of the limit) that were just crossed, and those to watch anew."""

    crossed: tuple[int, ...]
    rearmed: tuple[int, ...]


def reached(spent_nano: int, limit_nano: int, alert_permille: Sequence[int]) -> tuple[int, ...]:
    """The thresholds that spending has reached, the lowest first; nothing spent reaches none."""
    return tuple(
        permille
        for permille in sorted(set(alert_permille))
        if spent_nano > 0 and spent_nano * 1_000 >= limit_nano * permille
    )


def news(now_reached: Collection[int], told: Collection[int], *, rolling: bool) -> News:
    """What is new since `told`, the thresholds already told of in this window."""
    crossed = tuple(sorted(set(now_reached) - set(told)))
    rearmed = tuple(sorted(set(told) - set(now_reached))) if rolling else ()
    return News(crossed, rearmed)
