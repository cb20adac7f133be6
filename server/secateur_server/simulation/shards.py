"""A fleet in parts: played one after the other, or in processes of their own."""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from secateur_server.collector import collect_seldom
from secateur_server.simulation.players import Oracle, Player
from secateur_server.simulation.report import Tally
from secateur_server.simulation.scenario import Scenario
from secateur_server.simulation.virtual import Planner, play
from secateur_server.simulation.world import World

PLAYERS: dict[str, Callable[[World], Player]] = {"planner": Planner, "oracle": Oracle}

PART_DEVICES = 500
"""Devices of a part, at most: so many like devices that more would teach each other nothing."""


def play_in_parts(
    scenario: Scenario, device_count: int, players: tuple[str, ...], *, jobs: int
) -> dict[str, Tally]:
    """Let players live through the scenario, each part of the fleet by itself.

    Parts differ in chance, and share no beliefs, as sites do. Which parts there are follows
    from the number of devices: however many processes play them, the result is the same.
    """
    count = -(-device_count // PART_DEVICES)
    sizes = [device_count // count + (k < device_count % count) for k in range(count)]
    shares = [
        (scenario.model_copy(update={"seed": scenario.seed + k}), size, players)
        for k, size in enumerate(sizes)
    ]
    if min(jobs, count) == 1:
        played = [_play_share(*share) for share in shares]
    else:
        context = get_context("spawn")
        with ProcessPoolExecutor(min(jobs, count), mp_context=context) as pool:
            played = list(pool.map(_play_share, *zip(*shares, strict=True)))
    total = played[0]
    for other in played[1:]:
        for name in players:
            total[name].add(other[name])
    return total


def _play_share(
    scenario: Scenario, device_count: int, players: tuple[str, ...]
) -> dict[str, Tally]:
    collect_seldom()
    return {name: play(scenario, device_count, PLAYERS[name]) for name in players}
