"""Opened runs as they are written down; the contract suite has the stores."""

import pytest

from budgets.runs import RunTerms
from gateway.run_grants import RunGrant
from gateway.run_registry import KEPT_S, OpenedRun, from_text, to_text

CHAIN = (RunTerms("run~2", 5, None, 7, 100), RunTerms("top~1", 9))
RUN = OpenedRun("lab", "run", RunGrant("k1", 1_060, CHAIN, "reports", {"a": "1"}), 1_000)


def test_a_run_comes_back_as_it_was_opened() -> None:
    assert from_text(to_text(RUN)) == RUN


def test_a_run_is_kept_for_a_month_after_its_end() -> None:
    assert RUN.kept_until_s == 1_060 + KEPT_S
    assert KEPT_S == 30 * 24 * 3_600


@pytest.mark.parametrize("text", ["", "[]", "{}", to_text(RUN).replace("team", "crew")])
def test_what_is_no_run_is_not_read(text: str) -> None:
    with pytest.raises(ValueError):
        from_text(text)
