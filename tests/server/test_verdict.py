"""What a device's messages say of a new version (evidence, proof, verdict, proportions)."""

import random
from dataclasses import replace
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secateur_protocols.ota import Ota, ReasonCode, Update, UpdateState
from secateur_protocols.rollout import Gate, RolloutGates
from secateur_protocols.state import ProofOfRun, Reported, ReportedModel
from secateur_protocols.telemetry import ModelTelemetry, Resources, Served, Telemetry
from secateur_server.core.evidence import (
    Evidence,
    Versions,
    hear_ota,
    hear_reported,
    observe,
    tell,
)
from secateur_server.core.foresight import foresee
from secateur_server.core.proof import ExpectedOutputs, Proof, check_proof
from secateur_server.core.proportions import Counted, interval, least_fall
from secateur_server.core.verdict import has_baseline, judge, peer_level
from support.situations import MEBIBYTE, make_ladder

STABLE, TARGET = make_ladder(version="1"), make_ladder(version="2")
VERSIONS = Versions(
    STABLE,
    TARGET,
    {
        each.digest: ExpectedOutputs(
            digest="f" * 64, values=(0.1, 0.9), tolerances=(0.01, 0.01)
        )
        for each in TARGET.levels
    },
)
GATES = RolloutGates()


class Device:
    """A device that says what it measures, one message after another."""

    def __init__(self, seed: int = 1) -> None:
        self.evidence = Evidence()
        self.chance = random.Random(seed)
        self.recent: list[float] = []
        self.digest = ""
        self.sequence = count()
        self.answered = self.missed = self.switches = 0

    def run(
        self,
        version: str,
        level: int,
        *,
        periods: int = 12,
        p95_ms: float = 8.0,
        right: float | None = 0.99,
        late: float = 0.0,
        celsius: float | None = 50.0,
        free_mebibytes: int = 500,
    ) -> "Device":
        ladder = STABLE if version == "1" else TARGET
        manifest = ladder.levels[level]
        if self.digest != manifest.digest:
            self.recent, self.digest = [], manifest.digest
            self.switches += 1
        for _ in range(periods):
            self.recent = [*self.recent, p95_ms * self.chance.uniform(0.9, 1.1)][-16:]
            self.answered += 50
            self.missed += sum(self.chance.random() < late for _ in range(50))
            correct = sum(self.chance.random() < (right or 0) for _ in range(50))
            served = Served(
                level=level, answered=50, labelled=0 if right is None else 50, correct=correct
            )
            measured = ModelTelemetry(
                model="digits",
                version=version,
                level=level,
                digest=manifest.digest,
                precision="float32",
                deadline_ms=10.0,
                p95_ms=self.recent[-1],
                recent_p95_ms=tuple(self.recent),
                since_switch_s=10.0,
                offered=self.answered,
                answered=self.answered,
                dropped=0,
                lost=0,
                deadline_misses=self.missed,
                switches=self.switches,
                served=(served,),
            )
            self.hear(measured, celsius, free_mebibytes)
        return self

    def hear(self, measured: ModelTelemetry, celsius: float | None, mebibytes: int) -> None:
        telemetry = Telemetry(
            boot=1,
            sequence=next(self.sequence),
            sent_at="",
            period_s=1.0,
            resources=Resources(
                temperature_c=celsius,
                memory_available_bytes=mebibytes * MEBIBYTE,
                memory_total_bytes=1000 * MEBIBYTE,
            ),
            models=(measured,),
        )
        self.evidence = observe(self.evidence, telemetry, VERSIONS)

    def change(self) -> "Device":
        self.evidence = tell(self.evidence)
        return self

    def objection(self) -> Gate | None:
        found = judge(self.evidence, VERSIONS, GATES).objection
        return None if found is None else found.gate


def test_the_same_again_is_complete_and_nothing_speaks_against_it() -> None:
    device = Device().run("1", 0)
    assert has_baseline(device.evidence)
    device.change().run("2", 0)
    verdict = judge(device.evidence, VERSIONS, GATES)
    assert verdict.objection is None
    assert verdict.is_complete


@pytest.mark.parametrize(
    ("worse", "gate"),
    [
        ({"p95_ms": 16.0}, Gate.P95),
        ({"right": 0.89}, Gate.ACCURACY),
        ({"late": 0.2}, Gate.MISSES),
        ({"celsius": 65.0}, Gate.TEMPERATURE),
        ({"free_mebibytes": 350}, Gate.MEMORY),
    ],
)
def test_each_gate_speaks_of_what_it_is_for(worse: dict[str, float], gate: Gate) -> None:
    device = Device().run("1", 0).change().run("2", 0, **worse)  # type: ignore[arg-type]
    assert device.objection() is gate


def test_before_there_is_enough_no_gate_speaks() -> None:
    device = Device().run("1", 0).change().run("2", 0, periods=4, p95_ms=80.0, right=0.1)
    assert device.objection() is None
    assert not judge(device.evidence, VERSIONS, GATES).is_complete


def test_a_few_slow_periods_among_many_are_a_busy_minute() -> None:
    device = Device().run("1", 0).change().run("2", 0, periods=10)
    device.run("2", 0, periods=5, p95_ms=40.0)
    assert device.objection() is None


def test_a_wider_level_may_be_as_slow_as_the_old_version_was_by_design() -> None:
    # Level 3 takes 2 ms and level 0 takes 8 ms, in the manifests of both versions.
    device = Device().run("1", 3, p95_ms=2.0, right=0.8).change()
    assert device.run("2", 0, p95_ms=8.0, right=0.95).objection() is None
    assert device.run("2", 0, periods=16, p95_ms=20.0).objection() is Gate.P95


def test_a_narrower_level_may_be_as_inaccurate_as_the_old_version_was_by_design() -> None:
    device = Device().run("1", 0, right=0.95).change()
    assert device.run("2", 3, p95_ms=2.0, right=0.81).objection() is None
    other = Device().run("1", 0, right=0.95).change()
    assert other.run("2", 3, p95_ms=2.0, right=0.6).objection() is Gate.ACCURACY


def test_without_labels_accuracy_is_not_judged_and_the_rest_is() -> None:
    device = Device().run("1", 0, right=None).change().run("2", 0, right=None)
    verdict = judge(device.evidence, VERSIONS, GATES)
    assert (verdict.objection, verdict.is_complete) == (None, True)


def test_what_was_answered_across_a_switch_counts_for_neither_version() -> None:
    device = Device().run("1", 0, periods=1).change().run("2", 0, periods=1)
    assert device.evidence.candidate[0].labelled == 0
    assert device.run("2", 0, periods=1).evidence.candidate[0].labelled == 50


def test_after_the_change_was_wanted_the_old_version_adds_nothing_to_the_baseline() -> None:
    device = Device().run("1", 0).change()
    before = device.evidence.baseline
    assert device.run("1", 0, p95_ms=80.0).evidence.baseline == before


def test_ladders_of_unlike_length_compare_by_place() -> None:
    long = make_ladder([8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0], [0.9] * 7)
    assert [peer_level(STABLE, long, level) for level in range(7)] == [0, 0, 1, 2, 2, 2, 3]


def reported(digest: str, *, sequence: int = 0, proof: ProofOfRun | None = None) -> Reported:
    model = ReportedModel(model="digits", version="2", level=0, digest=digest, proof=proof)
    return Reported(boot=1, sequence=sequence, revision=1, models=(model,))


def proof_of(digest: str, golden: str, *outputs: float) -> ProofOfRun:
    return ProofOfRun(digest=digest, golden_digest=golden, outputs=outputs)


DIGEST = TARGET.levels[0].digest


@pytest.mark.parametrize(
    ("proof", "expected"),
    [
        (None, Proof.MISSING),
        (proof_of(DIGEST, "f" * 64), Proof.GOOD),
        (proof_of(DIGEST, "e" * 64, 0.1001, 0.8999), Proof.GOOD),
        (proof_of(DIGEST, "e" * 64, 0.3, 0.7), Proof.WRONG),
        (proof_of(DIGEST, "e" * 64, 0.1), Proof.WRONG),
        (proof_of(DIGEST, "e" * 64), Proof.MISSING),
        (proof_of(STABLE.levels[0].digest, "f" * 64), Proof.WRONG),
    ],
)
def test_a_proof_is_good_bit_by_bit_or_within_the_tolerance(
    proof: ProofOfRun | None, expected: Proof
) -> None:
    (told,) = reported(DIGEST, proof=proof).models
    assert check_proof(told, VERSIONS.expected[DIGEST])[0] is expected


def test_an_agent_that_kept_the_old_file_is_found_out_by_its_golden_outputs() -> None:
    evidence = tell(Evidence())
    said = reported(DIGEST, proof=proof_of(DIGEST, "a" * 64, 0.6, 0.4))
    evidence = hear_reported(evidence, said, VERSIONS)
    assert not evidence.proven
    assert judge(evidence, VERSIONS, GATES).objection is not None


def test_a_device_whose_telemetry_tells_of_the_old_version_is_found_out() -> None:
    device = Device().run("1", 0).change()
    said = reported(DIGEST, proof=proof_of(DIGEST, "f" * 64))
    device.evidence = hear_reported(device.evidence, said, VERSIONS)
    device.run("1", 0, periods=4)
    assert device.objection() is None
    device.run("1", 0, periods=1)
    assert device.objection() is Gate.PROOF


def ota(state: UpdateState, reason: ReasonCode, *, sequence: int, digest: str = DIGEST) -> Ota:
    update = Update(model="digits", level=0, digest=digest, state=state, reason=reason)
    return Ota(boot=1, sequence=sequence, updates=(update,))


def test_an_update_that_the_version_itself_failed_speaks_against_it() -> None:
    failed = ota(UpdateState.ROLLED_BACK, ReasonCode.WARMUP_FAILED, sequence=3)
    evidence = hear_ota(tell(Evidence()), failed, VERSIONS)
    assert evidence.objection is not None
    assert evidence.objection.gate is Gate.UPDATE


@pytest.mark.parametrize(
    "said",
    [
        ota(UpdateState.FAILED, ReasonCode.CONNECTION_LOST, sequence=3),
        ota(UpdateState.SUPERSEDED, ReasonCode.SUPERSEDED, sequence=3),
        ota(
            UpdateState.FAILED,
            ReasonCode.LOAD_FAILED,
            sequence=3,
            digest=STABLE.levels[0].digest,
        ),
    ],
)
def test_a_broken_link_and_the_old_versions_failures_do_not(said: Ota) -> None:
    assert hear_ota(tell(Evidence()), said, VERSIONS).objection is None


def test_a_version_that_was_not_made_for_the_device_is_no_objection() -> None:
    """The refusal comes before the ladder is read, so it names no artifact."""
    update = Update(
        model="digits",
        level=0,
        state=UpdateState.REJECTED,
        reason=ReasonCode.UNSUPPORTED_HARDWARE,
    )
    said = Ota(boot=1, sequence=3, updates=(update,))
    evidence = hear_ota(tell(Evidence()), said, VERSIONS)
    assert evidence.is_unsuited
    assert evidence.objection is None
    assert not hear_ota(Evidence(), said, VERSIONS).is_unsuited


def test_a_failure_from_before_the_change_was_wanted_does_not_count() -> None:
    failed = ota(UpdateState.REJECTED, ReasonCode.LOAD_FAILED, sequence=3)
    evidence = tell(hear_ota(Evidence(), failed, VERSIONS))
    assert hear_ota(evidence, failed, VERSIONS).objection is None
    again = ota(UpdateState.REJECTED, ReasonCode.LOAD_FAILED, sequence=4)
    assert hear_ota(evidence, again, VERSIONS).objection is not None


def test_a_device_that_comes_back_without_a_proof_stays_proven_as_it_was() -> None:
    evidence = replace(tell(Evidence()), proven=True)
    after = hear_reported(evidence, reported(DIGEST, sequence=9), VERSIONS)
    assert after.proven
    assert after.objection is None


counts = st.integers(1, 2000).flatmap(
    lambda total: st.builds(Counted, st.integers(0, total), st.just(total))
)


@given(counts)
def test_an_interval_holds_the_share_and_lies_between_none_and_all(counted: Counted) -> None:
    low, high = interval(counted)
    assert 0.0 <= low <= counted.share + 1e-12
    assert counted.share - 1e-12 <= high <= 1.0


@given(counts, counts)
def test_the_least_fall_is_never_more_than_what_was_seen(one: Counted, two: Counted) -> None:
    assert least_fall(one, two) <= one.share - two.share + 1e-12


def test_equal_streams_hardly_ever_look_like_a_fall_however_often_one_looks() -> None:
    """One look after every 50 answers, 100 of them, on 400 pairs of equal streams."""
    chance = random.Random(5)
    false_alarms = 0
    for _ in range(400):
        device = Device(chance.randrange(10**9))
        before = Counted(sum(device.chance.random() < 0.9 for _ in range(300)), 300)
        right = total = 0
        for _ in range(100):
            right += sum(device.chance.random() < 0.9 for _ in range(50))
            total += 50
            after = Counted(right, total)
            fall = before.share - after.share
            if total >= 300 and fall > 0.05 and least_fall(before, after) > 0:
                false_alarms += 1
                break
    assert false_alarms <= 12


def test_what_the_manifests_say_is_warned_of_before_any_device_changes() -> None:
    worse = make_ladder([8.0, 12.5, 4.0, 2.0], [0.95, 0.93, 0.8, 0.8], version="2")
    less_accurate, slower = sorted(foresee(STABLE, worse, GATES), reverse=True)
    assert "level 2" in less_accurate
    assert "10.0 points less accurate" in less_accurate
    assert "2.1 times as slow" in slower
    assert foresee(STABLE, TARGET, GATES) == ()
