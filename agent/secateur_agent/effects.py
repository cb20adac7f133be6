"""Carries the core's effects out: short ones at once, long ones on a worker thread."""

import logging
from collections.abc import Callable, Mapping
from typing import assert_never

from secateur_agent.adapters.updates import Needed, Updates
from secateur_agent.core import agent, probation, standby, swap
from secateur_agent.deeds import Deed, Deeds, Order
from secateur_agent.errors import AgentError
from secateur_agent.happenings import Finished, Happenings
from secateur_agent.inference import commands
from secateur_agent.supervision import Supervisor
from secateur_protocols.event import DeviceEvent, EventKind
from secateur_protocols.ids import ModelName
from secateur_protocols.logs import LogEvent, about
from secateur_protocols.message import Message
from secateur_protocols.topics import Leaf

log = logging.getLogger("secateur.agent")

LEVELS: Mapping[EventKind, int] = {
    EventKind.SWITCHED: logging.INFO,
    EventKind.REFUSED: logging.WARNING,
    EventKind.ROLLED_BACK: logging.WARNING,
    EventKind.FAULT: logging.WARNING,
}
"""How much each kind of event is worth a look."""


class Effects:
    """Does what was decided. Every effect that answers does so by an event, or times out."""

    def __init__(
        self,
        happenings: Happenings,
        supervisor: Supervisor,
        updates: Updates,
        *,
        publish: Callable[[Leaf, Message], None],
        state: Callable[[], agent.AgentState],
        step: Callable[[agent.Event], None],
    ) -> None:
        """Make it.

        Args:
            happenings: Where answers and timeouts arrive.
            supervisor: Of the inference process.
            updates: What the long effects are made of.
            publish: Says a message on one of our leaves, from any thread.
            state: Gives what the agent remembers now.
            step: Lets an event happen to it.
        """
        self._publish = publish
        self._happenings = happenings
        self._supervisor = supervisor
        self._updates = updates
        self._state = state
        self._step = step
        self._deeds = Deeds(
            updates, needed=self._needed, tell=lambda said: publish(Leaf.OTA_PROGRESS, said)
        )

    def stop(self) -> None:
        """Begin nothing more."""
        self._deeds.stop()

    def carry_out(self, effect: agent.Effect) -> None:
        """Begin one effect, and finish it if it is short."""
        match effect:
            case agent.Publish():
                _log(effect.message)
                self._publish(effect.leaf, effect.message)
            case agent.SetDeadline():
                deadline = commands.SetDeadline(effect.model, effect.deadline_ms)
                self._supervisor.send(deadline)
            case agent.ForModel():
                self._for_swap(effect.model, effect.effect)
            case agent.ForStandby():
                self._for_standby(effect.model, effect.effect)
            case _:
                assert_never(effect)

    def _for_swap(self, model: ModelName, effect: swap.Effect) -> None:
        send = self._supervisor.send
        match effect:
            case swap.Resolve() | swap.Fetch() | swap.Verify() | swap.Probe():
                self._start_deed(model, effect)
            case swap.Activate():
                self._arm(model, effect.ticket)
                send(self._supervisor.load(model, effect.artifact, effect.ticket))
            case swap.Watch():
                self._arm(model, effect.ticket)
                count, limit_s = probation.ANSWERS, probation.LIMIT_S
                send(commands.Watch(effect.ticket, model, count, limit_s))
            case swap.Commit():
                self._persist(model, lambda: self._commit(model, effect.artifact))
            case swap.Serve():
                send(self._supervisor.load(model, effect.artifact))
            case swap.RollBack():
                digest = effect.incumbent.digest if effect.incumbent else None
                send(commands.Restore(model, digest))
            case swap.Refuse():
                refuse = self._updates.store.refuse
                self._persist(model, lambda: refuse(model, effect.digest, effect.count))
            case swap.Discard():
                self._deeds.tidy()
            case swap.Tell():
                return  # it became a message
            case _:
                assert_never(effect)

    def _for_standby(self, model: ModelName, effect: standby.Effect) -> None:
        match effect:
            case standby.Release():
                self._supervisor.send(commands.Release(model))
                return
            case standby.Prepare():
                load = self._supervisor.load(model, effect.artifact, effect.ticket)
                self._supervisor.send(commands.Prepare(load))
            case _:
                ticket = effect.ticket
                order = Order(
                    model,
                    self._artifacts_url(),
                    is_urgent=False,
                    is_canceled=lambda: self._state().standbys[model].ticket != ticket,
                )
                self._deeds.start(
                    effect,
                    order,
                    lambda event: self._happenings.post(Finished(agent.Standby(model, event))),
                )
        timeout_s = standby.TIMEOUT_S[self._state().standbys[model].phase]
        timed_out = agent.Standby(model, swap.TimedOut(effect.ticket))
        self._happenings.after(timeout_s, lambda: self._step(timed_out))

    def _start_deed(self, model: ModelName, deed: Deed) -> None:
        """Start a long effect after its delay; its answer arrives as `Finished`."""
        delay_s = deed.delay_s if isinstance(deed, swap.Resolve | swap.Fetch) else 0.0
        order = Order(
            model,
            self._artifacts_url(),
            is_urgent=True,
            is_canceled=lambda: self._state().swaps[model].ticket != deed.ticket,
        )

        def start() -> None:
            self._deeds.start(
                deed,
                order,
                lambda event: self._happenings.post(Finished(agent.Swap(model, event))),
            )

        self._arm(model, deed.ticket, delay_s)
        if delay_s > 0:
            self._happenings.after(delay_s, start)
        else:
            start()

    def _artifacts_url(self) -> str | None:
        desired = self._state().desired
        return desired.artifacts_url if desired else None

    def _arm(self, model: ModelName, ticket: int, delay_s: float = 0.0) -> None:
        timeout_s = swap.TIMEOUT_S[self._state().swaps[model].phase]
        timed_out = agent.Swap(model, swap.TimedOut(ticket))
        self._happenings.after(delay_s + timeout_s, lambda: self._step(timed_out))

    def _persist(self, model: ModelName, write: Callable[[], None]) -> None:
        try:
            write()
        except AgentError as error:
            self._step(agent.FaultSeen(model, str(error)))

    def _commit(self, model: ModelName, artifact: swap.Artifact) -> None:
        self._updates.store.commit(model, artifact)
        self._supervisor.send(commands.Settle(model))
        self._deeds.tidy()

    def _needed(self) -> Needed:
        state = self._state()
        swaps, standbys = state.swaps.values(), state.standbys.values()
        targets = [*(each.wanted for each in swaps), *(each.aim for each in standbys)]
        coming = [*(each.candidate for each in swaps), *(each.artifact for each in standbys)]
        held = [each.incumbent for each in swaps]
        return Needed(
            tuple(each for each in targets if each is not None),
            tuple(each for each in coming if each is not None),
            tuple(each for each in held if each is not None),
        )


def _log(message: Message) -> None:
    """Write what happened to the device's own log, too: it is there without a broker."""
    if isinstance(message, DeviceEvent):
        said = f"{message.model}: {message.text}" if message.model else message.text
        told = about(LogEvent(message.kind), model=message.model)
        log.log(LEVELS[message.kind], "%s", said, extra=told)
