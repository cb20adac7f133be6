"""What if: a form for a change of policy, and what it would have changed."""

from collections.abc import Mapping

from secateur_protocols.control import SetPolicy
from secateur_server.dashboard import words
from secateur_server.dashboard.layout import slot
from secateur_server.dashboard.markup import EMPTY, Child, Html, join, tag
from secateur_server.dashboard.page import Fragments, View
from secateur_server.dashboard.pages.parts import act, card, empty, figure, level_badge, pill
from secateur_server.dashboard.what_if import Change, Outcome

OPTIONS = (
    ("deadline_ms", "Deadline, ms", "p95 must stay below it"),
    ("accuracy_floor", "Accuracy floor", "levels below it are not used"),
    ("headroom", "Headroom", "share of the deadline kept free"),
    ("patience", "Patience", "periods that agree before going wider"),
    ("pinned_level", "Pin to level", "overrides the planner"),
    ("weight", "Weight", "beside other models of a device"),
    ("cpu_limit", "CPU limit", "busy share of all cores"),
    ("temperature_limit_c", "Temperature limit, \u00b0C", "narrower at once above it"),
    ("battery_floor", "Battery floor", "charge below which it is spared"),
    ("quiet_hours", "Quiet hours, UTC", "22:00-06:00: nothing goes wider"),
)


class WhatIfPage:
    """The form; the answer comes when it is asked for."""

    title = "What if"
    place = "what-if"

    def __init__(self, _params: Mapping[str, str]) -> None:
        """Remember nothing."""

    def look(self, view: View) -> Fragments:
        """Say how much is recorded."""
        recording = view.fleet.recording
        devices = len(recording.devices())
        size = words.size(recording.held_bytes)
        return {
            "recorded": Html(f"{words.plural(devices, 'device')}, {size} of telemetry recorded")
        }

    def frame(self, view: View, seen: Fragments) -> Html:
        """Draw the form."""
        if view.may_act:
            inner = join(
                (card("Change policy", _form(view)), tag("div", _unasked(), id="outcome"))
            )
        else:
            inner = card(
                "",
                empty(
                    "Your account may only look.",
                    "Policy is not on the broker; the coordinator tells it to operators.",
                ),
            )
        return join(
            (
                tag("h1", "What if"),
                tag(
                    "p",
                    "Change a policy here, and see which levels the planner would have "
                    "wanted on the telemetry recorded here, before anything is applied. ",
                    slot(seen, "recorded", "span", "soft"),
                    class_="intro",
                ),
                tag("div", inner, class_="stack-of"),
            )
        )


def _unasked() -> Html:
    return card(
        "", empty("Nothing was asked yet.", "Fill in what should be different, and ask.")
    )


def _form(view: View) -> Html:
    models = sorted(view.fleet.ladders)
    return tag(
        "form",
        tag(
            "label",
            "Devices",
            tag("input", name="selector", id="if-selector", maxlength="300", placeholder="all"),
            tag("small", "key=value,key=value; empty: all"),
        ),
        tag(
            "label",
            "or one device",
            tag("input", name="device", id="if-device", maxlength="64"),
        ),
        tag(
            "label",
            "Model",
            tag(
                "select",
                tag("option", "every model", value=""),
                *(tag("option", each, value=each) for each in models),
                name="model",
                id="if-model",
            ),
        ),
        tag("hr", class_="wholeline"),
        *(
            tag(
                "label",
                title,
                tag("input", name=name, id=f"if-{name}", maxlength="40"),
                tag("small", hint),
            )
            for name, title, hint in OPTIONS
        ),
        tag(
            "label",
            tag("input", type="checkbox", name="clear", value="yes"),
            "Forget first what is set for exactly these devices and this model",
            class_="check wholeline",
        ),
        tag(
            "div",
            tag("button", "What would have changed?", class_="primary"),
            class_="wholeline",
        ),
        method="post",
        action="/what-if",
        data_action=True,
        data_into="outcome",
        class_="form",
    )


def draw_outcome(
    outcome: Outcome, action: SetPolicy, fields: Mapping[str, str], version: int
) -> Html:
    """Draw the answer, and the button that applies the change.

    Args:
        outcome: The answer.
        action: What was asked about.
        fields: As the form had them.
        version: Of the policy that it was compared with: applied to no other.
    """
    if not outcome.moments:
        return card(
            "",
            empty("Nothing is recorded yet.", "Wait until devices have spoken, and ask again."),
        )
    before, after = outcome.before, outcome.after
    devices = words.plural(outcome.devices, "device")
    looked = f"{words.plural(outcome.moments, 'moment')} of {devices}"
    whole = f" of {words.count(outcome.known)}" if outcome.known > outcome.devices else ""
    given = {name: value for name, value in fields.items() if value}
    apply = act(
        "policy",
        "Apply it",
        {**given, "if_version": str(version)},
        tone="primary",
        question=f"Set this for {scope_words(action)}?",
    )
    return join(
        (
            tag(
                "div",
                card(
                    "",
                    figure(
                        words.count(outcome.changed),
                        "would be told something else",
                        f"{looked}{whole}, {words.span(outcome.span_s)}",
                    ),
                ),
                card(
                    "",
                    figure(
                        _pair(words.accuracy(before.accuracy), words.accuracy(after.accuracy)),
                        "accuracy wanted",
                        "mean over all moments",
                    ),
                ),
                card(
                    "",
                    figure(
                        _pair(
                            words.percent(before.infeasible, 1),
                            words.percent(after.infeasible, 1),
                        ),
                        "infeasible",
                        "decisions where nothing fits",
                    ),
                ),
                class_="grid3",
            ),
            card("Levels wanted at the newest moment", _levels(outcome)),
            card(
                f"Devices ({words.count(outcome.changed)})",
                _changes(outcome),
                tag("div", apply, class_="actions"),
            ),
        )
    )


def scope_words(action: SetPolicy) -> str:
    """Say for whom a change is."""
    whom = action.device or action.selector or "every device"
    return f"{whom}, {action.model or 'every model'}"


def _pair(before: str, after: str) -> Child:
    if before == after:
        return before
    return join((tag("span", before, class_="soft"), " \u2192 ", after))


def _levels(outcome: Outcome) -> Html:
    keys = sorted({*outcome.before.levels, *outcome.after.levels})
    most = max((*outcome.before.levels.values(), *outcome.after.levels.values()), default=1)
    lines = [
        tag(
            "tr",
            tag("th", f"{model} ", level_badge(level), scope="row"),
            tag("td", _bar(outcome.before.levels.get((model, level), 0), most, "off")),
            tag("td", _bar(outcome.after.levels.get((model, level), 0), most, "good")),
        )
        for model, level in keys
    ]
    head = tag("tr", tag("th", "Level"), tag("th", "today's policy"), tag("th", "changed"))
    return tag("table", tag("thead", head), tag("tbody", *lines), class_="compare")


def _bar(count: int, most: int, tone: str) -> Html:
    bar = tag(
        "svg",
        tag("rect", class_=tone, width=f"{100 * count / most:.1f}", height="12"),
        class_="stack",
        viewBox="0 0 100 12",
        preserveAspectRatio="none",
        aria_hidden="true",
    )
    return tag("div", bar, tag("span", words.count(count)), class_="bar-and-number")


def _changes(outcome: Outcome) -> Html:
    if not outcome.changes:
        return tag("p", "Nothing would have been told anything else.", class_="soft")
    more = outcome.changed - len(outcome.changes)
    head = ("Device", "Model", "Today", "Changed", "Why", "Differs in")
    return join(
        (
            tag(
                "div",
                tag(
                    "table",
                    tag("thead", tag("tr", *(tag("th", each) for each in head))),
                    tag("tbody", *map(_change, outcome.changes)),
                ),
                class_="wide",
            ),
            tag("p", f"and {words.count(more)} more", class_="soft") if more else EMPTY,
        )
    )


def _change(change: Change) -> Html:
    return tag(
        "tr",
        tag("th", tag("a", change.device, href=f"/devices/{change.device}"), scope="row"),
        tag("td", change.model),
        tag("td", level_badge(change.before)),
        tag(
            "td",
            level_badge(change.after),
            pill("infeasible", "bad") if change.is_infeasible else EMPTY,
        ),
        tag("td", change.reason),
        tag("td", f"{words.percent(change.differing)} of moments", class_="soft"),
    )
