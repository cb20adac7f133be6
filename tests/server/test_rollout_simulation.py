"""Rollouts over 1,000 devices whose messages are lost, doubled, late, and sometimes lies."""

from dataclasses import replace

import pytest

from secateur_protocols.rollout import Gate, RolloutState
from secateur_server.adapters.rollout_store import _EVIDENCE, _MEMBER, _ROLLOUT
from secateur_server.core.cohort import place_of
from secateur_server.core.rollout import Halted, Rollout, Stand, changed_devices, step
from secateur_server.core.rollout_status import describe
from support.rolling_simulation import (
    Link,
    PlayedDevice,
    Quality,
    RollingSimulation,
)

COUNT = 1000
NAMES = sorted((f"d-{n}" for n in range(COUNT)), key=lambda name: place_of("digits-1", name))
"""In the order in which the rollout takes devices."""

FALSE_ALARMS = 3
"""Of 1,000 devices, good ones that look bad by chance."""


def good(_device: PlayedDevice, _version: str) -> Quality:
    return Quality()


def slow(_device: PlayedDevice, version: str) -> Quality:
    return Quality(p95_ms=8.0 if version == "1" else 16.0)


def wrong(_device: PlayedDevice, version: str) -> Quality:
    return Quality(right=0.97 if version == "1" else 0.87)


def slow_on_jetsons(device: PlayedDevice, version: str) -> Quality:
    return slow(device, version if device.hardware_class == "jetson" else "1")


def stands(rollout: Rollout, stand: Stand) -> set[str]:
    return {name for name, each in rollout.members.items() if each.stand is stand}


@pytest.mark.slow
def test_a_good_version_reaches_1000_devices_and_never_more_than_the_wave_allows() -> None:
    fleet = RollingSimulation(COUNT, good, away=0.05)
    fleet.play(every=lambda: assert_allowed(fleet))
    rollout = fleet.course.rollout
    assert rollout.state is RolloutState.SUCCEEDED
    assert len(stands(rollout, Stand.GOOD)) > 0.8 * COUNT
    assert len(stands(rollout, Stand.BAD)) <= FALSE_ALARMS
    assert len(describe(rollout, 1).model_dump_json()) < 8_000


def assert_allowed(fleet: RollingSimulation) -> None:
    rollout = fleet.course.rollout
    assert len(changed_devices(rollout)) <= fleet.allowed()
    if rollout.state is not RolloutState.SUCCEEDED:
        # Who has gone away with the new version cannot be told to give it up.
        unreachable = stands(rollout, Stand.EXPIRED)
        assert len(fleet.running - unreachable) <= fleet.allowed()


@pytest.mark.parametrize(("bad", "gate"), [(slow, Gate.P95), (wrong, Gate.ACCURACY)])
def test_a_bad_version_never_leaves_the_canary(bad: object, gate: Gate) -> None:
    fleet = RollingSimulation(COUNT, bad)  # type: ignore[arg-type]
    rollout = fleet.play()
    assert rollout.state is RolloutState.HALTED
    assert fleet.ever_ran == {NAMES[0]}
    objection = rollout.members[NAMES[0]].objection
    assert objection is not None
    assert objection.gate is gate
    assert fleet.running == set()


@pytest.mark.slow
def test_a_version_that_is_bad_on_one_kind_of_device_is_met_in_the_first_share() -> None:
    fleet = RollingSimulation(COUNT, slow_on_jetsons)
    rollout = fleet.play()
    assert rollout.members[NAMES[0]].stand is Stand.GOOD
    assert rollout.state is RolloutState.HALTED
    assert rollout.wave == 1
    assert "class jetson" in rollout.reason
    assert len(fleet.ever_ran) <= 52
    assert fleet.running == set()


@pytest.mark.slow
def test_devices_that_keep_the_old_file_and_say_otherwise_are_found_out_and_stay_few() -> None:
    liars = dict.fromkeys(NAMES[7::20], "keeps")
    fleet = RollingSimulation(COUNT, good, lies=liars)
    rollout = fleet.play()
    assert rollout.state is RolloutState.SUCCEEDED
    assert stands(rollout, Stand.BAD) == set(liars)
    gates = {rollout.members[name].objection.gate for name in liars}  # type: ignore[union-attr]
    assert gates == {Gate.PROOF}
    # They keep what they have in truth, and are told so.
    told = {fleet.states[name].desired.models[0].ladder.version for name in liars}  # type: ignore[union-attr]
    assert told == {"1"}


def test_a_canary_that_praises_everything_hides_only_itself() -> None:
    fleet = RollingSimulation(COUNT, wrong, lies={NAMES[0]: "praises"})
    rollout = fleet.play()
    assert rollout.members[NAMES[0]].stand is Stand.GOOD
    assert rollout.state is RolloutState.HALTED
    assert rollout.wave == 1
    assert fleet.running == set()


@pytest.mark.slow
def test_a_few_that_complain_of_everything_stop_nobody_but_themselves() -> None:
    liars = dict.fromkeys(NAMES[7::30], "complains")
    rollout = RollingSimulation(COUNT, good, lies=liars).play()
    assert rollout.state is RolloutState.SUCCEEDED
    bad = stands(rollout, Stand.BAD)
    assert bad >= set(liars)
    assert len(bad - set(liars)) <= FALSE_ALARMS


def test_halted_in_the_widest_wave_everybody_goes_back() -> None:
    fleet = RollingSimulation(300, good, waves=("100%",))
    fleet.play(limit_s=45)
    assert len(fleet.running) > 250
    fleet.take(step(fleet.course.rollout, Halted("enough")))
    rollout = fleet.play()
    assert fleet.running == set()
    assert all(member.is_back for member in rollout.members.values())


def test_doubled_messages_change_nothing() -> None:
    once = RollingSimulation(60, slow_on_jetsons, link=Link())
    twice = RollingSimulation(60, slow_on_jetsons, link=Link())
    send = twice._send

    def send_twice(device: PlayedDevice, message: object, *, sure: bool) -> None:
        send(device, message, sure=sure)  # type: ignore[arg-type]
        state = twice.chance.getstate()
        send(device, message, sure=sure)  # type: ignore[arg-type]
        twice.chance.setstate(state)

    twice._send = send_twice  # type: ignore[method-assign]
    assert once.play() == twice.play()


@pytest.mark.parametrize("every_s", [1, 7])
def test_a_restart_at_any_moment_goes_on_from_the_record(every_s: int) -> None:
    """What is in the database is all there is: the same fleet has the same rollout."""
    lived = RollingSimulation(60, slow_on_jetsons)
    died = RollingSimulation(60, slow_on_jetsons)

    def restart() -> None:
        if died.now_s % every_s:
            return
        old = died.course
        members = {
            name: _MEMBER.validate_json(_MEMBER.dump_json(member))
            for name, member in old.rollout.members.items()
        }
        record = _ROLLOUT.validate_json(_ROLLOUT.dump_json(replace(old.rollout, members={})))
        died.course = type(old)(
            replace(record, members=members), old.versions, old.stable, old.target
        )
        for name, evidence in old.evidence.items():
            died.course.evidence[name] = _EVIDENCE.validate_json(_EVIDENCE.dump_json(evidence))

    assert lived.play() == died.play(every=restart)


def test_the_same_chance_gives_the_same_rollout() -> None:
    first, second = (RollingSimulation(100, wrong, away=0.1).play() for _ in range(2))
    assert first == second
