"""A fleet in parts, one process each: a simulated day takes a while in one."""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from secateur_server.simulation.players import Oracle, Player
from secateur_server.simulation.report import Tally
from secateur_server.simulation.scenario import Scenario
from secateur_server.simulation.virtual import Planner, play
from secateur_server.simulation.world import World

PLAYERS: dict[str, Callable[[World], Player]] = {"planner": Planner, "oracle": Oracle}


def play_in_parts(
    scenario: Scenario, device_count: int, players: tuple[str, ...], *, parts: int
) -> dict[str, Tally]:
    """Let players live through the scenario, each part of the fleet in a process of its own.

    Parts differ in chance, and share no beliefs, as sites do. With one part nothing is
    started.
    """
    sizes = [device_count // parts + (k < device_count % parts) for k in range(parts)]
    shares = [
        (scenario.model_copy(update={"seed": scenario.seed + k}), size, players)
        for k, size in enumerate(sizes)
        if size
    ]
    if len(shares) == 1:
        return _play_share(*shares[0])
    with ProcessPoolExecutor(len(shares), mp_context=get_context("spawn")) as pool:
        played = list(pool.map(_play_share, *zip(*shares, strict=True)))
    total = played[0]
    for other in played[1:]:
        for name in players:
            total[name].add(other[name])
    return total


def _play_share(
    scenario: Scenario, device_count: int, players: tuple[str, ...]
) -> dict[str, Tally]:
    return {name: play(scenario, device_count, PLAYERS[name]) for name in players}
