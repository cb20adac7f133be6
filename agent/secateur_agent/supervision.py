"""Keeps the inference process alive, and tells it again what it must know after a restart."""

from collections.abc import Callable

from secateur_agent.adapters.clock import monotonic_s
from secateur_agent.adapters.inference import Inference, StartInference
from secateur_agent.adapters.store import Store
from secateur_agent.core import agent, progress, standby, swap
from secateur_agent.happenings import Happenings
from secateur_agent.inference import commands
from secateur_protocols.ids import ModelName
from secateur_protocols.ota import ReasonCode

RESTART_S = (0.2, 30.0)
"""Delay before the inference process is started again: the first, and the longest, doubled
at each death in between, seconds."""


WATCH_S = 5.0
"""How often the process is asked whether it is alive, seconds."""

START_S = 300.0
"""How long it may take from its start to its first answer, seconds: importing an engine from
a slow card takes a while."""


class Supervisor:
    """At most one inference process at a time. Used by the driver's thread alone."""

    def __init__(
        self,
        happenings: Happenings,
        configure: commands.Configure,
        store: Store,
        *,
        state: Callable[[], agent.AgentState],
        step: Callable[[agent.Event], None],
    ) -> None:
        """Make it; nothing runs before `start`.

        Args:
            happenings: Where replies and the process's death are posted.
            configure: What the process is told first.
            store: Where artifacts are.
            state: Gives what the agent remembers now.
            step: Lets an event happen to it.
        """
        self._happenings = happenings
        self._configure = configure
        self._store = store
        self._state = state
        self._step = step
        self._start: StartInference | None = None
        self._inference: Inference | None = None
        self._slowdown = configure.slowdown
        self._deaths = 0
        self._failed_loads = 0
        self._silent_from_s = 0.0
        self._is_stuck = False

    @property
    def is_running(self) -> bool:
        """Whether there is a process now."""
        return self._inference is not None

    @property
    def is_well(self) -> bool:
        """Whether the process obeys, or is knowingly being started again.

        One that stays silent after it was killed cannot be mended from here.
        """
        return self._inference is None or monotonic_s() < self._silent_from_s + 2 * WATCH_S

    def start(self, start: StartInference) -> None:
        """Start the process now, and whenever it has died."""
        self._start = start
        self._begin()
        self._happenings.after(WATCH_S, self._watch)

    def stop(self) -> None:
        """End the process."""
        if self._inference is not None:
            self._inference.stop()

    def send(self, command: commands.Command) -> None:
        """Send a command; while there is no process it is forgotten."""
        if self._inference is not None:
            self._inference.send(command)

    def load(
        self, model: ModelName, artifact: swap.Artifact, ticket: int = commands.NO_SWAP
    ) -> commands.Load:
        """Put the command together that loads an artifact."""
        return commands.Load(
            ticket=ticket,
            model=model,
            version=artifact.target.ladder.version,
            level=artifact.target.level,
            precision=str(artifact.manifest.precision),  # an enumeration would bring pydantic
            digest=artifact.digest,
            path=str(self._store.blob_path(artifact.digest)),
        )

    def simulate(self, slowdown: float) -> None:
        """Let a simulated device be so slow from now on, restarts included."""
        if slowdown != self._slowdown:
            self._slowdown = slowdown
            self.send(commands.SetSlowdown(slowdown))

    def started(self) -> None:
        """Take note that the process is ready: from now on it has to answer soon."""
        self._silent_from_s = monotonic_s() + progress.SILENT_S

    def hear(self, alive: commands.Alive) -> None:
        """Take note that the process obeys; end it if one of its inferences is stuck."""
        self._silent_from_s = monotonic_s() + progress.SILENT_S
        stuck = [b for b in alive.busy if progress.is_stuck(b.busy_s, b.deadline_ms)]
        if not stuck:
            self._is_stuck = False
        elif not self._is_stuck:
            self._end(stuck)

    def serves(self) -> None:
        """Take note that an artifact answers: what went wrong before is over."""
        self._deaths = self._failed_loads = 0

    def mend_later(self, model: ModelName, problem: str) -> None:
        """Let something serve, after a while, where what should could not be loaded."""
        self._failed_loads += 1
        self._happenings.after(
            _restart_delay_s(self._failed_loads), lambda: self._mend(model, problem)
        )

    def survive(self) -> None:
        """Start the process again after its death; an artifact on its way in failed."""
        self._inference = None
        self._deaths += 1
        self._step(agent.FaultSeen(None, "the inference process died"))
        for model, machine in tuple(self._state().swaps.items()):
            if machine.phase in {swap.Phase.ACTIVATING, swap.Phase.PROBATION}:
                reason = ReasonCode.LOAD_FAILED
                detail = "the inference process died of it"
                failed = swap.Failed(ticket=machine.ticket, reason=reason, detail=detail)
                self._step(agent.Swap(model, failed))
        self._happenings.after(_restart_delay_s(self._deaths), self._begin)

    def _begin(self) -> None:
        """Start the process, let every incumbent serve, and load what was to be activated."""
        if self._start is None:
            return
        self._inference = self._start(self._configure, self._happenings.post)
        self._silent_from_s = monotonic_s() + START_S
        self._is_stuck = False
        state = self._state()
        for model, machine in state.swaps.items():
            if machine.incumbent is not None:
                self.send(self.load(model, machine.incumbent))
            if machine.phase is swap.Phase.ACTIVATING and machine.candidate is not None:
                # Asked for while there was no process, and so forgotten.
                self.send(self.load(model, machine.candidate, machine.ticket))
            stands = state.standbys.get(model)
            if stands is not None and stands.phase is not standby.Phase.IDLE:
                self._step(agent.Standby(model, standby.Aim(None)))  # what it held is gone
        for wish in state.desired.models if state.desired else ():
            if wish.model in state.swaps:
                self.send(commands.SetDeadline(wish.model, wish.deadline_ms))
        self.send(commands.SetSlowdown(self._slowdown))
        self._step(agent.ReconcileDue())

    def _watch(self) -> None:
        self._happenings.after(WATCH_S, self._watch)
        if monotonic_s() > self._silent_from_s and not self._is_stuck:
            self._end([])
        self.send(commands.Ping())

    def _end(self, stuck: list[commands.Busy]) -> None:
        """End the process by force; count it against what it hangs in, where that is known."""
        if self._inference is None:
            return
        self._is_stuck = True
        is_ended = self._inference.kill()
        if not stuck:
            self._step(agent.FaultSeen(None, "the inference process does not answer"))
        for each in stuck:
            problem = f"{each.digest[:12]} has not answered for {each.busy_s:.0f} s"
            self._step(agent.FaultSeen(each.model, problem))
            if is_ended:
                self._blame(each)

    def _blame(self, stuck: commands.Busy) -> None:
        """Count it against what serves or stands by; `survive` does so for a candidate."""
        model, state = stuck.model, self._state()
        incumbent, stands = state.swaps[model].incumbent, state.standbys.get(model)
        if incumbent is not None and incumbent.digest == stuck.digest:
            hung = swap.Hung(stuck.served_s, self._store.previous(model))
            self._step(agent.Swap(model, hung))
        elif (
            stands is not None
            and stands.artifact is not None
            and stands.artifact.digest == stuck.digest
        ):
            reason, detail = ReasonCode.LOAD_FAILED, "it hangs"
            failed = swap.Failed(
                ticket=stands.ticket, reason=reason, detail=detail, permanent=True
            )
            self._step(agent.Standby(model, failed))

    def _mend(self, model: ModelName, problem: str) -> None:
        self._step(agent.FaultSeen(model, f"the incumbent cannot serve: {problem}"))
        kept = self._store.recall(model)
        self._step(agent.Swap(model, swap.Broken(problem, kept.incumbent)))


def _restart_delay_s(times: int) -> float:
    first_s, longest_s = RESTART_S
    return min(longest_s, first_s * 2.0 ** min(times - 1, 16))
