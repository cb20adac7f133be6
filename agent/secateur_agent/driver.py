"""The loop between decisions and deeds: one queue, one consumer, no decision of its own.

Everything that happens arrives on one queue: what the broker brought, what the inference
process answered, what a worker finished, and the loop's own timers. Each becomes an event
of `core.agent`, whose effects are carried out here, short ones at once and long ones on a
worker thread whose answer comes back on the same queue.
"""

import heapq
import json
import logging
import queue
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import assert_never

from secateur_agent.adapters import broker as wire
from secateur_agent.adapters.clock import monotonic_s, utc_now
from secateur_agent.adapters.inference import (
    Inference,
    InferenceDied,
    InferenceProcess,
    StartInference,
)
from secateur_agent.adapters.pressure import Pressure
from secateur_agent.adapters.sensors import Sensors
from secateur_agent.adapters.updates import Updates
from secateur_agent.core import agent, probation, standby, swap
from secateur_agent.core.telemetry import WireBytes
from secateur_agent.deeds import Deed, Deeds, Order
from secateur_agent.errors import AgentError, ConfigError
from secateur_agent.inference import commands
from secateur_protocols.codec import decode_document
from secateur_protocols.ids import ModelName
from secateur_protocols.ota import OtaProgress, ReasonCode
from secateur_protocols.result import Result
from secateur_protocols.state import Desired
from secateur_protocols.topics import Leaf

log = logging.getLogger("secateur.agent")

RECONCILE_S = 60.0
"""How often what is is compared with what is wanted, seconds."""

REBIRTH_SPREAD_S = 3.0
"""A fleet asked to say everything again answers over this time, seconds (rule W10)."""

RESTART_S = (0.2, 30.0)
"""Delay before the inference process is started again: the first, and the longest, doubled
at each death in between, seconds."""

PRESSURE_S = 0.04
"""How often the limits of the whole device are looked at, seconds: a crossing is to be seen,
and a narrower level to answer, within a tenth of a second."""


@dataclass(frozen=True, slots=True)
class Quit:
    """The process was asked to end."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something is wrong that does not keep the agent from serving."""

    problem: str


@dataclass(frozen=True, slots=True)
class Finished:
    """A worker's answer."""

    event: agent.Swap | agent.Standby


Happening = wire.BrokerEvent | commands.Reply | InferenceDied | Finished | Trouble | Quit


@dataclass(order=True)
class _Timer:
    at_s: float
    number: int
    run: Callable[[], None] = field(compare=False)


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
        self._happenings: queue.SimpleQueue[Happening] = queue.SimpleQueue()
        self._timers: list[_Timer] = []
        self._numbers = count()
        self._results = count()
        self._deeds = Deeds(updates, self._tell_progress)
        self._broker: wire.Broker | None = None
        self._start: StartInference = InferenceProcess
        self._inference: Inference | None = None
        self._session = 0
        self._deaths = 0
        self._slowdown = configure.slowdown
        self._is_crossed = False
        self._failed_loads = 0
        self._switched_at_s = dict.fromkeys(state.swaps, monotonic_s())

    def post(self, happening: Happening) -> None:
        """Put something that happened on the queue, from any thread."""
        self._happenings.put(happening)

    def run(
        self, broker: wire.Broker, start_inference: StartInference = InferenceProcess
    ) -> None:
        """Run until `Quit`; everything that was started has ended on return.

        Args:
            broker: Not started yet.
            start_inference: Starts the other half, or finds it.

        Raises:
            ConfigError: The inference process cannot do what it was configured for.
        """
        self._broker, self._start = broker, start_inference
        self._start_inference()
        broker.start()
        self._after(self._period_s, self._end_period)
        self._after(RECONCILE_S, self._reconcile)
        self._after(PRESSURE_S, self._watch_pressure)
        try:
            self._loop()
        finally:
            broker.stop()
            if self._inference is not None:
                self._inference.stop()
            self._deeds.stop()

    def _loop(self) -> None:
        while True:
            happening = self._next()
            if isinstance(happening, Quit):
                return
            if happening is not None:
                self._take(happening)

    def _next(self) -> Happening | None:
        """Wait for a happening until the next timer is due, and run what is due."""
        wait_s = max(0.0, self._timers[0].at_s - monotonic_s()) if self._timers else None
        try:
            return self._happenings.get(timeout=wait_s)
        except queue.Empty:
            heapq.heappop(self._timers).run()
            return None

    def _after(self, delay_s: float, run: Callable[[], None]) -> None:
        heapq.heappush(self._timers, _Timer(monotonic_s() + delay_s, next(self._numbers), run))

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
                self._survive()
            case Trouble():
                log.warning("%s", happening.problem)
                self._step(agent.FaultSeen(None, happening.problem))
            case Quit():
                return
            case _:
                self._take_reply(happening)

    def _take_wire(self, happening: wire.BrokerEvent) -> None:
        match happening:
            case wire.Opened():
                log.info("connected, session %d", happening.session)
                self._session = happening.session
                self._step(agent.Connected(happening.session))
            case wire.Closed() | wire.Garbled():
                log.warning("%s", happening.problem)
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
                self._send(commands.Deliver(lane.model, arrived.payload))

    def _hear(self, arrived: wire.Arrived) -> None:
        message = arrived.message
        if isinstance(message, Desired):
            self._step(agent.DesiredArrived(message))
        elif message.device in {None, self._updates.device}:
            delay_s = random.uniform(0, REBIRTH_SPREAD_S)  # noqa: S311 - spread, no secret
            self._after(delay_s, lambda: self._step(agent.RebirthDue(self._session)))

    def _take_reply(self, reply: commands.Reply) -> None:
        match reply:
            case commands.Ready():
                log.info("inference process ready: %s %s", reply.engine, reply.engine_version)
            case commands.Unusable():
                raise ConfigError(reply.problem)
            case commands.Serving() | commands.NotServing():
                self._take_served(reply)
            case commands.Prepared() | commands.NotPrepared():
                self._take_prepared(reply)
            case commands.Overdue():
                self._send(commands.Collect())  # told at once, not at the period's end
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

    def _publish_result(self, ready: commands.ResultReady) -> None:
        if self._broker is None:
            return
        order = {"boot": self._state.info.boot, "sequence": next(self._results)}
        document = json.dumps({**ready.result, **order}).encode()
        self._broker.publish_result(ready.model, decode_document(Result, document))

    def _take_served(self, reply: commands.Serving | commands.NotServing) -> None:
        if isinstance(reply, commands.Serving):
            self._deaths = self._failed_loads = 0
            self._switched_at_s[reply.model] = monotonic_s()
            self._answer(reply.model, swap.Done(reply.ticket))
        elif reply.ticket == commands.NO_SWAP:
            self._failed_loads += 1
            delay_s = _restart_delay_s(self._failed_loads)
            self._after(delay_s, lambda: self._mend(reply.model, reply.detail))
        else:
            failed = swap.Failed(ticket=reply.ticket, reason=reply.reason, detail=reply.detail)
            self._answer(reply.model, failed)

    def _take_prepared(self, reply: commands.Prepared | commands.NotPrepared) -> None:
        event: standby.Event = swap.Done(reply.ticket)
        if isinstance(reply, commands.Prepared):
            log.info("%s: the next narrower level stands by", reply.model)
        if isinstance(reply, commands.NotPrepared):
            event = swap.Failed(ticket=reply.ticket, reason=reply.reason, detail=reply.detail)
        self._step(agent.Standby(reply.model, event))

    def _mend(self, model: ModelName, problem: str) -> None:
        """Let something serve after what should could not be loaded."""
        self._step(agent.FaultSeen(model, f"the incumbent cannot serve: {problem}"))
        kept = self._updates.store.recall(model)
        self._answer(model, swap.Broken(problem, kept.incumbent))

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
        promised = probation.promise(machine.candidate.manifest, incumbent, watched.deadline_ms)
        found = probation.objection(evidence, promised)
        event: swap.Event = swap.Done(watched.ticket)
        if found is not None:
            event = swap.Failed(ticket=watched.ticket, reason=found.reason, detail=found.detail)
        self._answer(watched.model, event)

    def _answer(self, model: ModelName, event: swap.Event) -> None:
        self._step(agent.Swap(model, event))

    def _step(self, event: agent.Event) -> None:
        following = agent.step(self._state, event)
        self._state = following.state
        for effect in following.effects:
            self._carry_out(effect)

    def _carry_out(self, effect: agent.Effect) -> None:
        match effect:
            case agent.Publish():
                if self._broker is not None:
                    self._broker.publish(effect.leaf, effect.message)
            case agent.SetDeadline():
                self._send(commands.SetDeadline(effect.model, effect.deadline_ms))
            case agent.ForModel():
                self._carry_out_swap(effect.model, effect.effect)
            case agent.ForStandby():
                self._carry_out_standby(effect.model, effect.effect)
            case _:
                assert_never(effect)

    def _carry_out_swap(self, model: ModelName, effect: swap.Effect) -> None:
        match effect:
            case swap.Resolve() | swap.Fetch() | swap.Verify() | swap.Probe():
                self._start_deed(model, effect)
            case swap.Activate():
                self._arm(model, effect.ticket)
                self._send(self._load(model, effect.artifact, effect.ticket))
            case swap.Watch():
                self._arm(model, effect.ticket)
                count_, limit_s = probation.ANSWERS, probation.LIMIT_S
                self._send(commands.Watch(effect.ticket, model, count_, limit_s))
            case swap.Commit():
                self._persist(model, lambda: self._commit(model, effect.artifact))
            case swap.Serve():
                self._send(self._load(model, effect.artifact, commands.NO_SWAP))
            case swap.RollBack():
                digest = effect.incumbent.digest if effect.incumbent else None
                self._send(commands.Restore(model, digest))
            case swap.Refuse():
                refuse = self._updates.store.refuse
                self._persist(model, lambda: refuse(model, effect.digest, effect.count))
            case swap.Discard() | swap.Tell():
                return  # what nobody needs is swept at the next commit; tells became messages
            case _:
                assert_never(effect)

    def _carry_out_standby(self, model: ModelName, effect: standby.Effect) -> None:
        match effect:
            case standby.Release():
                self._send(commands.Release(model))
                return
            case standby.Prepare():
                load = self._load(model, effect.artifact, effect.ticket)
                self._send(commands.Prepare(load))
            case _:
                self._deeds.start(
                    effect,
                    Order(model, self._artifacts_url(), is_urgent=False),
                    lambda event: self.post(Finished(agent.Standby(model, event))),
                )
        timeout_s = standby.TIMEOUT_S[self._state.standbys[model].phase]
        timed_out = agent.Standby(model, swap.TimedOut(effect.ticket))
        self._after(timeout_s, lambda: self._step(timed_out))

    def _start_deed(self, model: ModelName, deed: Deed) -> None:
        """Start a long effect after its delay; its answer arrives as `Finished`."""
        delay_s = deed.delay_s if isinstance(deed, swap.Resolve | swap.Fetch) else 0.0
        order = Order(model, self._artifacts_url(), is_urgent=True)

        def start() -> None:
            self._deeds.start(
                deed, order, lambda event: self.post(Finished(agent.Swap(model, event)))
            )

        self._arm(model, deed.ticket, delay_s)
        if delay_s > 0:
            self._after(delay_s, start)
        else:
            start()

    def _artifacts_url(self) -> str:
        return self._state.desired.artifacts_url if self._state.desired else ""

    def _tell_progress(self, progress: OtaProgress) -> None:
        if self._broker is not None:
            self._broker.publish(Leaf.OTA_PROGRESS, progress)

    def _arm(self, model: ModelName, ticket: int, delay_s: float = 0.0) -> None:
        timeout_s = swap.TIMEOUT_S[self._state.swaps[model].phase]
        self._after(delay_s + timeout_s, lambda: self._answer(model, swap.TimedOut(ticket)))

    def _persist(self, model: ModelName, write: Callable[[], None]) -> None:
        try:
            write()
        except AgentError as error:
            self._step(agent.FaultSeen(model, str(error)))

    def _commit(self, model: ModelName, artifact: swap.Artifact) -> None:
        self._updates.store.commit(model, artifact)
        self._send(commands.Settle(model))
        machines = self._state.swaps.values()
        known = [
            each for machine in machines for each in (machine.incumbent, machine.candidate)
        ]
        self._updates.sweep(artifact for artifact in known if artifact is not None)

    def _load(self, model: ModelName, artifact: swap.Artifact, ticket: int) -> commands.Load:
        return commands.Load(
            ticket=ticket,
            model=model,
            version=artifact.target.ladder.version,
            level=artifact.target.level,
            precision=artifact.manifest.precision,
            digest=artifact.digest,
            path=str(self._updates.store.blob_path(artifact.digest)),
        )

    def _send(self, command: commands.Command) -> None:
        if self._inference is not None:
            self._inference.send(command)

    def _start_inference(self) -> None:
        """Start the process, and let every incumbent serve."""
        self._inference = self._start(self._configure, self.post)
        for model, machine in self._state.swaps.items():
            if machine.incumbent is not None:
                self._send(self._load(model, machine.incumbent, commands.NO_SWAP))
            if model in self._state.standbys:
                self._step(agent.Standby(model, standby.Aim(None)))  # what it held is gone
        for wish in self._state.desired.models if self._state.desired else ():
            if wish.model in self._state.swaps:
                self._send(commands.SetDeadline(wish.model, wish.deadline_ms))
        self._send(commands.SetSlowdown(self._slowdown))
        self._step(agent.ReconcileDue())

    def _survive(self) -> None:
        """Start the inference process again; an artifact that was on its way in failed."""
        self._inference = None
        self._deaths += 1
        self._step(agent.FaultSeen(None, "the inference process died"))
        for model, machine in tuple(self._state.swaps.items()):
            if machine.phase in {swap.Phase.ACTIVATING, swap.Phase.PROBATION}:
                reason = ReasonCode.LOAD_FAILED
                detail = "the inference process died of it"
                failed = swap.Failed(ticket=machine.ticket, reason=reason, detail=detail)
                self._answer(model, failed)
        self._after(_restart_delay_s(self._deaths), self._start_inference)

    def _watch_pressure(self) -> None:
        self._after(PRESSURE_S, self._watch_pressure)
        crossed = self._pressure.crossing()
        was_crossed, self._is_crossed = self._is_crossed, crossed is not None
        if was_crossed != self._is_crossed:
            self._send(commands.Collect())  # told at once, not at the period's end
        if crossed is not None:
            self._step(agent.Crossed(None, crossed, self._since_switch_s()))

    def _since_switch_s(self) -> dict[ModelName, float]:
        now_s = monotonic_s()
        return {model: now_s - at_s for model, at_s in self._switched_at_s.items()}

    def _reconcile(self) -> None:
        self._after(RECONCILE_S, self._reconcile)
        self._step(agent.ReconcileDue())

    def _end_period(self) -> None:
        self._after(self._period_s, self._end_period)
        slowdown = self._sensors.slowdown()
        if slowdown != self._slowdown:
            self._slowdown = slowdown
            self._send(commands.SetSlowdown(slowdown))
        if self._inference is None:
            self._tell_period(commands.Collected(()))
        self._send(commands.Collect())

    def _tell_period(self, collected: commands.Collected) -> None:
        self._step(
            agent.PeriodEnded(
                sent_at=utc_now(),
                period_s=self._period_s,
                resources=self._sensors.read(),
                reports=collected.reports,
                held=self._updates.store.held(),
                wire=self._broker.wire_bytes() if self._broker is not None else WireBytes(),
            )
        )


def _restart_delay_s(times: int) -> float:
    first_s, longest_s = RESTART_S
    return min(longest_s, first_s * 2.0 ** min(times - 1, 16))
