"""Every test that the ledger's documentation names as a proof is there."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_every_proof_that_the_ledger_page_names_is_a_test() -> None:
    named = re.findall(r"`(test_\w+|LedgerMachine)`", (ROOT / "docs/ledger.md").read_text("utf-8"))
    tests = "\n".join(path.read_text("utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    missing = [name for name in named if not re.search(rf"(?:def|class) {name}\b", tests)]
    assert named and missing == []
