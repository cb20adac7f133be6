"""One device: what it does, why, and what an operator may do about it."""

from collections.abc import Mapping

from secateur_protocols.ota import TERMINAL, Update, UpdateState
from secateur_protocols.telemetry import Telemetry
from secateur_server.dashboard import words
from secateur_server.dashboard.charts import Scale, Series, legend, meter, time_chart
from secateur_server.dashboard.device import Device, Happening
from secateur_server.dashboard.history import History, thin
from secateur_server.dashboard.layout import slot
from secateur_server.dashboard.markup import EMPTY, Child, Html, join, tag
from secateur_server.dashboard.page import Fragments, View
from secateur_server.dashboard.pages.parts import (
    act,
    card,
    empty,
    facts,
    health_pill,
    level_badge,
    pill,
)
from secateur_server.dashboard.rows import FAILED, Row

LATENCY_WIDTH, LATENCY_HEIGHT = 760.0, 400.0

LABEL_SHARE = 0.12
"""Of a chart's width that the word beside a mark takes."""

STEPS = (
    UpdateState.ACCEPTED,
    UpdateState.DOWNLOADING,
    UpdateState.DOWNLOADED,
    UpdateState.VERIFIED,
    UpdateState.ACTIVATING,
    UpdateState.PROBATION,
    UpdateState.SUCCEEDED,
)
"""What an update goes through where nothing fails."""


class DevicePage:
    """One device, by name."""

    place = "fleet"

    def __init__(self, params: Mapping[str, str]) -> None:
        self.name = params.get("device", "")
        self.title = self.name
        self._history = History()

    def look(self, view: View) -> Fragments:
        """Draw all that lives."""
        device = view.fleet.devices.get(self.name)
        if device is None:
            missing = empty(
                "This device has not been heard of.",
                "It appears here as soon as it speaks. ",
                tag("a", "To the fleet", href="/"),
            )
            return {
                "head": tag("h1", self.name),
                "models": missing,
                **dict.fromkeys(("resources", "timeline", "forms", "facts"), EMPTY),
            }
        self._history.follow(view.fleet.recording.of(self.name))
        return {
            "head": _head(device, view),
            "models": join(self._model(device, row, view) for row in device.rows if row.model),
            "resources": self._resources(),
            "timeline": _timeline(device, view.now_s),
            "forms": _forms(device, view) if view.may_act else EMPTY,
            "facts": _facts(device),
        }

    def frame(self, _view: View, seen: Fragments) -> Html:
        """Draw where it goes."""
        return join(
            (
                slot(seen, "head", class_="head"),
                tag(
                    "div",
                    slot(seen, "models", class_="stack-of"),
                    tag(
                        "div",
                        slot(seen, "forms"),
                        card("Decisions and events", slot(seen, "timeline")),
                        class_="stack-of",
                    ),
                    class_="wide-and-side",
                ),
                slot(seen, "resources", class_="grid3"),
                card("What it is", slot(seen, "facts")),
            )
        )

    def _model(self, device: Device, row: Row, view: View) -> Html:
        model = row.model or ""
        wish = device.wish_for(model)
        heading = tag(
            "div",
            tag(
                "h2",
                tag("a", model, href=f"/models/{model}"),
                tag("span", f" {row.version}", class_="soft"),
            ),
            level_badge(row.level, row.desired_level),
            health_pill(row.health(view.now_s)),
            class_="head",
        )
        reason = (
            tag("p", wish.reason, class_="notice bad" if wish.infeasible else "notice")
            if wish
            else EMPTY
        )
        return tag(
            "section",
            heading,
            reason,
            _update(device, row, view),
            self._latency(model, row),
            class_="card",
        )

    def _latency(self, model: str, row: Row) -> Html:
        history = self._history
        series = (
            history.measured(model, "p50", "c2", lambda part: part.p50_ms),
            history.measured(model, "p95", "c0", lambda part: part.p95_ms),
            history.measured(model, "p99", "c3", lambda part: part.p99_ms),
        )
        drawn = [each for each in series if any(value is not None for value in each.values)]
        limits = [
            history.measured(
                model, "deadline", "bad", lambda part: part.deadline_ms or row.deadline_ms
            )
        ]
        times_s = history.times_s
        least_s = LABEL_SHARE * (times_s[-1] - times_s[0]) if times_s else 0.0
        chart = time_chart(
            times_s,
            drawn,
            title=f"Latency of {model} against its deadline",
            scale=Scale(unit=" ms", width=LATENCY_WIDTH, height=LATENCY_HEIGHT),
            limits=limits,
            marks=thin(history.switches(model), least_s),
        )
        return tag("figure", chart, legend([*drawn, *limits]), class_="plot")

    def _resources(self) -> Html:
        history = self._history
        charts = (
            (
                "CPU",
                [
                    history.resource("busy", "c2", lambda s: _percent(s.resources.cpu_share)),
                    history.resource(
                        "pressure", "c1", lambda s: _percent(s.resources.cpu_pressure)
                    ),
                ],
                Scale(unit=" %", high=100.0),
            ),
            (
                "Memory in use",
                [history.resource("used", "c3", _memory_used)],
                Scale(unit=" %", high=100.0),
            ),
            (
                "Temperature",
                [history.resource("hottest zone", "c1", lambda s: s.resources.temperature_c)],
                Scale(unit=" \u00b0C", low=None),
            ),
        )
        return join(self._resource(name, series, scale) for name, series, scale in charts)

    def _resource(self, name: str, series: list[Series], scale: Scale) -> Html:
        drawn = [each for each in series if any(value is not None for value in each.values)]
        chart = time_chart(self._history.times_s, drawn, title=name, scale=scale)
        last = next((value for value in reversed(series[0].values) if value is not None), None)
        now = "" if last is None else f"{last:.0f}{scale.unit}"
        heading = tag("h2", f"{name} ", tag("span", now, class_="soft"))
        return card("", heading, chart, legend(drawn) if len(drawn) > 1 else EMPTY)


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _memory_used(said: Telemetry) -> float | None:
    total, free = said.resources.memory_total_bytes, said.resources.memory_available_bytes
    return None if not total or free is None else 100 * max(0.0, 1 - free / total)


def _head(device: Device, view: View) -> Html:
    tones = {"online": "good", "offline": "bad"}
    chips = [
        tag("span", f"{key}={value}", class_="chip", title=f"{key}={value}")
        for key, value in device.labels.items()
    ]
    heard = EMPTY
    if device.heard_s is not None:
        heard = tag(
            "span", f"heard {words.ago(view.now_s - device.heard_s)}", class_="soft small"
        )
    return join(
        (
            tag("h1", device.name),
            pill(device.state, tones.get(device.state, "off")),
            heard,
            tag("span", *chips, class_="chips"),
        )
    )


def _update(device: Device, row: Row, view: View) -> Html:
    update = device.update_of(row.model or "")
    if update is None:
        return EMPTY
    if update.state in TERMINAL:
        return _ended(update)
    steps = [tag("li", str(step), class_=_step_class(step, update.state)) for step in STEPS]
    return tag(
        "div",
        tag("strong", f"Update to level {update.level}"),
        tag("ol", *steps, class_="steps"),
        _progress(device, row),
        _abort(device, row, update) if view.may_act else EMPTY,
        class_="notice",
    )


def _ended(update: Update) -> Html:
    if update.state not in FAILED:
        return EMPTY
    why = ": ".join(filter(None, (str(update.reason or ""), update.detail)))
    return tag(
        "p",
        f"The update to level {update.level} has {str(update.state).replace('_', ' ')}",
        f": {why}" if why else ".",
        class_="notice bad",
    )


def _step_class(step: UpdateState, state: UpdateState) -> str | None:
    order = list(UpdateState)
    if step is state:
        return "now"
    return "done" if order.index(step) < order.index(state) else None


def _progress(device: Device, row: Row) -> Html:
    progress = device.progress
    if progress is None or progress.model != row.model or not progress.total_bytes:
        return EMPTY
    share = progress.received_bytes / progress.total_bytes
    left = "" if progress.remaining_s is None else f", {words.span(progress.remaining_s)} left"
    said = (
        f"{words.size(progress.received_bytes)} of {words.size(progress.total_bytes)} "
        f"({words.percent(share)}) at {words.size(progress.rate_bytes_per_s)}/s{left}"
    )
    return tag("div", meter(share), tag("span", said), class_="progress")


def _abort(device: Device, row: Row, update: Update) -> Html:
    """Offer to stay where it is committed: in probation the candidate answers already."""
    wish, committed = device.wish_for(update.model), device.report_of(update.model)
    level = committed.level if committed else row.level
    if level is None or level == update.level or wish is None:
        return EMPTY
    version = committed.version if committed else row.version
    if version and wish.ladder.version != version:
        return tag(
            "p",
            f"It belongs to the rollout of version {wish.ladder.version}: ",
            tag("a", "halt it there", href="/rollouts"),
            ".",
        )
    return act(
        "abort",
        f"Abort: keep level {level}",
        {"device": device.name, "model": update.model, "level": str(level)},
        tone="danger",
        question=f"Keep {update.model} on {device.name} at level {level}, pinned?",
    )


def _timeline(device: Device, now_s: float) -> Html:
    if not device.happenings:
        return empty(
            "Nothing yet.", "Decisions of the planner and events on the device appear here."
        )
    return tag(
        "ol",
        *(_happening(each, now_s) for each in reversed(device.happenings)),
        class_="timeline",
    )


def _happening(happening: Happening, now_s: float) -> Html:
    when = "before" if not happening.at_s else words.ago(now_s - happening.at_s)
    what: Child
    if happening.kind == "wish":
        what = level_badge(happening.level)
    else:
        tone = {"switched": "good", "refused": "warn", "rolled_back": "bad", "fault": "bad"}
        what = pill(happening.kind.replace("_", " "), tone.get(happening.kind, "off"))
    said = f"{happening.model}: {happening.text}" if happening.model else happening.text
    return tag("li", tag("time", when), tag("span", what), tag("p", said))


def _facts(device: Device) -> Html:
    info, telemetry = device.info, device.telemetry
    pairs: list[tuple[str, Child]] = []
    if info is not None:
        hardware, engine = info.hardware, info.engine
        pairs += [
            ("hardware class", hardware.hardware_class),
            ("processor", hardware.cpu_model),
            ("architecture", hardware.machine),
            ("cores", hardware.cores),
            ("memory", words.size(hardware.memory_bytes)),
            (
                "engine",
                f"{engine.name} {engine.version}, {words.plural(engine.threads, 'thread')}",
            ),
            ("agent", info.agent_version),
            ("boots", info.boot),
        ]
        if hardware.simulated:
            pairs.append(("simulated", "yes: latency and sensors are made up"))
    if telemetry is not None:
        resources = telemetry.resources
        pairs += [
            ("period", words.span(telemetry.period_s)),
            ("disk free", words.size(resources.disk_free_bytes)),
            ("battery", words.percent(resources.battery_ratio)),
            ("sent on the wire", words.size(telemetry.wire_sent_bytes)),
        ]
    return facts([(name, value) for name, value in pairs if value != words.DASH])


def _forms(device: Device, view: View) -> Html:
    models = [row.model for row in device.rows if row.model]
    pins = join(_pin(device, model, view) for model in models)
    return card(
        "Do something",
        pins,
        tag(
            "div",
            act(
                "rebirth",
                "Force rebirth",
                {"device": device.name},
                title="Have it say everything again",
            ),
            act(
                "forget",
                "Forget",
                {"device": device.name},
                tone="danger",
                question=f"Forget {device.name}? If it is alive, it comes back by itself.",
            ),
            class_="actions",
        ),
    )


def _pin(device: Device, model: str, view: View) -> Html:
    """Draw the choice of a level. Nothing here changes with the device, so nothing is reset."""
    ladder = view.fleet.ladders.get(model)
    levels = [
        tag("option", f"{each.level}: accuracy {each.accuracy.value:.3f}", value=each.level)
        for each in (ladder.levels if ladder else ())
    ]
    if not levels:
        words_ = f"No ladder of {model} is announced: nothing to pin to."
        return tag("p", words_, class_="soft")
    first = tag("option", "choose", value="", disabled=True, selected=True)
    select = tag("select", first, *levels, name="level", id=f"pin-{model}", required=True)
    return tag(
        "form",
        tag("input", type="hidden", name="device", value=device.name),
        tag("input", type="hidden", name="model", value=model),
        tag("label", f"Level of {model}", select),
        tag("button", "Pin", class_="primary"),
        tag(
            "button", "Let the planner decide", formaction="/actions/unpin", formnovalidate=True
        ),
        method="post",
        action="/actions/pin",
        data_action=True,
        class_="actions pins",
    )
