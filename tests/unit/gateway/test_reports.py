"""What worker processes tell their parent: nothing is lost on the way, and sums are sums."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from budgets.ledger import HoldState
from budgets.usage import TOKEN_CLASSES
from gateway.reports import SUMS, Report, plain_of, together
from gateway.tally import LedgerOutcome, ModelCount, Tally
from routing.health import BreakerState

NAMES = st.text(min_size=1, max_size=12).filter(lambda text: text.isprintable())
NUMBERS = st.integers(min_value=0, max_value=2**50)


@st.composite
def tallies(draw: st.DrawFn) -> Tally:
    """Counters with something in each of their places."""
    tally = Tally()
    for model in draw(st.sets(st.tuples(NAMES, NAMES), max_size=3)):
        count = tally.by_model[model] = ModelCount()
        endings = st.tuples(NAMES, st.integers(min_value=1, max_value=5))
        count.endings = draw(st.dictionaries(endings, NUMBERS, max_size=3))
        count.tokens = draw(
            st.lists(NUMBERS, min_size=len(TOKEN_CLASSES), max_size=len(TOKEN_CLASSES))
        )
        count.cost_nano = draw(NUMBERS)
    tally.refusals = draw(st.dictionaries(NAMES, NUMBERS, max_size=3))
    for histogram in (tally.added, tally.first_byte):
        for value_ms in draw(st.lists(st.integers(min_value=0, max_value=100_000), max_size=5)):
            histogram.add(float(value_ms))
    for name in SUMS:
        setattr(tally, name, draw(NUMBERS))
    tally.expired = draw(st.dictionaries(st.sampled_from(HoldState), NUMBERS))
    errors = st.tuples(st.sampled_from(LedgerOutcome), NAMES)
    tally.ledger_errors = draw(st.dictionaries(errors, NUMBERS, max_size=3))
    return tally


@st.composite
def reports(draw: st.DrawFn) -> Report:
    return Report(
        draw(tallies()),
        draw(NUMBERS),
        draw(NUMBERS),
        draw(st.dictionaries(NAMES, st.booleans(), max_size=3)),
        draw(st.dictionaries(st.tuples(NAMES, NAMES), st.sampled_from(BreakerState), max_size=3)),
    )


def same(one: Report, other: Report) -> bool:
    def seen(report: Report) -> object:
        present = (report.in_flight, report.waiting, report.providers, report.breakers)
        return plain_of(report.tally), present

    return seen(one) == seen(other)


@given(reports())
def test_a_report_is_the_same_after_its_way_over_the_pipe(report: Report) -> None:
    line = report.to_line()
    assert b"\n" not in line
    assert same(Report.from_line(line), report)


@given(st.lists(reports(), max_size=4))
def test_together_adds_every_counter_up(told: list[Report]) -> None:
    whole = together(told)
    assert whole.in_flight == sum(one.in_flight for one in told)
    assert whole.waiting == sum(one.waiting for one in told)
    for name in SUMS:
        assert getattr(whole.tally, name) == sum(getattr(one.tally, name) for one in told)
    for model, count in whole.tally.by_model.items():
        parts = [one.tally.by_model[model] for one in told if model in one.tally.by_model]
        assert count.cost_nano == sum(part.cost_nano for part in parts)
        columns = zip(*(part.tokens for part in parts), strict=True)
        assert count.tokens == [sum(column) for column in columns]
        for ending, number in count.endings.items():
            assert number == sum(part.endings.get(ending, 0) for part in parts)
    assert set(whole.tally.by_model) == {m for one in told for m in one.tally.by_model}
    for code, number in whole.tally.refusals.items():
        assert number == sum(one.tally.refusals.get(code, 0) for one in told)
    for state, number in whole.tally.expired.items():
        assert number == sum(one.tally.expired.get(state, 0) for one in told)
    for error, number in whole.tally.ledger_errors.items():
        assert number == sum(one.tally.ledger_errors.get(error, 0) for one in told)
    assert sum(whole.tally.added.counts) == sum(sum(one.tally.added.counts) for one in told)
    assert whole.tally.added.sum_ms == sum(one.tally.added.sum_ms for one in told)


@given(reports())
def test_together_leaves_the_reports_it_is_given_as_they_are(report: Report) -> None:
    before = report.to_line()
    together([report, report])
    assert report.to_line() == before


def test_a_provider_is_ready_where_it_is_to_all_and_the_worst_breaker_counts() -> None:
    model = ("openai", "gpt-5")
    one = Report(providers={"a": True, "b": True}, breakers={model: BreakerState.CLOSED})
    other = Report(providers={"a": False}, breakers={model: BreakerState.OPEN})
    for told in ([one, other], [other, one]):
        whole = together(told)
        assert whole.providers == {"a": False, "b": True}
        assert whole.breakers == {model: BreakerState.OPEN}


@pytest.mark.parametrize(
    "line", [b"", b"ready\n", b'{"tally":', b"[]", b"7", b"{}", b'{"tally":{}}']
)
def test_a_line_that_is_no_report_is_refused(line: bytes) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        Report.from_line(line)


@pytest.mark.parametrize("name", ["tally", "in_flight", "waiting", "providers", "breakers"])
def test_a_line_that_lacks_a_part_is_refused_by_its_name(name: str) -> None:
    told = orjson.loads(Report().to_line())
    del told[name]
    with pytest.raises(KeyError, match=name):
        Report.from_line(orjson.dumps(told))


def test_a_line_of_another_version_is_refused() -> None:
    told = orjson.loads(Report().to_line())
    told["tally"]["sums"].append(1)
    with pytest.raises(ValueError, match="longer"):
        Report.from_line(orjson.dumps(told))
