"""One device as it is shown: a fold over its messages. No clock, no I/O."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from secateur_protocols.event import DeviceEvent
from secateur_protocols.info import Info
from secateur_protocols.ota import TERMINAL, Ota, OtaProgress, Update
from secateur_protocols.presence import Presence, PresenceState
from secateur_protocols.state import Desired, DesiredModel, Reported, ReportedModel
from secateur_protocols.telemetry import ModelTelemetry, Telemetry
from secateur_server.dashboard.rows import Row, Said, judge

TREND = 24
"""Periods in a sparkline."""

MAX_HAPPENINGS = 40
"""Decisions and events of one device that are remembered."""

SILENT_PERIODS = 4.0
"""A device that said nothing for so many periods, or times its announced silence, is silent."""

LEAST_SILENCE_S = 10.0
"""However short the period: a busy broker is late sometimes."""


@dataclass(frozen=True, slots=True)
class Happening:
    """A decision of the planner, or an event on the device.

    Attributes:
        at_s: When we heard it, UTC seconds since 1970; 0: before we listened.
        kind: ``wish``, or an `EventKind`.
    """

    at_s: float
    kind: str
    model: str | None
    level: int | None
    text: str


@dataclass(slots=True)
class Device:
    """The newest of each kind of message; ``None``: not heard yet.

    Attributes:
        heard_s: When its telemetry came, UTC seconds since 1970.
        recents: What its telemetry says of each model that one message alone does not.
        rows: What follows from them, one for each model; never none.
        version: Grows with everything that may be seen.
    """

    name: str
    presence: Presence | None = None
    info: Info | None = None
    telemetry: Telemetry | None = None
    heard_s: float | None = None
    reported: Reported | None = None
    desired: Desired | None = None
    ota: Ota | None = None
    progress: OtaProgress | None = None
    happenings: deque[Happening] = field(default_factory=lambda: deque(maxlen=MAX_HAPPENINGS))
    recents: dict[str, "Recent"] = field(default_factory=dict)
    rows: tuple[Row, ...] = ()
    version: int = 0

    @property
    def state(self) -> str:
        """Its presence; one that said nothing of it is there if it speaks."""
        if self.presence is not None:
            return str(self.presence.state)
        return str(PresenceState.ONLINE if self.telemetry else PresenceState.OFFLINE)

    @property
    def labels(self) -> Mapping[str, str]:
        """Its own, and its hardware class as ``class``, as selectors see them."""
        if self.info is None:
            return {}
        return {"class": self.info.hardware.hardware_class, **self.info.labels}

    def wish_for(self, model: str) -> DesiredModel | None:
        """Find what is wanted of one model."""
        wishes = self.desired.models if self.desired else ()
        return next((each for each in wishes if each.model == model), None)

    def report_of(self, model: str) -> ReportedModel | None:
        """Find what it reports of one model."""
        told = self.reported.models if self.reported else ()
        return next((each for each in told if each.model == model), None)

    def update_of(self, model: str) -> Update | None:
        """Find where its update stands."""
        updates = self.ota.updates if self.ota else ()
        return next((each for each in updates if each.model == model), None)

    def hear(self, said: object, at_s: float) -> bool:
        """Take one message into account, if it is newer than what is known.

        Args:
            said: Any message of a device's branch.
            at_s: Now, UTC seconds since 1970.

        Returns:
            Whether anything changed.
        """
        if not self._take(said, at_s):
            return False
        self.version += 1
        if not isinstance(said, OtaProgress | DeviceEvent):
            self.rows = self._derive_rows()
        return True

    def _take(self, said: object, at_s: float) -> bool:
        match said:
            case Telemetry():
                return self._take_telemetry(said, at_s)
            case Desired():
                return self._take_desired(said, at_s)
            case Ota():
                return self._take_ota(said)
            case OtaProgress() | DeviceEvent():
                self._note(said, at_s)
                return True
            case _:
                return self._take_state(said)

    def _take_state(self, said: object) -> bool:
        if isinstance(said, Presence):
            known = self.presence
            if known is not None and (said.order < known.order or said == known):
                return False
            self.presence = said
        elif isinstance(said, Info):
            if self.info is not None and said.boot < self.info.boot:
                return False
            self.info = said
        elif isinstance(said, Reported):
            if self.reported is not None and said.order <= self.reported.order:
                return False
            self.reported = said
        return True

    def _note(self, said: OtaProgress | DeviceEvent, at_s: float) -> None:
        if isinstance(said, OtaProgress):
            self.progress = said
        else:
            happening = Happening(at_s, str(said.kind), said.model, None, said.text)
            self.happenings.append(happening)

    def _take_telemetry(self, said: Telemetry, at_s: float) -> bool:
        before = self.telemetry
        if before is not None and said.order <= before.order:
            return False
        known = {each.model: each for each in before.models} if before else {}
        is_same_life = before is not None and before.boot == said.boot
        self.recents = {
            each.model: _follow(
                self.recents.get(each.model),
                each,
                self._deadline_ms(each.model, each),
                known.get(each.model) if is_same_life else None,
            )
            for each in said.models
        }
        self.telemetry = said
        self.heard_s = at_s
        return True

    def _take_desired(self, said: Desired, at_s: float) -> bool:
        if self.desired is not None and said.revision <= self.desired.revision:
            return False
        heard_s = at_s if self.desired is not None else 0.0
        for wish in said.models:
            known = self.wish_for(wish.model)
            if known is None or (known.level, known.reason) != (wish.level, wish.reason):
                self.happenings.append(
                    Happening(heard_s, "wish", wish.model, wish.level, wish.reason)
                )
        self.desired = said
        return True

    def _take_ota(self, said: Ota) -> bool:
        known = self.ota
        if known and (said.boot, said.sequence) <= (known.boot, known.sequence):
            return False
        self.ota = said
        if all(each.state in TERMINAL for each in said.updates):
            self.progress = None
        return True

    def _derive_rows(self) -> tuple[Row, ...]:
        measured = self.telemetry.models if self.telemetry else ()
        rows = [self._row(each.model, each) for each in measured]
        spoken = {each.model for each in measured}
        tasks = self.info.tasks if self.info else ()
        rows += [self._row(task.model, None) for task in tasks if task.model not in spoken]
        return tuple(rows) or (self._row(None, None),)

    def _row(self, model: str | None, measured: ModelTelemetry | None) -> Row:
        wish = self.wish_for(model) if model else None
        report = self.report_of(model) if model else None
        recent = self.recents.get(model or "", NOTHING_YET)
        p95_ms = measured.p95_ms if measured else None
        deadline_ms = self._deadline_ms(model, measured) if model else None
        share = p95_ms / deadline_ms if p95_ms is not None and deadline_ms else None
        running = measured or report
        resources = self.telemetry.resources if self.telemetry else None
        health = judge(
            Said(
                state=self.state,
                has_spoken=measured is not None,
                share=share,
                wish=wish,
                report=report,
                update=self.update_of(model) if model else None,
            )
        )
        return Row(
            device=self.name,
            state=self.state,
            hardware_class=self.info.hardware.hardware_class if self.info else "",
            labels=self.labels,
            model=model,
            version=running.version if running else "",
            level=running.level if running else None,
            desired_level=wish.level if wish else None,
            p95_ms=p95_ms,
            deadline_ms=deadline_ms,
            trend=recent.trend,
            answered=recent.answered,
            missed=recent.missed,
            labelled=recent.labelled,
            correct=recent.correct,
            temperature_c=resources.temperature_c if resources else None,
            cpu_share=resources.cpu_share if resources else None,
            spoken_health=health,
            overdue_at_s=self._overdue_at_s(),
        )

    def _deadline_ms(self, model: str, measured: ModelTelemetry | None) -> float | None:
        """Give the deadline that holds: that of the telemetry, else wished, else its own."""
        if measured is not None and measured.deadline_ms:
            return measured.deadline_ms
        wish = self.wish_for(model)
        if wish is not None:
            return wish.deadline_ms
        tasks = self.info.tasks if self.info else ()
        return next((each.deadline_ms for each in tasks if each.model == model), None)

    def _overdue_at_s(self) -> float | None:
        if self.telemetry is None or self.heard_s is None:
            return None
        expected_s = max(self.telemetry.period_s, self.telemetry.silence_s or 0.0)
        return self.heard_s + max(LEAST_SILENCE_S, SILENT_PERIODS * expected_s)


@dataclass(frozen=True, slots=True)
class Recent:
    """What telemetry says of one model, beyond its newest message.

    Attributes:
        trend: p95 as a share of the deadline, of the last periods, oldest first.
        answered: Since the message before; likewise the others.
    """

    trend: tuple[float, ...] = ()
    answered: int = 0
    missed: int = 0
    labelled: int = 0
    correct: int = 0


NOTHING_YET = Recent()


def _follow(
    recent: Recent | None,
    now: ModelTelemetry,
    deadline_ms: float | None,
    before: ModelTelemetry | None,
) -> Recent:
    """Follow one model to its next message; ``before`` ``None``: the first of a life."""
    return Recent(
        trend=_trend(recent, now, deadline_ms),
        answered=max(0, now.answered - before.answered) if before else 0,
        missed=max(0, now.deadline_misses - before.deadline_misses) if before else 0,
        labelled=sum(each.labelled for each in now.served),
        correct=sum(each.correct for each in now.served),
    )


def _trend(
    recent: Recent | None, now: ModelTelemetry, deadline_ms: float | None
) -> tuple[float, ...]:
    known = recent.trend if recent else ()
    if not deadline_ms:
        return known
    if recent is None:  # the device carries some history of its own
        return tuple(p95_ms / deadline_ms for p95_ms in now.recent_p95_ms)[-TREND:]
    if now.p95_ms is None:
        return known
    return (*known[1 - TREND :], now.p95_ms / deadline_ms)
