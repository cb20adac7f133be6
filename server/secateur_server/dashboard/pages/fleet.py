"""The fleet: a summary on top, and a table that stays fluent however many there are."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from secateur_protocols.presence import PresenceState
from secateur_server.dashboard import words
from secateur_server.dashboard.charts import meter, sparkline
from secateur_server.dashboard.device import TREND
from secateur_server.dashboard.layout import slot
from secateur_server.dashboard.markup import EMPTY, Html, join, tag
from secateur_server.dashboard.page import Fragments, Rows, View
from secateur_server.dashboard.pages.parts import (
    TONES,
    card,
    choices,
    empty,
    figure,
    health_pill,
    level_badge,
    pill,
)
from secateur_server.dashboard.query import PAGE_SIZES, Page, Query, parse_query, select
from secateur_server.dashboard.rows import Health, Row
from secateur_server.dashboard.summary import Summary, summarize

ORDER_S = 1.0
"""How often rows may change places and sums are made anew; values change at once."""

BAD_MISSES = 0.01
"""Share of late answers from where on it is shown in red."""

MAX_CHIPS = 3
"""Labels in a line."""

COLUMNS = (
    ("device", "Device"),
    ("model", "Model"),
    ("level", "Level"),
    ("share", "p95 against deadline"),
    ("misses", "Missed"),
    ("temperature", "Temp."),
    ("health", "Health"),
)


class FleetPage:
    """One question to the table."""

    title = "Fleet"
    place = "fleet"

    def __init__(self, params: Mapping[str, str]) -> None:
        self.query = parse_query(params)
        self._looked_s = 0.0
        self._page = Page((), 1, 1, 0)
        self._slow: dict[str, Html | Rows] = {}

    def look(self, view: View) -> Fragments:
        """Draw the rows in sight, and now and then which those are and the sums above."""
        if not 0 <= view.now_s - self._looked_s < ORDER_S:
            self._looked_s = view.now_s
            fleet = view.fleet
            self._page = select(fleet.rows(), self.query, view.now_s)
            summary = summarize(fleet.rows(), fleet.ladders, view.now_s)
            self._slow = {
                "summary": _summary(summary, view),
                "pager": self._pager(),
                "nothing": self._nothing(view),
            }
        lines = {
            f"{row.device}/{row.model or ''}": _line(_newest(view, row), view)
            for row in self._page.rows
        }
        return {**self._slow, "rows": Rows(lines)}

    def frame(self, view: View, seen: Fragments) -> Html:
        """Draw filters and the table's head."""
        head = tag("tr", *(self._heading(key, name) for key, name in COLUMNS))
        return join(
            (
                tag("h1", f"Fleet of {view.site}"),
                slot(seen, "summary", class_="summary"),
                tag(
                    "section",
                    self._filters(view),
                    tag(
                        "table",
                        tag("thead", head),
                        slot(seen, "rows", "tbody"),
                        class_="fleet",
                    ),
                    slot(seen, "nothing"),
                    slot(seen, "pager", "nav", "pager"),
                    class_="card flush",
                ),
            )
        )

    def _heading(self, key: str, name: str) -> Html:
        sort = self.query.sort
        direction = None
        target = key
        if sort.removeprefix("-") == key:
            direction = "descending" if sort.startswith("-") else "ascending"
            target = key if sort.startswith("-") else f"-{key}"
        elif key in {"share", "misses", "temperature"}:
            target = f"-{key}"  # the worst is what one looks for
        link = tag(
            "a",
            name,
            href=f"/?{self.query.with_(sort=target).encode()}",
            data_soft=True,
            id=f"sort-{key}",
        )
        return tag("th", link, scope="col", aria_sort=direction, class_=f"c-{key}")

    def _filters(self, view: View) -> Html:
        query = self.query
        levels = sorted({row.level for row in view.fleet.rows() if row.level is not None})
        models = sorted({row.model for row in view.fleet.rows() if row.model is not None})
        level = "" if query.level is None else str(query.level)
        any_ = ("", "any")
        return tag(
            "form",
            tag(
                "label",
                tag("span", "Search"),
                tag(
                    "input",
                    type="search",
                    name="search",
                    id="choice-search",
                    value=query.search,
                    placeholder="device, class, label",
                    maxlength="100",
                ),
            ),
            tag(
                "label",
                tag("span", "Label"),
                tag(
                    "input",
                    name="label",
                    id="choice-label",
                    value=query.label,
                    placeholder="key=value",
                    maxlength="100",
                    list="labels",
                ),
            ),
            _label_list(view),
            choices("level", "Level", [any_, *((str(n), str(n)) for n in levels)], level),
            choices(
                "state",
                "State",
                [any_, *((str(s), str(s)) for s in PresenceState)],
                query.state,
            ),
            choices(
                "health", "Health", [any_, *((str(h), str(h)) for h in Health)], query.health
            ),
            choices("model", "Model", [any_, *((m, m) for m in models)], query.model)
            if len(models) > 1
            else EMPTY,
            choices("size", "Rows", [(str(n), str(n)) for n in PAGE_SIZES], str(query.size)),
            tag("input", type="hidden", name="sort", value=query.sort),
            tag("button", "Show", class_="only-without-script"),
            method="get",
            action="/",
            class_="filters",
            role="search",
            data_soft=True,
        )

    def _pager(self) -> Html:
        page, query = self._page, self.query
        begin = (page.number - 1) * query.size
        last = begin + len(page.rows)
        shown = (
            f"{words.count(begin + 1)}\u2013{words.count(last)} of {words.count(page.matching)}"
        )
        return join(
            (
                _step("\u2190 Previous", query, page.number - 1, is_there=page.number > 1),
                tag("span", shown if page.rows else "none"),
                _step("Next \u2192", query, page.number + 1, is_there=page.number < page.pages),
            )
        )

    def _nothing(self, view: View) -> Html:
        if self._page.rows:
            return EMPTY
        if view.fleet.devices:
            clear = tag("a", "Show all", href="/", data_soft=True)
            return empty("No device matches.", clear)
        if not view.is_connected:
            return empty("The broker is lost.", "Devices appear again once it is back.")
        return empty(
            "No device has been heard of yet.",
            "Start an agent that speaks with this broker: ",
            tag("code", "secateur-agent run --config agent.toml"),
        )


def _step(name: str, query: Query, number: int, *, is_there: bool) -> Html:
    if not is_there:
        return tag("span", name, class_="soft", aria_hidden="true")
    return tag("a", name, href=f"/?{query.with_(page=number).encode()}", data_soft=True)


def _label_list(view: View) -> Html:
    known: dict[str, None] = {}
    for device in view.fleet.devices.values():
        for key, value in device.labels.items():
            known[f"{key}={value}"] = None
        if len(known) > 50:  # noqa: PLR2004 - a list longer than that helps nobody
            break
    return tag("datalist", *(tag("option", value=each) for each in sorted(known)), id="labels")


def _newest(view: View, row: Row) -> Row:
    device = view.fleet.devices.get(row.device)
    rows = device.rows if device else ()
    return next((each for each in rows if each.model == row.model), row)


def _line(row: Row, view: View) -> Html:
    address = f"/devices/{quote(row.device)}"
    return tag(
        "tr",
        tag(
            "th",
            tag("a", row.device, href=address),
            _chips(row),
            scope="row",
            class_="c-device",
        ),
        tag(
            "td",
            row.model or words.DASH,
            tag("span", row.version, class_="soft small"),
            class_="c-model",
        ),
        tag(
            "td",
            level_badge(row.level, row.desired_level),
            class_="c-level",
        ),
        _latency_cell(row),
        tag("td", _missed(row), class_="c-misses n"),
        tag("td", words.degrees(row.temperature_c), class_="c-temperature n"),
        tag("td", health_pill(row.health(view.now_s)), class_="c-health"),
    )


def _latency_cell(row: Row) -> Html:
    tone = "late" if row.share is not None and row.share > 1 else ""
    numbers = tag(
        "span",
        tag("b", words.milliseconds(row.p95_ms), class_=tone or None),
        tag("span", f" of {words.milliseconds(row.deadline_ms)}", class_="soft"),
        class_="numbers",
    )
    return tag("td", sparkline(row.trend, TREND), numbers, class_="c-share")


def _missed(row: Row) -> Html:
    if not row.answered:
        return Html(words.DASH)
    ratio = row.missed / row.answered
    return tag("span", words.percent(ratio, 1), class_="late" if ratio > BAD_MISSES else None)


def _chips(row: Row) -> Html:
    labels = list(row.labels.items())
    chips: list[Any] = [
        tag(
            "span",
            value if key == "class" else f"{key}={value}",
            class_="chip",
            title=f"{key}={value}",
        )
        for key, value in labels[:MAX_CHIPS]
    ]
    if len(labels) > MAX_CHIPS:
        chips.append(tag("span", f"+{len(labels) - MAX_CHIPS}", class_="chip"))
    return tag("span", *chips, class_="chips")


def _summary(summary: Summary, view: View) -> Html:
    troubled = [
        (health, number)
        for health in Health
        if (number := summary.health.get(health, 0)) and health is not Health.GOOD
    ]
    good = summary.health.get(Health.GOOD, 0)
    states = [
        tag(
            "a",
            pill(f"{words.count(number)} {health}", TONES[health]),
            href=f"/?{Query(health=str(health)).encode()}",
            data_soft=True,
        )
        for health, number in [(Health.GOOD, good), *troubled]
    ]
    missed = summary.miss_ratio
    return join(
        (
            card(
                "",
                figure(
                    words.count(summary.devices),
                    "devices",
                    f"{words.count(summary.online)} online",
                ),
                tag("div", *states, class_="states"),
                class_="lead",
            ),
            card(
                "",
                figure(
                    words.percent(missed, 2),
                    "deadline misses",
                    "of the last period's answers",
                    "late" if (missed or 0) > BAD_MISSES else "",
                ),
                meter(missed, "bad"),
            ),
            card(
                "",
                figure(words.accuracy(summary.promised), "accuracy", _measured(summary)),
                meter(summary.promised, "good"),
            ),
            card("Levels in use", _histogram(summary, view), class_="histogram"),
        )
    )


def _measured(summary: Summary) -> str:
    if summary.measured is None:
        return "what the levels in use promise"
    return f"measured on labelled frames: {summary.measured:.3f}"


def _histogram(summary: Summary, view: View) -> Html:
    if not summary.levels:
        return tag("p", "nothing runs yet", class_="soft small")
    return join(
        _bars(model, by_level, view) for model, by_level in sorted(summary.levels.items())[:4]
    )


def _bars(model: str, by_level: Mapping[int, int], view: View) -> Html:
    ladder = view.fleet.ladders.get(model)
    count = len(ladder.levels) if ladder else max(by_level) + 1
    most = max(by_level.values())
    bars = []
    for level in range(count):
        number = by_level.get(level, 0)
        address = f"/?{Query(level=level, model=model).encode()}"
        bar = tag(
            "svg",
            tag(
                "rect",
                class_="fill",
                x="0",
                y=f"{40 - 40 * number / most:.1f}",
                width="10",
                height=f"{40 * number / most:.1f}",
            ),
            viewBox="0 0 10 40",
            preserveAspectRatio="none",
            aria_hidden="true",
        )
        bars.append(
            tag(
                "a",
                tag("span", words.count(number) if number else "", class_="number"),
                bar,
                level_badge(level),
                href=address,
                data_soft=True,
                title=f"{words.plural(number, 'device')} at level {level}",
            )
        )
    return tag(
        "div",
        tag("span", model, class_="soft small") if len(view.fleet.ladders) > 1 else EMPTY,
        tag("div", *bars, class_="bars"),
    )
