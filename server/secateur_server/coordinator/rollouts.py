"""All rollouts of a site, at run time: what `core.rollout` decides is saved, then holds.

The coordinator that answers operators acts for all rollouts; the others read what it has
saved and give their devices the versions that follow. A step that cannot be saved does not
hold, and is derived anew at the next look.
"""

import hashlib
import logging
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING

from secateur_protocols.control import ShowRollouts, StartRollout, Steering, SteerRollout
from secateur_protocols.ids import DeviceId, ModelName, RequestId
from secateur_protocols.logs import LogEvent, about
from secateur_protocols.ota import Ota
from secateur_protocols.rollout import RolloutId, RolloutState, RolloutStatus
from secateur_protocols.telemetry import Telemetry
from secateur_server.adapters.rollout_store import Change, Kept, RolloutStore
from secateur_server.adapters.store import Store
from secateur_server.coordinator.replicas import Alone, Replicas
from secateur_server.coordinator.rollout_course import Course
from secateur_server.core.evidence import Versions
from secateur_server.core.fleet import DeviceState
from secateur_server.core.foresight import foresee
from secateur_server.core.rollout import (
    Approved,
    Event,
    Halted,
    Paused,
    Promote,
    Replan,
    Resumed,
    Rollout,
    Step,
    Superseded,
    step,
)
from secateur_server.core.rollout_status import describe
from secateur_server.errors import InputError, RolloutConflictError, TransientError
from secateur_server.registry.goldens import expected_outputs
from secateur_server.registry.registry import Registry

if TYPE_CHECKING:
    from secateur_server.core.context import Published

log = logging.getLogger("secateur.coordinator")

MAX_ENDED = 50
"""Rollouts that have ended and are still remembered; the oldest is forgotten first."""

MAX_ORDERS = 200_000
"""Devices whose place in the order of their words is remembered: ids can be invented."""

MAX_NAME = 48
"""Characters of a model's name that a rollout's has."""


class Rollouts:
    """One site's rollouts.

    Attributes:
        stable: The stable version of each model.
        moved: Devices that a rollout has given another one, by model.
    """

    def __init__(self, store: Store, registry: Registry, replicas: Replicas | Alone) -> None:
        """Take up what the database holds.

        Raises:
            TransientError: It does not answer.
        """
        self.stable: dict[ModelName, Published] = {}
        self.moved: dict[ModelName, dict[DeviceId, Published]] = {}
        self._store = RolloutStore(store)
        self._registry = registry
        self._replicas = replicas
        self._courses: dict[RolloutId, Course] = {}
        self._under_way: list[Course] = []
        self._ota_orders: dict[DeviceId, tuple[int, int]] = {}
        self._unsaid: deque[RolloutId] = deque()
        self._version = -1
        self._led = False
        self._look_up_stable()
        self._read()

    def watches(self, device: DeviceId) -> bool:
        """Say whether a device's telemetry matters to a rollout that we act for."""
        return self._replicas.leads and any(each.watches(device) for each in self._under_way)

    @property
    def are_under_way(self) -> bool:
        """Whether we act for a rollout that has not ended."""
        return self._replicas.leads and bool(self._under_way)

    def observe(self, device: DeviceId, telemetry: Telemetry) -> None:
        """Take a device's newest telemetry into account."""
        for course in self._under_way:
            course.observe(device, telemetry)

    def hear_ota(self, device: DeviceId, ota: Ota) -> None:
        """Take a device's word about its updates into account."""
        order, is_known = (ota.boot, ota.sequence), device in self._ota_orders
        if order <= self._ota_orders.get(device, (-1, -1)):
            return
        if not is_known and len(self._ota_orders) >= MAX_ORDERS:
            return
        self._ota_orders[device] = order
        for course in self._under_way:
            course.hear_ota(device, ota)

    def forget_device(self, device: DeviceId) -> None:
        """Remember nothing of a device but its place in rollouts."""
        self._ota_orders.pop(device, None)

    def look_up(self) -> bool:
        """Look at what others change: new models, and what another replica has saved.

        Returns:
            Whether ``stable`` or ``moved`` is another now.
        """
        before = (self.stable, self.moved)
        try:
            self._look_up_stable()
            begins_to_lead = self._replicas.leads and not self._led
            self._led = self._replicas.leads
            if self._replicas.are_several and (
                begins_to_lead or self._store.version() != self._version
            ):
                self._read()
        except TransientError as error:
            log.warning("rollouts: %s", error, extra=about(LogEvent.NOT_SAVED))
        return before != (self.stable, self.moved)

    def look(self, at_s: float, devices: Mapping[DeviceId, DeviceState]) -> frozenset[DeviceId]:
        """Let every rollout that we act for go on.

        Args:
            at_s: UTC, seconds since 1970.
            devices: All that are known.

        Returns:
            The devices of which another version is wanted now.
        """
        moved: frozenset[DeviceId] = frozenset()
        if not self._replicas.leads:
            return moved
        for course in list(self._courses.values()):
            if course.is_over:
                continue
            try:
                moved |= self._advance(course, at_s, devices)
            except TransientError as error:
                told = about(LogEvent.NOT_SAVED, rollout=course.rollout.rollout)
                log.warning("rollout %s: %s", course.rollout.rollout, error, extra=told)
        return moved

    def start(
        self, asked: StartRollout, request_id: RequestId, at_s: float
    ) -> tuple[RolloutStatus, frozenset[DeviceId]]:
        """Begin a rollout; one of the same model that is under way is superseded.

        Asked again with the same request it gives the same rollout.

        Returns:
            Where it stands, and the devices of which another version is wanted now.

        Raises:
            InputError: There is no such model or version, or devices have it already.
            TransientError: It could not be saved; nothing has begun.
        """
        name = name_of(asked.model, request_id)
        if name in self._courses:
            return self.describe(name), frozenset()
        rollout = self._plan(name, asked, at_s)
        begun = self._open(Kept(rollout, {}))
        superseded = [
            (course, step(course.rollout, Superseded(name)))
            for course in self._courses.values()
            if course.rollout.model == asked.model and not course.rollout.has_ended
        ]
        changes = [Change(stepped.rollout) for _, stepped in superseded]
        self._save(*changes, Change(rollout))
        self._courses[name] = begun
        self._say(name)
        moved = frozenset[DeviceId]()
        for course, stepped in superseded:
            moved |= self._hold(course, stepped, Change(stepped.rollout))
        self._derive()
        self._forget_oldest()
        return self.describe(name), moved

    def steer(self, asked: SteerRollout) -> tuple[RolloutStatus, frozenset[DeviceId]]:
        """Do to a rollout what an operator says.

        Returns:
            Where it stands, and the devices of which another version is wanted now.

        Raises:
            InputError: There is none of that name, or it is not where this can be done.
            TransientError: It could not be saved; nothing has changed.
        """
        course = self._find(asked.rollout)
        if asked.order is Steering.FORGET:
            return self._forget(course), frozenset()
        stepped = step(course.rollout, _event_of(asked, course.rollout))
        if stepped.rollout is course.rollout:
            return self.describe(asked.rollout), frozenset()
        change = Change(stepped.rollout)
        self._save(change)
        moved = self._hold(course, stepped, change)
        return self.describe(asked.rollout), moved

    def describe(self, name: RolloutId) -> RolloutStatus:
        """Say where a rollout stands.

        Raises:
            InputError: There is none of that name.
        """
        return describe(self._find(name).rollout, self._version)

    def describe_all(self, asked: ShowRollouts) -> list[RolloutStatus]:
        """Say where rollouts stand, the newest first.

        Raises:
            InputError: One is named and there is none of that name.
        """
        if asked.rollout is not None:
            return [self.describe(asked.rollout)]
        found = [describe(each.rollout, self._version) for each in self._courses.values()]
        return sorted(found, key=lambda each: each.started_at, reverse=True)

    def count(self, state: RolloutState) -> int:
        """Count the rollouts that stand so; asked from any thread."""
        return sum(each.rollout.state is state for each in list(self._courses.values()))

    def say_all(self) -> None:
        """Have everything said once more."""
        self._unsaid = deque(self._courses)

    def take_unsaid(self) -> list[tuple[RolloutId, RolloutStatus | None]]:
        """Give, once, what is to be said; ``None``: a rollout is forgotten."""
        names, self._unsaid = list(dict.fromkeys(self._unsaid)), deque()
        if not self._replicas.leads:
            return []
        return [
            (name, self.describe(name) if name in self._courses else None) for name in names
        ]

    def _advance(
        self, course: Course, at_s: float, devices: Mapping[DeviceId, DeviceState]
    ) -> frozenset[DeviceId]:
        stepped = step(course.rollout, course.look(at_s, devices))
        change = course.prepare(stepped, devices, self._ota_orders)
        if change is not None:
            self._save(change)
        if change is None or not change.is_news:
            course.adopt(stepped.rollout, change)
            return frozenset()
        return self._hold(course, stepped, change)

    def _save(self, *changes: Change) -> None:
        """Save, or read again what somebody else has saved meanwhile.

        Raises:
            TransientError: Nothing was saved.
        """
        try:
            self._version = self._store.save(self._version, changes)
        except RolloutConflictError:
            self._read()
            raise

    def _hold(self, course: Course, stepped: Step, saved: Change) -> frozenset[DeviceId]:
        """Let a saved step hold, and run its effects."""
        course.adopt(stepped.rollout, saved)
        self._say(course.rollout.rollout)
        moved = frozenset[DeviceId]()
        for effect in stepped.effects:
            match effect:
                case Promote():
                    model = course.rollout.model
                    self.stable = {**self.stable, model: course.target}
                    self._registry.note_stable(model, effect.target.version)
                case Replan():
                    moved |= effect.devices
        self._derive()
        return moved

    def _derive(self) -> None:
        moved: dict[ModelName, dict[DeviceId, Published]] = {}
        for course in sorted(
            self._courses.values(), key=lambda each: each.rollout.started_at_s
        ):
            model = course.rollout.model
            is_stable = self.stable.get(model) == course.target
            ours = course.moved(is_stable=is_stable)
            if ours:
                moved.setdefault(model, {}).update(ours)
        self.moved = moved
        self._under_way = [
            each for each in self._courses.values() if not each.rollout.has_ended
        ]

    def _plan(self, name: RolloutId, asked: StartRollout, at_s: float) -> Rollout:
        stable = self.stable.get(asked.model)
        if stable is None:
            raise InputError(f"no model {asked.model} is published: see 'secateur publish'")
        if asked.version is None:
            target = self._registry.latest().get(asked.model)
        else:
            target = self._registry.find(asked.model, asked.version)
        if target is None:
            raise InputError(f"{asked.model} {asked.version or ''} is not published".strip())
        if target.ref.digest == stable.ref.digest:
            version = target.ladder.version
            raise InputError(f"{asked.model} {version} is what devices have: publish another")
        return Rollout(
            rollout=name,
            model=asked.model,
            stable=stable.ref,
            target=target.ref,
            plan=asked.plan,
            warnings=foresee(stable.ladder, target.ladder, asked.plan.gates),
            seen_at_s=at_s,
            started_at_s=at_s,
        )

    def _open(self, kept: Kept) -> Course:
        """Make a rollout ready to go on.

        Raises:
            InputError: A version of it is not in the registry any more.
        """
        rollout = kept.rollout
        stable = self._registry.find(rollout.model, rollout.stable.version)
        target = self._registry.find(rollout.model, rollout.target.version)
        if stable is None or target is None:
            raise InputError(f"rollout {rollout.rollout}: its versions are not published here")
        expected = expected_outputs(self._registry.blobs_dir, target.ladder)
        versions = Versions(stable.ladder, target.ladder, expected)
        return Course(rollout, versions, stable, target, dict(kept.evidence))

    def _read(self) -> None:
        """Take over what the database holds, in place of what we have."""
        self._version, kept = self._store.load()
        courses: dict[RolloutId, Course] = {}
        for name, each in kept.items():
            try:
                courses[name] = self._open(each)
            except InputError as error:
                log.warning("%s", error, extra=about(LogEvent.ROLLOUT_LEFT_OUT, rollout=name))
        self._unsaid.extend({*self._courses, *courses})
        self._courses = courses
        self._read_stable()
        self._derive()

    def _look_up_stable(self) -> None:
        """Let models that were published since begin with the version noted for them."""
        if not self._registry.names() - set(self.stable):
            return
        for model, published in self._registry.stable().items():
            if model not in self.stable:
                self._store.begin_stable(model, published.ladder.version)
        self._read_stable()

    def _read_stable(self) -> None:
        stable = {}
        for model, version in self._store.stable_versions().items():
            known = self.stable.get(model)
            if known is None or known.ladder.version != version:
                known = self._registry.find(model, version)
            if known is not None:
                stable[model] = known
        self.stable = stable

    def _find(self, name: RolloutId) -> Course:
        course = self._courses.get(name)
        if course is None:
            raise InputError(f"no rollout {name} is known: see 'secateur rollout status'")
        return course

    def _forget(self, course: Course) -> RolloutStatus:
        name = course.rollout.rollout
        if not course.rollout.has_ended:
            raise InputError(f"rollout {name} has not ended: halt it first")
        status = self.describe(name)
        self._version = self._store.forget(self._version, name)
        del self._courses[name]
        self._say(name)
        return status

    def _forget_oldest(self) -> None:
        ended = [each for each in self._courses.values() if each.rollout.has_ended]
        for course in sorted(ended, key=_started_at_s)[:-MAX_ENDED]:
            self._forget(course)

    def _say(self, name: RolloutId) -> None:
        self._unsaid.append(name)


def name_of(model: ModelName, request_id: RequestId) -> RolloutId:
    """Name a rollout by its model and the request that began it: asked twice it is one."""
    return f"{model[:MAX_NAME]}-{hashlib.sha256(request_id.encode()).hexdigest()[:8]}"


def _started_at_s(course: Course) -> float:
    return course.rollout.started_at_s


def _event_of(asked: SteerRollout, rollout: Rollout) -> Event:
    match asked.order:
        case Steering.PAUSE:
            return Paused()
        case Steering.RESUME:
            return Resumed()
        case Steering.APPROVE:
            if RolloutState.AWAITING not in {rollout.state, rollout.resumes}:
                raise InputError(f"rollout {rollout.rollout} does not wait for approval")
            return Approved(rollout.wave if asked.wave is None else asked.wave)
        case _:
            return Halted(asked.reason or "halted by an operator")
