"""Rollouts: where each stands, what can be done about it, and a form for the next."""

from collections.abc import Mapping

from secateur_protocols.rollout import (
    ENDED,
    RolloutGates,
    RolloutPlan,
    RolloutState,
    RolloutStatus,
    WaveStatus,
)
from secateur_server.dashboard import words
from secateur_server.dashboard.layout import slot
from secateur_server.dashboard.markup import EMPTY, Html, join, tag
from secateur_server.dashboard.page import Fragments, View
from secateur_server.dashboard.pages.parts import act, card, empty, pill

TONES = {
    RolloutState.WATCHING: "busy",
    RolloutState.AWAITING: "warn",
    RolloutState.PAUSED: "warn",
    RolloutState.SUCCEEDED: "good",
    RolloutState.HALTED: "bad",
    RolloutState.SUPERSEDED: "off",
}

COUNTS = (
    ("good", "good"),
    ("soaking", "busy"),
    ("told", "busy"),
    ("waiting", "off"),
    ("bad", "bad"),
    ("expired", "warn"),
    ("unsuited", "off"),
)
"""Where a wave's devices stand, and the colour of each."""

MAX_HISTORY = 20
"""Rollouts that have ended, in the table."""


class RolloutsPage:
    """All rollouts of the site."""

    title = "Rollouts"
    place = "rollouts"

    def __init__(self, _params: Mapping[str, str]) -> None:
        """Remember nothing: a page of few things is drawn anew each time."""

    def look(self, view: View) -> Fragments:
        """Draw those under way, and those that have ended."""
        everything = sorted(
            view.fleet.rollouts.values(), key=lambda each: each.started_at, reverse=True
        )
        current = [each for each in everything if each.state not in ENDED]
        ended = [each for each in everything if each.state in ENDED]
        drawn = join(_rollout(each, view) for each in current)
        return {"current": drawn or _nothing(view), "history": _history(ended, view)}

    def frame(self, view: View, seen: Fragments) -> Html:
        """Draw the form."""
        return join(
            (
                tag("h1", "Rollouts"),
                slot(seen, "current", class_="stack-of spaced"),
                card("Start a rollout", _form(view), class_="spaced")
                if view.may_act
                else EMPTY,
                card("History", slot(seen, "history")),
            )
        )


def _nothing(view: View) -> Html:
    if not view.is_connected:
        return empty("The broker is lost.", "Rollouts appear again once it is back.")
    return card(
        "",
        empty(
            "No rollout is under way.",
            "Publish another version of a model, then bring it to the devices in waves.",
        ),
    )


def _rollout(status: RolloutStatus, view: View) -> Html:
    heading = tag(
        "div",
        tag("h2", f"{status.model} {status.from_version} \u2192 {status.version}"),
        pill(str(status.state), TONES[status.state]),
        tag(
            "span",
            f"{status.rollout}, watched for {words.span(status.watched_s)}",
            class_="soft small",
        ),
        class_="head",
    )
    warnings = [tag("p", each, class_="notice warn") for each in status.warnings]
    waves = [_wave(number, wave, status) for number, wave in enumerate(status.waves)]
    return tag(
        "section",
        heading,
        tag("p", status.reason, class_="notice"),
        *warnings,
        tag("div", tag("div", *waves), _gates(status), class_="wide-and-side"),
        _steering(status) if view.may_act else EMPTY,
        class_="card",
        id=f"rollout-{status.rollout}",
    )


def _wave(number: int, wave: WaveStatus, status: RolloutStatus) -> Html:
    counts = [(name, tone, getattr(wave, name)) for name, tone in COUNTS]
    said = ", ".join(f"{words.count(count)} {name}" for name, _, count in counts if count)
    back = f"; {words.count(wave.back)} back on {status.from_version}" if wave.back else ""
    if number > status.wave:
        state = "to come"
    else:
        state = "open" if number == status.wave and status.state not in ENDED else "done"
    return tag(
        "div",
        tag(
            "div",
            tag("strong", f"Wave {number}: {_size(wave.size)}"),
            tag(
                "span", f"{words.plural(wave.devices, 'device')}, {state}", class_="soft small"
            ),
            class_="title",
        ),
        _stack([(tone, count) for _, tone, count in counts], wave.devices),
        tag("span", f"{said}{back}" or "nobody yet", class_="soft small"),
        class_="wave",
    )


def _size(size: str) -> str:
    return f"{size} of each class" if size.endswith("%") else words.plural(int(size), "device")


def _stack(parts: list[tuple[str, int]], whole: int) -> Html:
    drawn, begin = [tag("rect", class_="rest", width="100", height="12")], 0.0
    for tone, count in parts:
        width = 100 * count / whole if whole else 0.0
        if count:
            drawn.append(
                tag("rect", class_=tone, x=f"{begin:.2f}", width=f"{width:.2f}", height="12")
            )
        begin += width
    return tag(
        "svg",
        *drawn,
        class_="stack",
        viewBox="0 0 100 12",
        preserveAspectRatio="none",
        aria_hidden="true",
    )


def _gates(status: RolloutStatus) -> Html:
    gates = status.plan.gates
    limits = {
        "p95": f"at most {gates.max_p95_ratio:g} times as long",
        "misses": f"at most {words.percent(gates.max_miss_rise)} more late",
        "accuracy": f"at most {words.percent(gates.max_accuracy_drop)} fewer right",
        "memory": f"at most {words.percent(gates.max_memory_rise)} more of the memory",
        "temperature": f"at most {gates.max_temperature_rise_c:g} \u00b0C warmer",
        "update": "does not fail by its own fault",
        "proof": "runs what it says it runs",
    }
    lines = [
        tag(
            "tr",
            tag("th", str(each.gate), scope="row"),
            tag("td", limits.get(str(each.gate), ""), class_="soft small"),
            tag(
                "td",
                pill("passes", "good")
                if not each.failed
                else pill(f"{words.count(each.failed)} failed", "bad"),
                class_="n",
            ),
        )
        for each in status.gates
    ]
    troubles = [
        tag(
            "li",
            tag("a", each.device, href=f"/devices/{each.device}"),
            f": {each.gate}, {each.detail}",
        )
        for each in status.troubles
    ]
    return tag(
        "div",
        tag("h3", "Gates"),
        tag(
            "p",
            f"More than {words.percent(gates.max_bad_ratio)} bad devices in a wave halt it.",
            class_="soft small",
        ),
        tag("table", tag("tbody", *lines)),
        join((tag("h3", "Bad devices"), tag("ul", *troubles))) if troubles else EMPTY,
    )


def _steering(status: RolloutStatus) -> Html:
    orders: list[tuple[str, str, str, str | None]] = []
    if status.state is RolloutState.AWAITING:
        orders.append(("approve", "Approve the wave", "primary", None))
    if status.state is RolloutState.PAUSED:
        orders.append(("resume", "Go on", "primary", None))
    else:
        orders.append(("pause", "Pause", "", None))
    question = f"Halt? Every device gets {status.from_version} again, and there is no way back."
    orders.append(("halt", "Halt and go back", "danger", question))
    return tag(
        "div",
        *(
            act(
                "steer",
                name,
                {"rollout": status.rollout, "order": order},
                tone=tone,
                question=asked,
            )
            for order, name, tone, asked in orders
        ),
        class_="actions",
    )


def _history(ended: list[RolloutStatus], view: View) -> Html:
    if not ended:
        return tag("p", "None has ended yet.", class_="soft")
    lines = [_past(each, view) for each in ended[:MAX_HISTORY]]
    head = ("Started", "Model", "Version", "End", "Why", "")
    return tag(
        "div",
        tag(
            "table",
            tag("thead", tag("tr", *(tag("th", name, scope="col") for name in head))),
            tag("tbody", *lines),
        ),
        class_="wide",
    )


def _past(status: RolloutStatus, view: View) -> Html:
    forget = act(
        "steer", "Forget", {"rollout": status.rollout, "order": "forget"}, tone="quiet"
    )
    return tag(
        "tr",
        tag("td", status.started_at[:16].replace("T", " "), class_="soft"),
        tag("td", status.model),
        tag("td", f"{status.from_version} \u2192 {status.version}"),
        tag("td", pill(str(status.state), TONES[status.state])),
        tag("td", status.reason),
        tag("td", forget if view.may_act else EMPTY),
    )


def _form(view: View) -> Html:
    models = sorted(view.fleet.ladders)
    if not models:
        return tag("p", "No model is published yet.", class_="soft")
    plan, gates = RolloutPlan(), RolloutGates()
    return tag(
        "form",
        tag(
            "label",
            "Model",
            tag(
                "select",
                *(tag("option", each) for each in models),
                name="model",
                id="start-model",
            ),
        ),
        _field("version", "Version", "", "empty: the one published last"),
        _field("waves", "Waves", ", ".join(plan.waves), "devices in all, or % of each class"),
        _field(
            "soak_s", "Soak, seconds", f"{plan.soak_s:g}", "how long each device is watched"
        ),
        _field(
            "baseline_s",
            "Baseline, seconds",
            f"{plan.baseline_s:g}",
            "watched before the change",
        ),
        _field(
            "deadline_s",
            "Deadline, seconds",
            f"{plan.deadline_s:g}",
            "then the wave goes on without a device",
        ),
        tag(
            "details",
            tag("summary", "Gates"),
            tag(
                "div",
                _field("max_p95_ratio", "p95, times", f"{gates.max_p95_ratio:g}"),
                _field("max_miss_rise", "Rise of late answers", f"{gates.max_miss_rise:g}"),
                _field("max_accuracy_drop", "Fall of accuracy", f"{gates.max_accuracy_drop:g}"),
                _field("max_memory_rise", "Rise of memory", f"{gates.max_memory_rise:g}"),
                _field(
                    "max_temperature_rise_c",
                    "Rise of temperature, \u00b0C",
                    f"{gates.max_temperature_rise_c:g}",
                ),
                _field("max_bad_ratio", "Share of bad devices", f"{gates.max_bad_ratio:g}"),
                class_="form",
            ),
            class_="wholeline",
        ),
        tag(
            "label",
            tag("input", type="checkbox", name="approve_each_wave", value="yes"),
            "Wait for my approval before each further wave",
            class_="check wholeline",
        ),
        tag("div", tag("button", "Start", class_="primary"), class_="wholeline"),
        method="post",
        action="/actions/start",
        data_action=True,
        class_="form",
    )


def _field(name: str, title: str, value: str, hint: str = "") -> Html:
    return tag(
        "label",
        title,
        tag("input", name=name, id=f"start-{name}", value=value, maxlength="100"),
        tag("small", hint) if hint else EMPTY,
    )
