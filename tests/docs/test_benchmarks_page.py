"""The page of benchmarks says nothing but what the raw numbers beside it say."""

import json
import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RAW = ROOT / "docs" / "benchmarks.json"
PAGE = ROOT / "docs" / "benchmarks.md"
NUMBERS = re.compile(r"\d+(?:\.\d+)? (?:MB|ms|us|µs|%|times|points)\b")
REPORT = runpy.run_path(str(ROOT / "benchmarks" / "report.py"))
IN_EVERY_RUN = {"coordinator_throughput", "planner_quality"}
"""These use the simulation as no other test does; all together take a quarter of an hour."""


SCRIPTS = [
    pytest.param(name, marks=() if name in IN_EVERY_RUN else pytest.mark.nightly)
    for name in REPORT["scripts"]()
]


def test_the_page_says_nothing_but_the_raw_numbers() -> None:
    made = REPORT["page"](json.loads(RAW.read_text(encoding="utf-8"))).splitlines()
    said = PAGE.read_text(encoding="utf-8").splitlines()
    other = [line for line in said if line not in made]
    assert other == [], "python benchmarks/report.py --page"


def test_what_takes_long_is_a_benchmark() -> None:
    assert REPORT["TOO_LONG"] <= set(REPORT["scripts"]())


@pytest.mark.slow
@pytest.mark.usefixtures("mosquitto")
@pytest.mark.parametrize("script", SCRIPTS)
def test_a_quick_run_tells_each_figure_of_the_page(script: str) -> None:
    try:
        found = REPORT["run"](script, is_quick=True)["found"]
    except REPORT["NotHereError"] as error:
        pytest.skip(str(error))
    assert {claim.key for claim in REPORT["CLAIMS"] if claim.script == script} <= set(found)


def test_the_readme_has_no_measured_number() -> None:
    """They age; the page of benchmarks is made anew."""
    prose = re.sub(r"^ {4}.*$", "", (ROOT / "README.md").read_text("utf-8"), flags=re.MULTILINE)
    assert NUMBERS.findall(prose) == []
