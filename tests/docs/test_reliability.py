"""The fault table names tests that exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "docs" / "reliability.md"

NAME = re.compile(r"`(test_\w+)`")
DEFINED = re.compile(r"^def (test_\w+)\(", re.MULTILINE)


def test_every_test_that_the_fault_table_names_exists() -> None:
    defined = {
        name
        for path in ROOT.glob("tests/**/*.py")
        for name in DEFINED.findall(path.read_text())
    }
    named = set(NAME.findall(TABLE.read_text()))
    assert named - defined == set()
    assert len(named) > 20


def test_every_row_of_the_fault_table_is_shown_by_a_test() -> None:
    rows = [line for line in TABLE.read_text().splitlines() if line.startswith("| ")]
    for row in rows:
        if not row.startswith("| fault |"):
            assert NAME.search(row.rsplit("|", 2)[1]), row
