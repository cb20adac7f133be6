"""A rollout over a simulated fleet, on a virtual clock, over links that lose and reorder.

Messages are the protocol's own; what hears them, judges, and decides is what a real
coordinator runs. Only encoding, the broker and the database are left out.
"""

import heapq
import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count

from secateur_protocols.control import PolicyChange
from secateur_protocols.manifest import Ladder
from secateur_protocols.ota import Ota
from secateur_protocols.presence import Presence, PresenceState
from secateur_protocols.rollout import RolloutPlan
from secateur_protocols.state import Desired, LadderRef, ProofOfRun, Reported, ReportedModel
from secateur_protocols.telemetry import ModelTelemetry, Resources, Served, Telemetry
from secateur_server.coordinator.rollout_course import Course
from secateur_server.core.cohort import allowed_count
from secateur_server.core.context import Context, Published
from secateur_server.core.coordinator import plan
from secateur_server.core.evidence import Versions
from secateur_server.core.fleet import DeviceState, hear
from secateur_server.core.policy import Policies, Scope, change_policy
from secateur_server.core.proof import ExpectedOutputs
from secateur_server.core.rollout import Promote, Replan, Rollout, Step, step
from support.ladders import digest_of
from support.situations import make_info, make_ladder

PERIOD_S = 5
RATE_HZ = 40
CLASSES = ("jetson", *["pi-3"] * 3, *["pi-4"] * 6)
BEGIN_S = 1_000_000.0

Heard = Presence | Telemetry | Reported | Ota


@dataclass(frozen=True, slots=True)
class Quality:
    """What a version is like: its p95 latency, and how many frames it gets right."""

    p95_ms: float = 8.0
    right: float = 0.97


@dataclass(frozen=True, slots=True)
class Link:
    """What a link does to a message: shares of those that are lost, doubled, late."""

    lost: float = 0.0
    doubled: float = 0.0
    late: float = 0.0


BAD_LINK = Link(lost=0.1, doubled=0.1, late=0.1)


@dataclass(slots=True)
class PlayedDevice:
    """One device. ``lie`` names how it lies, if it does."""

    name: str
    hardware_class: str
    lie: str = ""
    runs: str = "1"
    says: str = "1"
    revision: int = 0
    wanted: str = "1"
    arrives_s: float | None = None
    is_away: bool = False
    answered: int = 0
    switches: int = 0
    recent_ms: tuple[float, ...] = ()
    sequence: "count[int]" = field(default_factory=count)


class RollingSimulation:
    """One fleet and one rollout of version 2."""

    def __init__(
        self,
        device_count: int,
        quality: Callable[[PlayedDevice, str], Quality],
        *,
        seed: int = 1,
        link: Link = BAD_LINK,
        lies: Mapping[str, str] | None = None,
        away: float = 0.0,
        **planned: object,
    ) -> None:
        """Make it.

        Args:
            device_count: Devices, of three hardware classes.
            quality: Of a version on a device.
            seed: Of all chance.
            link: Of every device.
            lies: How devices lie, by name: ``keeps`` the old file and says otherwise,
                ``praises`` whatever it runs, ``complains`` of the new version.
            away: Share of devices that go away for a while, each minute.
            planned: Of the rollout, beside quick defaults.
        """
        self.quality = quality
        self.link = link
        self.away = away
        self.chance = random.Random(seed)
        self.now_s = BEGIN_S
        self.stable, self.target = make_ladder(version="1"), make_ladder(version="2")
        self.course = self._open(planned)
        self.devices = {
            f"d-{number}": PlayedDevice(f"d-{number}", CLASSES[number % len(CLASSES)])
            for number in range(device_count)
        }
        for name, lie in (lies or {}).items():
            self.devices[name].lie = lie
        self.states = {name: self._birth(each) for name, each in self.devices.items()}
        everywhere = Policies({}, 0)
        pinned = PolicyChange(pinned_level=0)
        self.context = Context(
            {"digits": self.course.stable},
            change_policy(everywhere, Scope(None, None, ""), pinned, is_cleared=False),
            "http://127.0.0.1:1",
        )
        self.ever_ran: set[str] = set()
        self.promoted = 0
        self._mail: list[tuple[float, int, str, Heard]] = []
        self._number = count()
        for name in self.devices:
            self._plan(name)

    def play(self, limit_s: int = 2000, *, every: Callable[[], None] = lambda: None) -> Rollout:
        """Let time pass until the rollout is over and nothing is under way."""
        for _ in range(limit_s):
            self.now_s += 1.0
            for device in self.devices.values():
                self._live(device)
            self._deliver()
            self._look()
            every()
            if self.course.is_over:
                break
        return self.course.rollout

    @property
    def running(self) -> set[str]:
        """The devices that really run version 2."""
        return {name for name, each in self.devices.items() if each.runs == "2"}

    def _open(self, planned: Mapping[str, object]) -> Course:
        quick = {"soak_s": 20.0, "baseline_s": 60.0, "deadline_s": 90.0}
        stable, target = (
            Published(LadderRef(version=v, digest=digest_of(v), size_bytes=1), ladder)
            for v, ladder in (("1", self.stable), ("2", self.target))
        )
        expected = {
            each.digest: ExpectedOutputs(
                digest_of(f"outputs {each.digest}"), (0.1, 0.9), (0.01, 0.01)
            )
            for each in self.target.levels
        }
        rollout = Rollout(
            rollout="digits-1",
            model="digits",
            stable=stable.ref,
            target=target.ref,
            plan=RolloutPlan.model_validate({**quick, **planned}),
            seen_at_s=self.now_s,
            started_at_s=self.now_s,
        )
        return Course(rollout, Versions(self.stable, self.target, expected), stable, target)

    def _birth(self, device: PlayedDevice) -> DeviceState:
        state = hear(DeviceState(device.name), make_info(hardware_class=device.hardware_class))
        return hear(state, Presence(state=PresenceState.ONLINE, boot=1, session=1))

    def _plan(self, name: str) -> None:
        self.states[name] = plan(self.states[name], self.context)

    def _live(self, device: PlayedDevice) -> None:
        second = int(self.now_s - BEGIN_S)
        if second % 60 == 0 and self.away:
            is_away = self.chance.random() < self.away
            if is_away is not device.is_away:
                device.is_away = is_away
                state = PresenceState.OFFLINE if is_away else PresenceState.ONLINE
                session = second // 60 + 1
                self._send(device, Presence(state=state, boot=1, session=session), sure=True)
        if device.is_away:
            return
        self._obey(device)
        # Devices speak in turn, not all in one second.
        if (second + int(device.name[2:])) % PERIOD_S == 0:
            self._measure(device)

    def _obey(self, device: PlayedDevice) -> None:
        """Read what is wanted, retained, and be there some seconds later."""
        desired: Desired | None = self.states[device.name].desired
        if desired is not None and desired.revision > device.revision:
            device.revision = desired.revision
            device.wanted = desired.models[0].ladder.version
            device.arrives_s = self.now_s + self.chance.uniform(1.0, 8.0)
        if device.arrives_s is not None and self.now_s >= device.arrives_s:
            device.arrives_s = None
            device.says = device.wanted
            if device.lie != "keeps":
                device.switches += device.runs != device.wanted
                device.recent_ms = device.recent_ms if device.runs == device.wanted else ()
                device.runs = device.wanted
            if device.runs == "2":
                self.ever_ran.add(device.name)
            self._send(device, self._reported(device), sure=True)

    def _reported(self, device: PlayedDevice) -> Reported:
        digest = self._ladder(device.says).levels[0].digest
        golden = digest_of(f"outputs {self._ladder(device.runs).levels[0].digest}")
        outputs = (0.1, 0.9) if device.runs == device.says else (0.7, 0.3)
        proof = ProofOfRun(digest=digest, golden_digest=golden, outputs=outputs)
        model = ReportedModel(
            model="digits", version=device.says, level=0, digest=digest, proof=proof
        )
        return Reported(
            boot=1, sequence=next(device.sequence), revision=device.revision, models=(model,)
        )

    def _measure(self, device: PlayedDevice) -> None:
        told = self.quality(device, device.runs)
        if device.lie == "praises":
            told = Quality()
        if device.lie == "complains" and device.runs == "2":
            told = Quality(p95_ms=80.0, right=0.1)
        p95_ms = told.p95_ms * self.chance.lognormvariate(0.0, 0.1)
        answered = RATE_HZ * PERIOD_S
        device.answered += answered
        device.recent_ms = (*device.recent_ms, p95_ms)[-16:]
        correct = sum(self.chance.random() < told.right for _ in range(answered))
        manifest = self._ladder(device.runs).levels[0]
        measured = ModelTelemetry.model_construct(  # type: ignore[call-arg] # what is read
            model="digits",
            version=device.runs,
            level=0,
            digest=manifest.digest,
            p95_ms=p95_ms,
            recent_p95_ms=device.recent_ms,
            answered=device.answered,
            deadline_misses=0,
            switches=device.switches,
            served=(Served(level=0, answered=answered, labelled=answered, correct=correct),),
        )
        telemetry = Telemetry.model_construct(
            boot=1,
            sequence=next(device.sequence),
            sent_at="",
            period_s=float(PERIOD_S),
            resources=Resources(),
            models=(measured,),
        )
        self._send(device, telemetry, sure=False)

    def _ladder(self, version: str) -> Ladder:
        return self.stable if version == "1" else self.target

    def _send(self, device: PlayedDevice, message: Heard, *, sure: bool) -> None:
        """Hand a message to the link; only what is not ``sure`` (QoS 0) may be lost."""
        if not sure and self.chance.random() < self.link.lost:
            return
        late_s = self.chance.uniform(1, 12) if self.chance.random() < self.link.late else 0.0
        heapq.heappush(
            self._mail, (self.now_s + late_s, next(self._number), device.name, message)
        )
        if self.chance.random() < self.link.doubled:
            again_s = self.now_s + late_s + self.chance.choice((0.0, 5.0))
            heapq.heappush(self._mail, (again_s, next(self._number), device.name, message))

    def _deliver(self) -> None:
        while self._mail and self._mail[0][0] <= self.now_s:
            _, _, name, message = heapq.heappop(self._mail)
            if isinstance(message, Ota):
                self.course.hear_ota(name, message)
                continue
            before = self.states[name]
            self.states[name] = hear(before, message)
            if self.states[name] is not before and isinstance(message, Telemetry):
                self.course.observe(name, message)

    def _look(self) -> None:
        stepped = step(self.course.rollout, self.course.look(self.now_s, self.states))
        self.take(stepped)

    def take(self, stepped: Step) -> None:
        """Let a step hold, as a coordinator does."""
        change = self.course.prepare(stepped, self.states, {})
        self.course.adopt(stepped.rollout, change)
        for effect in stepped.effects:
            if isinstance(effect, Promote):
                self.promoted += 1
        is_stable = self.promoted > 0
        published = self.course.target if is_stable else self.course.stable
        moved = {"digits": self.course.moved(is_stable=is_stable)}
        self.context = Context(
            {"digits": published}, self.context.policies, "http://127.0.0.1:1", moved=moved
        )
        for effect in stepped.effects:
            names = effect.devices if isinstance(effect, Replan) else set(self.devices)
            for name in sorted(names):
                self._plan(name)

    def allowed(self) -> int:
        """Say how many devices may have the target, by the wave that is open."""
        classes = Counter(each.hardware_class for each in self.devices.values())
        rollout = self.course.rollout
        return allowed_count(rollout.plan.waves[rollout.wave], classes)
