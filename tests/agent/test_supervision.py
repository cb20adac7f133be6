"""What the inference process is told when it begins."""

from pathlib import Path

import pytest

from secateur_agent.adapters.store import Store
from secateur_agent.core import agent, swap
from secateur_agent.happenings import Happenings
from secateur_agent.inference import commands
from secateur_agent.installed import EngineName
from secateur_agent.supervision import Supervisor
from support import ladders
from support.reports import info


class Recorder:
    """Stands where the inference process would: keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[commands.Command] = []

    def send(self, command: commands.Command) -> None:
        self.told.append(command)

    def stop(self) -> None:
        """Nothing runs."""

    def kill(self) -> bool:
        return True


def begin(tmp_path: Path, machine: swap.SwapState) -> list[commands.Load]:
    state = agent.AgentState(info=info(), swaps={"digits": machine})
    supervisor = Supervisor(
        Happenings(),
        commands.Configure(engine=EngineName.LITERT, threads=1, lanes=(), slowdown=1.0),
        Store(tmp_path),
        state=lambda: state,
        step=lambda _: None,
    )
    recorder = Recorder()
    supervisor.start(lambda *_: recorder)
    return [each for each in recorder.told if isinstance(each, commands.Load)]


def test_what_was_to_be_activated_while_there_was_no_process_is_loaded_by_the_next(
    tmp_path: Path,
) -> None:
    incumbent, candidate = ladders.artifact(0), ladders.artifact(1)
    activating = swap.SwapState(
        phase=swap.Phase.ACTIVATING,
        incumbent=incumbent,
        wanted=candidate.target,
        candidate=candidate,
        ticket=7,
    )
    served, activated = begin(tmp_path, activating)
    assert (served.digest, served.ticket) == (incumbent.digest, commands.NO_SWAP)
    assert (activated.digest, activated.ticket) == (candidate.digest, 7)


@pytest.mark.parametrize("phase", [swap.Phase.FETCHING, swap.Phase.PROBING])
def test_a_candidate_that_is_not_proven_is_not_loaded(
    tmp_path: Path, phase: swap.Phase
) -> None:
    incumbent, candidate = ladders.artifact(0), ladders.artifact(1)
    machine = swap.SwapState(
        phase=phase, incumbent=incumbent, wanted=candidate.target, candidate=candidate
    )
    (served,) = begin(tmp_path, machine)
    assert served.digest == incumbent.digest
