"""docs/metrics.md names every metric with its kind and labels, and none that is not there."""

import re
from pathlib import Path

import pytest

from gateway.ledger_watch import REMEDIES, LedgerState
from gateway.metrics import METRICS, Metric
from gateway.tally import LedgerOutcome

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")
ROWS = dict(re.findall(r"^\| `(weir_\w+)` \| (.+) \|$", TEXT, re.MULTILINE))


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_every_metric_is_described_with_its_kind_and_labels(metric: Metric) -> None:
    kind, labels, meaning = (cell.strip() for cell in ROWS[metric.name].split("|"))
    assert kind == metric.kind
    assert tuple(re.findall(r"`(\w+)`", labels)) == metric.labels
    assert meaning


def test_no_other_metric_is_described() -> None:
    assert set(ROWS) == {metric.name for metric in METRICS}
    used = set(re.findall(r"weir_\w*[a-z]", TEXT))
    assert used - {metric.name for metric in METRICS} <= {"weir_ledger", "weir_budget"}


@pytest.mark.parametrize("name", [*LedgerState, *LedgerOutcome])
def test_every_state_and_outcome_is_described(name: str) -> None:
    assert f"| `{name}` |" in TEXT


def test_every_state_that_denies_has_a_remedy() -> None:
    assert set(REMEDIES) == set(LedgerState) - {LedgerState.OK}
