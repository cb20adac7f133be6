"""One rollout: where it stands, what its devices have shown, and what is not saved yet."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from secateur_protocols.ids import DeviceId
from secateur_protocols.ota import Ota
from secateur_protocols.presence import PresenceState
from secateur_protocols.state import Reported
from secateur_protocols.telemetry import Telemetry
from secateur_server.adapters.rollout_store import Change
from secateur_server.core.context import Published
from secateur_server.core.evidence import (
    Evidence,
    Versions,
    hear_ota,
    hear_reported,
    observe,
    tell,
)
from secateur_server.core.fleet import DeviceState
from secateur_server.core.rollout import (
    Looked,
    Promote,
    Rollout,
    Seen,
    Stand,
    Step,
    changed_devices,
    held_back,
    may_run_target,
)
from secateur_server.core.verdict import has_baseline, judge

NOTHING = Evidence()
"""Of a device that has shown nothing yet."""

CLOCK_S = 5.0
"""How often the clock is saved where nothing else changes, seconds."""

EVIDENCE_S = 30.0
"""How often evidence is saved, seconds: what is lost of it is measured again."""

JUDGED = frozenset({Stand.WAITING, Stand.TOLD, Stand.SOAKING, Stand.GOOD})
"""Where what a device measures still counts."""


class _Sight(NamedTuple):
    """What a device was seen to be, and from what: seen again, it is the same."""

    state: DeviceState
    evidence: Evidence | None
    seen: Seen


@dataclass(slots=True)
class Course:
    """One rollout. Its devices' evidence is kept here, each a value that is replaced whole.

    Attributes:
        rollout: As it was saved last.
        stable: What its devices had; ``target`` what they get.
    """

    rollout: Rollout
    versions: Versions
    stable: Published
    target: Published
    evidence: dict[DeviceId, Evidence] = field(default_factory=dict)
    _moved: set[DeviceId] = field(default_factory=set)
    _learnt: set[DeviceId] = field(default_factory=set)
    _heard: dict[DeviceId, Reported] = field(default_factory=dict)
    _seen: dict[DeviceId, _Sight] = field(default_factory=dict)
    _clock_saved_s: float = 0.0
    _evidence_saved_s: float = 0.0

    @property
    def is_over(self) -> bool:
        """Whether it has ended and every device that should be is back."""
        return self.rollout.has_ended and all(
            member.is_back or may_run_target(self.rollout, member)
            for member in self.rollout.members.values()
        )

    def watches(self, device: DeviceId) -> bool:
        """Say whether a device's messages matter to it."""
        member = self.rollout.members.get(device)
        return member is not None and not self.rollout.has_ended and member.stand in JUDGED

    def observe(self, device: DeviceId, telemetry: Telemetry) -> None:
        """Take a device's newest telemetry into account."""
        if self.watches(device):
            before = self.evidence.get(device, NOTHING)
            self._keep(device, observe(before, telemetry, self.versions))

    def hear_ota(self, device: DeviceId, ota: Ota) -> None:
        """Take a device's word about its updates into account."""
        if self.watches(device):
            before = self.evidence.get(device, NOTHING)
            self._keep(device, hear_ota(before, ota, self.versions))

    def look(self, at_s: float, devices: Mapping[DeviceId, DeviceState]) -> Looked:
        """See the whole fleet of the model as it is now."""
        model = self.rollout.model
        # Anew, so that who is forgotten is not remembered here.
        self._seen = {
            device: self._see(state)
            for device, state in devices.items()
            if state.info is not None and any(task.model == model for task in state.info.tasks)
        }
        return Looked(at_s, {device: sight.seen for device, sight in self._seen.items()})

    def prepare(
        self,
        stepped: Step,
        devices: Mapping[DeviceId, DeviceState],
        ota_orders: Mapping[DeviceId, tuple[int, int]],
    ) -> Change | None:
        """Derive what is to be saved before a step holds; ``None``: nothing is, yet.

        Args:
            stepped: The step.
            devices: As they are known.
            ota_orders: Of each device's last word about its updates.
        """
        before, after = self.rollout, stepped.rollout
        for device, member in after.members.items():
            earlier = before.members.get(device)
            if earlier is None or member.stand is not earlier.stand:
                self._move(device, member.stand, devices, ota_orders)
            if member is not earlier:
                self._moved.add(device)
        is_news = _differ(before, after)
        if not is_news and after.clock_s - self._clock_saved_s < CLOCK_S:
            return None
        is_due = after.clock_s - self._evidence_saved_s >= EVIDENCE_S
        changed = {
            device: (after.members[device], self.evidence.get(device, NOTHING))
            for device in (self._moved | self._learnt if is_due else self._moved)
            if device in after.members
        }
        promoted = [e.target.version for e in stepped.effects if isinstance(e, Promote)]
        return Change(after, changed, is_news, promoted[0] if promoted else None)

    def adopt(self, rollout: Rollout, saved: Change | None) -> None:
        """Let a step hold, of which this much was saved."""
        self.rollout = rollout
        if saved is None:
            return
        self._clock_saved_s = rollout.clock_s
        self._moved -= saved.devices.keys()
        self._learnt -= saved.devices.keys()
        if not self._learnt:
            self._evidence_saved_s = rollout.clock_s

    def moved(self, *, is_stable: bool) -> dict[DeviceId, Published]:
        """Give the version of each device that does not have the stable one.

        Args:
            is_stable: Whether the target is the model's stable version.
        """
        moved = dict.fromkeys(changed_devices(self.rollout), self.target)
        if is_stable:
            moved |= dict.fromkeys(held_back(self.rollout), self.stable)
        return moved

    def _move(
        self,
        device: DeviceId,
        stand: Stand,
        devices: Mapping[DeviceId, DeviceState],
        ota_orders: Mapping[DeviceId, tuple[int, int]],
    ) -> None:
        """Let evidence begin, or turn to the new version."""
        if stand is Stand.WAITING:
            evidence = Evidence(ota_order=ota_orders.get(device, (-1, -1)))
            state = devices.get(device)
            if state is not None and state.telemetry is not None:
                evidence = observe(evidence, state.telemetry, self.versions)
            self.evidence[device] = evidence
        elif stand is Stand.TOLD:
            order = ota_orders.get(device, (-1, -1))
            evidence = self.evidence.get(device, NOTHING)
            self.evidence[device] = tell(replace(evidence, ota_order=order))
            self._heard.pop(device, None)

    def _see(self, state: DeviceState) -> _Sight:
        """See one device; what it reported last is taken in on the way."""
        device = state.device
        known = self._seen.get(device)
        evidence = self._take_reported(state) if device in self.rollout.members else None
        if known is not None and known.state is state and known.evidence is evidence:
            return known
        return _Sight(state, evidence, self._look_at(state, evidence))

    def _take_reported(self, state: DeviceState) -> Evidence:
        device = state.device
        evidence = self.evidence.get(device, NOTHING)
        if state.reported is not None and self._heard.get(device) is not state.reported:
            self._heard[device] = state.reported
            self._keep(device, hear_reported(evidence, state.reported, self.versions))
        return self.evidence.get(device, NOTHING)

    def _look_at(self, state: DeviceState, evidence: Evidence | None) -> Seen:
        seen = Seen(
            hardware_class=state.labels.get("class", ""),
            is_online=(
                state.presence is not None and state.presence.state is PresenceState.ONLINE
            ),
        )
        if evidence is None:
            return seen
        verdict = judge(evidence, self.versions, self.rollout.plan.gates)
        return replace(
            seen,
            has_baseline=has_baseline(evidence),
            is_proven=evidence.proven,
            is_on_target=evidence.on_target,
            is_judged=verdict.is_complete,
            objection=verdict.objection,
            is_unsuited=evidence.is_unsuited,
        )

    def _keep(self, device: DeviceId, evidence: Evidence) -> None:
        if evidence != self.evidence.get(device):
            self.evidence[device] = evidence
            self._learnt.add(device)


def _differ(before: Rollout, after: Rollout) -> bool:
    """Say whether more than the clock has gone on."""
    return before.members is not after.members or before != replace(
        after, members=before.members, clock_s=before.clock_s, seen_at_s=before.seen_at_s
    )
