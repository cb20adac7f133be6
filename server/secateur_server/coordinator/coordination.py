"""What one coordinator knows and has decided. No broker: what is heard comes in as messages.

`core` decides; this keeps what it decided about, and has it saved before anybody is told.
"""

import contextlib
import time
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import replace
from datetime import datetime

from secateur_protocols.control import StartRollout, SteerRollout
from secateur_protocols.rollout import RolloutStatus
from secateur_protocols.state import Desired
from secateur_protocols.telemetry import Telemetry
from secateur_protocols.topics import Leaf
from secateur_server.adapters.store import Store
from secateur_server.coordinator.counters import Counters, Met
from secateur_server.coordinator.replicas import Alone, Replicas
from secateur_server.coordinator.rollouts import Rollouts
from secateur_server.coordinator.saving import Saver
from secateur_server.core.context import Context
from secateur_server.core.coordinator import plan
from secateur_server.core.fleet import (
    MAX_DEVICES,
    DeviceState,
    Said,
    hear,
    learn_from,
    recall,
)
from secateur_server.core.inventory import Inventory
from secateur_server.core.policy import Policies
from secateur_server.errors import PolicyConflictError, TransientError
from secateur_server.registry.registry import Registry


class Coordination:
    """One site's devices, and what is wanted of each.

    Attributes:
        devices: By name, as last heard of.
        context: What holds for every device now.
        inventory: Who is still missing.
        replicas: Who else coordinates this site.
        rollouts: Which version each device is to have.
    """

    def __init__(
        self,
        *,
        artifacts_url: str,
        store: Store,
        registry: Registry,
        replicas: Replicas | Alone,
    ) -> None:
        """Take up what the database holds.

        Raises:
            TransientError: It does not answer.
        """
        self.counters = Counters()
        self.inventory = Inventory()
        self.replicas = replicas
        self.devices: dict[str, DeviceState] = store.load_devices()
        self.rollouts = Rollouts(store, registry, replicas)
        self.context = Context(
            {}, store.load_policies(), artifacts_url, beliefs=recall(self.devices.values())
        )
        self.saver = Saver(store, self.devices, replicas)
        self._store = store

    def hear(self, device: str, leaf: Leaf, said: Said) -> None:
        """Take one message of a device into account, and derive what is wanted of it."""
        before = self.devices.get(device)
        if before is None:
            if len(self.devices) >= MAX_DEVICES:
                self.counters.count(Met.TOO_MANY_DEVICES)
                return
            before = DeviceState(device)
        self.inventory.hear(device, leaf)
        after = hear(before, said)
        if after is before:
            self.counters.count(Met.LATE, device if leaf is Leaf.TELEMETRY else None)
            return
        self.counters.count(Met.HEARD)
        if after.info is None:
            self.inventory.expect(device)
        beliefs = learn_from(self.context.beliefs, before, after)
        if beliefs is not self.context.beliefs:
            self.context = replace(self.context, beliefs=beliefs)
        if isinstance(said, Telemetry):
            self.rollouts.observe(device, said)
        if self._acts_on(device, leaf):
            after = plan(after, self.context)
        self.saver.note_said(device, time.monotonic(), is_news=leaf is not Leaf.TELEMETRY)
        self._keep(before, after)

    def _acts_on(self, device: str, leaf: Leaf) -> bool:
        """Say whether what a device said is ours to answer, or only a rollout's to know."""
        is_shared = leaf is Leaf.TELEMETRY and self.replicas.takes_telemetry(device)
        return is_shared or self.replicas.owns(device)

    def hear_desired(self, device: str, desired: Desired) -> None:
        """Take over what another replica decided."""
        state = self.devices.get(device)
        if state is None:
            return
        if state.desired is None or desired.revision > state.desired.revision:
            self.devices[device] = state._replace(desired=desired)

    def settle(self) -> AbstractSet[str]:
        """Save what was decided: after a crash no revision is used twice.

        Returns:
            The devices that may be told now what is wanted of them.
        """
        decided, overtaken = self.saver.save_decided()
        for device in overtaken:
            self._yield_to_other(device)
        return decided

    def plan_all(self) -> None:
        """Derive anew what is wanted of every device of ours."""
        self._plan_some(list(self.devices))

    def _plan_some(self, devices: Iterable[str]) -> None:
        for device in devices:
            state = self.devices.get(device)
            if state is not None and self.replicas.owns(device):
                planned = plan(state, self.context)
                if planned is not state:
                    self._keep(state, planned)

    def beat(self) -> None:
        """Say to the other replicas that we are alive, and take over whose are gone."""
        if self.replicas.beat():
            self.plan_all()  # what was another's is ours now

    def look_up(self, now: datetime) -> bool:
        """Look at what others change: the registry, the time of day, policy.

        Args:
            now: UTC.

        Returns:
            Whether there are new models.
        """
        minute_of_day = now.hour * 60 + now.minute
        self.context = replace(self.context, minute_of_day=minute_of_day)
        self.rollouts.look_up()
        are_new = self.rollouts.stable != self.context.published
        self._adopt_versions(self.rollouts.look(now.timestamp(), self.devices))
        if self.replicas.are_several:
            with contextlib.suppress(TransientError):
                if self._store.policy_version() != self.context.policies.version:
                    self._adopt_policies(self._store.load_policies())
        return are_new

    def start_rollout(
        self, asked: StartRollout, request_id: str, now: datetime
    ) -> RolloutStatus:
        """Begin a rollout; see `Rollouts.start`."""
        status, moved = self.rollouts.start(asked, request_id, now.timestamp())
        moved |= self.rollouts.look(now.timestamp(), self.devices)
        self._adopt_versions(moved)
        return self.rollouts.describe(status.rollout)

    def steer_rollout(self, asked: SteerRollout) -> RolloutStatus:
        """Do to a rollout what an operator says; see `Rollouts.steer`."""
        status, moved = self.rollouts.steer(asked)
        self._adopt_versions(moved)
        return status

    def set_policies(self, policies: Policies) -> None:
        """Let other policy hold from now on, saved first.

        Raises:
            PolicyConflictError: Another replica was faster; its policy holds now.
            TransientError: It could not be saved; the old policy holds.
        """
        try:
            self._store.save_policies(policies)
        except PolicyConflictError:
            self._adopt_policies(self._store.load_policies())
            raise
        self._adopt_policies(policies)

    def forget(self, device: str) -> None:
        """Forget a device, in the database first.

        Raises:
            TransientError: The database does not answer; nothing is forgotten.
        """
        self._store.forget_device(device)
        self.drop(device)

    def drop(self, device: str) -> None:
        """Forget a device that the database does not hold any more."""
        self.devices.pop(device, None)
        self.context.assignments.pop(device, None)
        self.saver.forget(device)
        self.inventory.forget(device)
        self.rollouts.forget_device(device)

    def _keep(self, before: DeviceState, after: DeviceState) -> None:
        self.devices[after.device] = after
        if after.desired is not before.desired:
            self.saver.note_decided(after.device)

    def _adopt_versions(self, moved: AbstractSet[str]) -> None:
        """Let rollouts' versions hold: of these devices, and of all where more has changed."""
        before = self.context
        stable, versions = self.rollouts.stable, self.rollouts.moved
        if stable is before.published and versions is before.moved:
            return
        self.context = replace(before, published=stable, moved=versions)
        if moved and stable is before.published:
            self._plan_some(moved)
        else:
            self.plan_all()

    def _adopt_policies(self, policies: Policies) -> None:
        self.context = replace(self.context, policies=policies)
        self.plan_all()

    def _yield_to_other(self, device: str) -> None:
        """Take over the decision of a replica that was faster."""
        self.counters.count(Met.CONFLICT)
        with contextlib.suppress(TransientError):  # then its message tells us
            stored = self._store.load_device(device)
            if stored is not None and stored.desired is not None:
                self.devices[device] = self.devices[device]._replace(desired=stored.desired)
