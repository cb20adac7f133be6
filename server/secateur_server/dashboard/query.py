"""Which rows a table shows: search, filters, sort and page, as a pure function."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any
from urllib.parse import urlencode

from secateur_server.dashboard.rows import WORST_FIRST, Health, Row

PAGE_SIZES = (25, 50, 100)
MAX_TEXT = 100
"""Characters of a search or a filter."""

LAST = 1e300
"""Where what was not measured stands in an order: behind all that was."""


_DIGITS = re.compile(r"[0-9]{1,7}\Z")

_RUNS = re.compile(r"([0-9]+)")


@lru_cache(maxsize=100_000)
def natural(name: str) -> tuple[tuple[str, int], ...]:
    """Give what sorts names as people count: ``meter-2`` before ``meter-10``."""
    runs = _RUNS.split(name)
    numbers = [*runs[1::2], "0"]
    return tuple((word, int(number)) for word, number in zip(runs[::2], numbers, strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What is asked of the table.

    Attributes:
        search: Part of a device's name, model, hardware class or label.
        label: ``key=value``, or ``key`` alone: it has such a label.
        state: A presence; likewise ``health``, ``level`` and ``model``. Empty: any.
        sort: A key of `ORDERS`, ``-`` before it for the other way round.
        page: From 1.
    """

    search: str = ""
    label: str = ""
    state: str = ""
    health: str = ""
    level: int | None = None
    model: str = ""
    sort: str = "device"
    page: int = 1
    size: int = 50

    def with_(self, **changes: Any) -> "Query":  # noqa: ANN401 - of our own fields
        """Give the same question with something else; the first page, unless it says which."""
        return replace(self, **{"page": 1, **changes})

    def encode(self) -> str:
        """Write it as the query of an address, without what is the default anyway."""
        default = Query()
        fields = {
            name: value
            for name in Query.__slots__
            if (value := getattr(self, name)) != getattr(default, name)
        }
        return urlencode(fields)


@dataclass(frozen=True, slots=True)
class Page:
    """Some rows of those that match.

    Attributes:
        number: From 1; the last one where a later one was asked for.
        matching: All that match.
    """

    rows: tuple[Row, ...]
    number: int
    pages: int
    matching: int


def parse_query(given: Mapping[str, str]) -> Query:
    """Read the query of an address; what cannot be is the default: a link never fails."""
    sort = given.get("sort", "")
    size = _number(given.get("size"), 50)
    level = _number(given.get("level"), -1)
    texts = {
        name: given.get(name, "")[:MAX_TEXT].strip()
        for name in ("search", "label", "state", "health", "model")
    }
    return Query(
        **texts,
        level=level if level >= 0 else None,
        sort=sort if sort.removeprefix("-") in ORDERS else "device",
        page=max(1, _number(given.get("page"), 1)),
        size=size if size in PAGE_SIZES else 50,
    )


def _number(text: str | None, default: int) -> int:
    """Read a small number, or give the default."""
    return int(text) if text and _DIGITS.match(text) else default


def _present(value: float | None, *, sign: float = 1.0) -> float:
    return LAST if value is None else sign * value


ORDERS: Mapping[str, Callable[[Row, float], Any]] = {
    "device": lambda row, _: natural(row.device),
    "model": lambda row, _: row.model or "",
    "class": lambda row, _: row.hardware_class,
    "level": lambda row, _: _present(row.level),
    "share": lambda row, _: _present(row.share),
    "p95": lambda row, _: _present(row.p95_ms),
    "misses": lambda row, _: _present(row.missed / row.answered if row.answered else None),
    "temperature": lambda row, _: _present(row.temperature_c),
    "health": lambda row, now_s: WORST_FIRST[row.health(now_s)],
}
"""What rows can be sorted by."""


def select(rows: Iterable[Row], query: Query, now_s: float) -> Page:
    """Give one page of the rows that match, in order; devices of equal rank by name.

    Rows without a value come last, whichever way round.
    """
    found = matching(rows, query, now_s)
    key, is_reversed = query.sort.removeprefix("-"), query.sort.startswith("-")
    order = ORDERS[key]
    if key != "device":
        found.sort(key=lambda row: natural(row.device))
    if is_reversed:
        missing = [row for row in found if order(row, now_s) == LAST]
        known = [row for row in found if order(row, now_s) != LAST]
        known.sort(key=lambda row: order(row, now_s), reverse=True)
        found = known + missing
    else:
        found.sort(key=lambda row: order(row, now_s))
    pages = max(1, -(-len(found) // query.size))
    number = min(query.page, pages)
    begin = (number - 1) * query.size
    return Page(tuple(found[begin : begin + query.size]), number, pages, len(found))


def matching(rows: Iterable[Row], query: Query, now_s: float) -> list[Row]:
    """List the rows that match, as they come."""
    checks = list(_checks(query, now_s))
    if not checks:
        return list(rows)
    return [row for row in rows if all(check(row) for check in checks)]


def _checks(query: Query, now_s: float) -> Iterable[Callable[[Row], bool]]:
    if query.state:
        yield lambda row: row.state == query.state
    if query.level is not None:
        yield lambda row: row.level == query.level
    if query.model:
        yield lambda row: row.model == query.model
    if query.health in WORST_FIRST:
        wanted = Health(query.health)
        yield lambda row: row.health(now_s) is wanted
    if query.label:
        key, has_value, value = query.label.partition("=")
        yield lambda row: key in row.labels and (not has_value or row.labels[key] == value)
    if query.search:
        needle = query.search.lower()
        yield lambda row: needle in _haystack(row)


def _haystack(row: Row) -> str:
    labels = " ".join(f"{key}={value}" for key, value in row.labels.items())
    return f"{row.device} {row.model or ''} {row.hardware_class} {labels}".lower()
