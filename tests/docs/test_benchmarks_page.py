"""The page of benchmarks says nothing but what the raw numbers beside it say."""

import json
import re
import runpy
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
RAW = ROOT / "docs" / "benchmarks.json"
PAGE = ROOT / "docs" / "benchmarks.md"
NUMBERS = re.compile(r"\d+(?:\.\d+)? (?:MB|ms|us|µs|%|times|points)\b")


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "benchmarks" / "report.py"))


def test_the_page_says_nothing_but_the_raw_numbers(report: dict[str, Any]) -> None:
    made = report["page"](json.loads(RAW.read_text(encoding="utf-8"))).splitlines()
    said = PAGE.read_text(encoding="utf-8").splitlines()
    other = [line for line in said if line not in made]
    assert other == [], "python benchmarks/report.py --page"


def test_what_takes_long_is_a_benchmark(report: dict[str, Any]) -> None:
    assert report["TOO_LONG"] <= set(report["scripts"]())


def test_every_benchmark_prints_an_object_and_takes_quick(report: dict[str, Any]) -> None:
    for path in report["scripts"]().values():
        text = path.read_text(encoding="utf-8")
        assert "json.dumps" in text, path.name
        assert "--quick" in text, path.name


def test_the_readme_has_no_measured_number() -> None:
    """They age; the page of benchmarks is made anew."""
    prose = re.sub(r"^ {4}.*$", "", (ROOT / "README.md").read_text("utf-8"), flags=re.MULTILINE)
    assert NUMBERS.findall(prose) == []
