"""The loop between decisions and deeds: one queue, one consumer, no decision of its own.

Everything that happens arrives on one queue: what the broker brought, what the inference
process answered, what a worker finished, and the loop's own timers. Each becomes an event
of `core.agent`, whose effects `effects` carries out; `supervision` keeps the inference
process alive.
"""

import json
import logging
from itertools import count
from random import SystemRandom
from typing import assert_never

from secateur_agent.adapters import broker as wire
from secateur_agent.adapters.clock import monotonic_s, utc_now
from secateur_agent.adapters.inference import InferenceDied, InferenceProcess, StartInference
from secateur_agent.adapters.pressure import Pressure
from secateur_agent.adapters.sensors import Sensors
from secateur_agent.adapters.systemd import ServiceManager
from secateur_agent.adapters.updates import Updates
from secateur_agent.core import agent, probation, standby, swap
from secateur_agent.core.telemetry import WireBytes, describe, in_words
from secateur_agent.effects import Effects
from secateur_agent.errors import ConfigError
from secateur_agent.happenings import Finished, Happening, Happenings, Quit, Trouble
from secateur_agent.inference import commands
from secateur_agent.supervision import Supervisor
from secateur_protocols.codec import decode_document
from secateur_protocols.ids import ModelName
from secateur_protocols.logs import LogEvent, about
from secateur_protocols.message import Message
from secateur_protocols.result import Result
from secateur_protocols.state import Desired
from secateur_protocols.topics import Leaf

log = logging.getLogger("secateur.agent")

RECONCILE_S = 60.0
"""How often what is is compared with what is wanted, seconds."""

REBIRTH_SPREAD_S = 3.0
"""A fleet asked to say everything again answers over this time, seconds (rule W10)."""

PRESSURE_S = 0.04
"""How often the limits of the whole device are looked at, seconds: a crossing is to be seen,
and a narrower level to answer, within a tenth of a second."""


class Driver:
    """The agent at run time."""

    def __init__(
        self,
        state: agent.AgentState,
        *,
        updates: Updates,
        sensors: Sensors,
        pressure: Pressure,
        configure: commands.Configure,
        period_s: float,
    ) -> None:
        self._state = state
        self._pressure = pressure
        self._updates = updates
        self._sensors = sensors
        self._configure = configure
        self._period_s = period_s
        self._happenings = Happenings()
        now, step = lambda: self._state, self._step
        self._supervisor = Supervisor(
            self._happenings, configure, updates.store, state=now, step=step
        )
        self._effects = Effects(
            self._happenings,
            self._supervisor,
            updates,
            publish=self._publish,
            state=now,
            step=step,
        )
        self._results = count()
        self._broker: wire.Broker | None = None
        self._manager = ServiceManager(None, None)
        self._session = 0
        self._is_crossed = False
        self._told_s = monotonic_s()
        self._switched_at_s = dict.fromkeys(state.swaps, monotonic_s())

    def post(self, happening: Happening) -> None:
        """Put something that happened on the queue, from any thread."""
        self._happenings.post(happening)

    def run(
        self,
        broker: wire.Broker,
        start_inference: StartInference = InferenceProcess,
        manager: ServiceManager | None = None,
    ) -> None:
        """Run until `Quit`; everything that was started has ended on return.

        Args:
            broker: Not started yet.
            start_inference: Starts the other half, or finds it.
            manager: Whom to tell that we are ready, alive, stopping. ``None``: nobody.

        Raises:
            ConfigError: The inference process cannot do what it was configured for.
        """
        self._broker = broker
        self._manager = manager or self._manager
        self._supervisor.start(start_inference)
        broker.start()
        self._happenings.after(self._period_s, self._end_period)
        self._happenings.after(RECONCILE_S, self._reconcile)
        self._happenings.after(PRESSURE_S, self._watch_pressure)
        if self._manager.feed_s is not None:
            self._happenings.after(self._manager.feed_s, self._feed_watchdog)
        try:
            self._loop()
        finally:
            self._manager.stopping()
            broker.stop()
            self._supervisor.stop()
            self._effects.stop()

    def _loop(self) -> None:
        while True:
            happening = self._happenings.next()
            if isinstance(happening, Quit):
                return
            if happening is not None:
                self._take(happening)

    def _take(self, happening: Happening) -> None:
        match happening:
            case (
                wire.Opened()
                | wire.Closed()
                | wire.Arrived()
                | wire.FrameArrived()
                | wire.Garbled()
            ):
                self._take_wire(happening)
            case Finished():
                self._step(happening.event)
            case InferenceDied():
                self._supervisor.survive()
            case Trouble():
                self._step(agent.FaultSeen(None, happening.problem))
            case Quit():
                return
            case _:
                self._take_reply(happening)

    def _take_wire(self, happening: wire.BrokerEvent) -> None:
        match happening:
            case wire.Opened():
                told = about(LogEvent.CONNECTED, session=happening.session)
                log.info("connected, session %d", happening.session, extra=told)
                self._session = happening.session
                self._step(agent.Connected(happening.session))
            case wire.Closed():
                log.warning("%s", happening.problem, extra=about(LogEvent.DISCONNECTED))
            case wire.Garbled():
                log.warning("%s", happening.problem, extra=about(LogEvent.MESSAGE_REFUSED))
            case wire.Arrived():
                self._hear(happening)
            case wire.FrameArrived():
                self._deliver(happening)
            case _:
                assert_never(happening)

    def _deliver(self, arrived: wire.FrameArrived) -> None:
        for lane in self._configure.lanes:
            if (
                isinstance(lane.source, commands.TopicSpec)
                and lane.source.topic == arrived.topic
            ):
                self._supervisor.send(commands.Deliver(lane.model, arrived.payload))

    def _hear(self, arrived: wire.Arrived) -> None:
        message = arrived.message
        if isinstance(message, Desired):
            self._step(agent.DesiredArrived(message))
        elif message.device in {None, self._updates.device}:
            delay_s = SystemRandom().uniform(0, REBIRTH_SPREAD_S)
            self._happenings.after(delay_s, lambda: self._step(agent.RebirthDue(self._session)))

    def _take_reply(self, reply: commands.Reply) -> None:
        match reply:
            case commands.Ready() | commands.Unusable() | commands.Alive():
                self._take_sign(reply)
            case commands.Serving() | commands.NotServing():
                self._take_served(reply)
            case commands.Prepared() | commands.NotPrepared():
                self._take_prepared(reply)
            case commands.Overdue():
                # Told at once, not at the period's end.
                self._supervisor.send(commands.Collect())
                self._step(agent.Crossed(reply.model, reply.crossing, self._since_switch_s()))
            case commands.ResultReady():
                self._publish_result(reply)
            case commands.Watched():
                self._judge(reply)
            case commands.Collected():
                self._tell_period(reply)
            case commands.Fault():
                self._step(agent.FaultSeen(reply.model, reply.text))
            case _:
                assert_never(reply)

    def _take_sign(self, reply: commands.Ready | commands.Unusable | commands.Alive) -> None:
        match reply:
            case commands.Ready():
                told = about(LogEvent.INFERENCE_READY, engine=reply.engine)
                log.info("inference process ready: %s", reply.engine, extra=told)
                self._supervisor.started()
                self._manager.ready()
            case commands.Unusable():
                raise ConfigError(reply.problem)
            case commands.Alive():
                self._supervisor.hear(reply)
            case _:
                assert_never(reply)

    def _publish_result(self, ready: commands.ResultReady) -> None:
        if self._broker is None:
            return
        order = {"boot": self._state.info.boot, "sequence": next(self._results)}
        document = json.dumps({**ready.result, **order}).encode()
        self._broker.publish_result(ready.model, decode_document(Result, document))

    def _take_served(self, reply: commands.Serving | commands.NotServing) -> None:
        if isinstance(reply, commands.Serving):
            self._supervisor.serves()
            self._switched_at_s[reply.model] = monotonic_s()
            self._step(agent.Swap(reply.model, swap.Done(reply.ticket)))
        elif reply.ticket == commands.NO_SWAP:
            self._supervisor.mend_later(reply.model, reply.detail)
        else:
            self._step(agent.Swap(reply.model, _failed(reply)))

    def _take_prepared(self, reply: commands.Prepared | commands.NotPrepared) -> None:
        event: standby.Event
        if isinstance(reply, commands.Prepared):
            told = about(LogEvent.STANDBY_READY, model=reply.model)
            log.info("%s: the next narrower level stands by", reply.model, extra=told)
            event = swap.Done(reply.ticket)
        else:
            event = _failed(reply)
        self._step(agent.Standby(reply.model, event))

    def _judge(self, watched: commands.Watched) -> None:
        machine = self._state.swaps[watched.model]
        if machine.candidate is None:
            return  # it was superseded meanwhile
        evidence = probation.Evidence(
            answered=watched.answered,
            faults=watched.faults,
            detail=watched.detail,
            p95_ms=watched.p95_ms,
            incumbent_p95_ms=watched.incumbent_p95_ms,
        )
        incumbent = machine.incumbent.manifest if machine.incumbent else None
        promised = probation.promise(
            machine.candidate.manifest,
            incumbent,
            deadline_ms=watched.deadline_ms,
            is_proven=machine.candidate.digest in machine.proofs,
        )
        found = probation.objection(evidence, promised)
        detail = "" if watched.answered else probation.UNSEEN
        event: swap.Event = swap.Done(watched.ticket, detail)
        if found is not None:
            event = swap.Failed(ticket=watched.ticket, reason=found.reason, detail=found.detail)
        self._step(agent.Swap(watched.model, event))

    def _step(self, event: agent.Event) -> None:
        following = agent.step(self._state, event)
        self._state = following.state
        for effect in following.effects:
            self._effects.carry_out(effect)

    def _publish(self, leaf: Leaf, message: Message) -> None:
        if self._broker is not None:
            self._broker.publish(leaf, message)

    def _feed_watchdog(self) -> None:
        """Say that this loop turns, the network's does, and inference makes progress."""
        if self._manager.feed_s is not None:
            self._happenings.after(self._manager.feed_s, self._feed_watchdog)
        if self._supervisor.is_well and self._broker is not None and self._broker.is_turning():
            self._manager.alive()

    def _watch_pressure(self) -> None:
        self._happenings.after(PRESSURE_S, self._watch_pressure)
        crossed = self._pressure.crossing()
        was_crossed, self._is_crossed = self._is_crossed, crossed is not None
        if was_crossed != self._is_crossed:
            self._supervisor.send(commands.Collect())  # told at once, not at the period's end
        if crossed is not None:
            self._step(agent.Crossed(None, crossed, self._since_switch_s()))

    def _since_switch_s(self) -> dict[ModelName, float]:
        now_s = monotonic_s()
        return {model: now_s - at_s for model, at_s in self._switched_at_s.items()}

    def _reconcile(self) -> None:
        self._happenings.after(RECONCILE_S, self._reconcile)
        self._step(agent.ReconcileDue())

    def _end_period(self) -> None:
        self._happenings.after(self._period_s, self._end_period)
        self._supervisor.simulate(self._sensors.slowdown())
        if not self._supervisor.is_running:
            self._tell_period(commands.Collected(()))
        self._supervisor.send(commands.Collect())

    def _tell_period(self, collected: commands.Collected) -> None:
        self._manager.status(in_words(collected.reports))
        resources = self._sensors.read()
        passed = self._broker.wire_bytes() if self._broker is not None else WireBytes()
        elapsed_s, self._told_s = monotonic_s() - self._told_s, monotonic_s()
        if self._configure.http is not None:
            self._supervisor.send(commands.Describe(describe(resources, passed)))
        self._step(
            agent.PeriodEnded(
                sent_at=utc_now(),
                period_s=self._period_s,
                elapsed_s=elapsed_s,
                resources=resources,
                reports=collected.reports,
                held=self._updates.store.held(),
                wire=passed,
            )
        )


def _failed(reply: commands.NotServing | commands.NotPrepared) -> swap.Failed:
    return swap.Failed(ticket=reply.ticket, reason=reply.reason, detail=reply.detail)
