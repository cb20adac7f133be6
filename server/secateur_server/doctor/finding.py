"""What a check finds."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """How it stands."""

    OK = "ok"
    WARNING = "warning"
    """It works, and may cease to, or is less safe than it could be."""
    PROBLEM = "problem"
    """It does not work."""
    SKIPPED = "skipped"
    """It could not be looked at; the text says why."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        check: Which check found it.
        text: What it found, in one line.
        mend: What to do about it; empty where there is nothing to do.
    """

    check: str
    verdict: Verdict
    text: str
    mend: str = ""


def ok(check: str, text: str) -> Finding:
    """Say that it is well."""
    return Finding(check, Verdict.OK, text)


def warning(check: str, text: str, mend: str) -> Finding:
    """Say that it may cease to be well."""
    return Finding(check, Verdict.WARNING, text, mend)


def problem(check: str, text: str, mend: str) -> Finding:
    """Say that it is not well."""
    return Finding(check, Verdict.PROBLEM, text, mend)


def skipped(check: str, text: str) -> Finding:
    """Say why it was not looked at."""
    return Finding(check, Verdict.SKIPPED, text)


def is_unwell(findings: Iterable[Finding]) -> bool:
    """Say whether anything does not work."""
    return any(each.verdict is Verdict.PROBLEM for each in findings)
