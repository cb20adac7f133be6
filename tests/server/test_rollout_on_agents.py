"""Bad versions on real agents: each halts with the canary, and the canary goes back."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from secateur_protocols.rollout import Gate, RolloutState, RolloutStatus
from secateur_server.adapters.embedded_broker import EmbeddedBroker
from support.bad_versions import (
    prune_hard,
    prune_until,
    read_labelled,
    top1,
    work_twice,
    write_version,
)
from support.rolling_fleet import RollingFleet
from support.scripted_device import wait_until

DATA = Path(__file__).resolve().parents[2] / "examples" / "digits" / "evaluation.npz"

pytestmark = [pytest.mark.broker, pytest.mark.engine, pytest.mark.slow]

QUICKLY = ("--soak-s", "8", "--baseline-s", "60", "--deadline-s", "150")


@pytest.fixture
def fleet(
    mosquitto: EmbeddedBroker, tmp_path: Path, digits_ladder: Path
) -> Iterator[RollingFleet]:
    rolling = RollingFleet(tmp_path / "fleet", mosquitto.url, DATA)
    rolling.registry.publish(digits_ladder)
    with rolling:
        rolling.wait_until_all_run("1")
        yield rolling


BUSY = ("--max-p95-ratio", "5", "--max-miss-rise", "0.9")
"""Where speed is not the question: other tests may run here at the same time."""


def halt_in_canary(fleet: RollingFleet, gate: Gate, *options: str) -> RolloutStatus:
    """Roll the bad version out; make sure that it is halted and nobody but one has met it."""
    start = ("rollout", "start", "digits", "--version", "2", "--watch", *QUICKLY, *options)
    lines = fleet.secateur(*start, code=1)
    status = fleet.wait_for_end()
    assert lines[-1]["state"] == "halted"
    assert any("by its manifest" in warning for warning in lines[-1]["warnings"])
    assert status.state is RolloutState.HALTED, status.reason
    assert [trouble.gate for trouble in status.troubles] == [gate], status
    canary = status.troubles[0].device
    wait_until(lambda: fleet.wanted[canary][-1] == "1")
    wait_until(lambda: fleet.reported[canary][-1] == "1", timeout_s=90.0)
    wait_until(lambda: fleet.last is not None and fleet.last.waves[0].back == 1)
    assert "2" in fleet.reported[canary]
    for name in fleet.agents:
        if name != canary:
            assert "2" not in fleet.wanted[name]
            assert "2" not in fleet.reported[name]
    assert fleet.last is not None
    assert [wave.devices for wave in fleet.last.waves] == [1, 0, 0, 0]
    return status


def test_a_version_that_is_twice_as_slow_halts_with_the_canary_which_goes_back(
    fleet: RollingFleet, tmp_path: Path, digits_ladder: Path
) -> None:
    slow = write_version(
        digits_ladder, tmp_path / "slow", version="2", edits=[work_twice] * 3, data=DATA
    )
    fleet.registry.publish(slow)
    status = halt_in_canary(fleet, Gate.P95)
    assert "by the old version" in status.reason


def test_a_version_10_points_less_accurate_halts_with_the_canary_which_goes_back(
    fleet: RollingFleet, tmp_path: Path, digits_ladder: Path
) -> None:
    samples = read_labelled(DATA)
    edits = []
    for level in range(3):
        content = (digits_ladder / f"level-{level}.tflite").read_bytes()
        edit = prune_until(content, samples, at_most=top1(content, samples) - 0.1)
        edits.append(edit)
    worse = write_version(
        digits_ladder, tmp_path / "worse", version="2", edits=edits, data=DATA
    )
    fleet.registry.publish(worse)
    status = halt_in_canary(fleet, Gate.ACCURACY, *BUSY)
    assert "right" in status.reason


def test_a_coordinator_killed_in_mid_rollout_goes_on_where_it_was(
    fleet: RollingFleet, tmp_path: Path, digits_ladder: Path
) -> None:
    """Killed when the canary has just been told, and again in the widest wave."""
    other = write_version(
        digits_ladder, tmp_path / "other", version="2", edits=[prune_hard(0.1)] * 3, data=DATA
    )
    fleet.registry.publish(other)
    plan = ("--waves", "1,100%", "--soak-s", "6", "--baseline-s", "60", "--deadline-s", "200")
    (begun,) = fleet.secateur("rollout", "start", "digits", *plan, *BUSY)
    wait_until(lambda: any("2" in wanted for wanted in fleet.wanted.values()), timeout_s=120.0)
    fleet.kill_coordinator()
    (canary,) = (name for name, wanted in fleet.wanted.items() if "2" in wanted)
    fleet.serve()
    wait_until(lambda: fleet.last is not None and fleet.last.wave == 1, timeout_s=200.0)
    assert [name for name, told in fleet.reported.items() if "2" in told] == [canary]
    fleet.kill_coordinator()
    fleet.serve()
    status = fleet.wait_for_end()
    assert status.state is RolloutState.SUCCEEDED, status.reason
    assert status.rollout == begun["rollout"]
    fleet.wait_until_all_run("2")
    (shown,) = fleet.secateur("rollout", "status", status.rollout)
    assert sum(wave["good"] for wave in shown["waves"]) == 3
