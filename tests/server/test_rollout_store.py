"""Rollouts as they are kept, on both databases."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from secateur_protocols.rollout import Gate, RolloutPlan, RolloutState
from secateur_server.adapters.rollout_store import Change, Kept, RolloutStore
from secateur_server.adapters.store import Store
from secateur_server.core.evidence import Evidence, Mark, Objection, Sample
from secateur_server.core.rollout import Member, Rollout, Stand
from secateur_server.errors import RolloutConflictError
from support.ladders import reference


@pytest.fixture
def store(database_url: str) -> Iterator[RolloutStore]:
    opened = Store(database_url, "default")
    yield RolloutStore(opened)
    opened.close()


def rollout(name: str = "digits-1") -> Rollout:
    return Rollout(
        rollout=name,
        model="digits",
        stable=reference("1"),
        target=reference("2"),
        plan=RolloutPlan(waves=("2", "100%"), soak_s=12.5),
        state=RolloutState.PAUSED,
        reason="paused by an operator",
        wave=1,
        clock_s=0.1 + 0.2,
        seen_at_s=1_795_000_000.123456,
        started_at_s=1_794_000_000.0,
    )


MEMBERS = {
    "d-1": Member(wave=0, hardware_class="pi-4", stand=Stand.GOOD, since_s=1 / 3),
    "d-2": Member(
        wave=1,
        hardware_class="",
        stand=Stand.BAD,
        since_s=7.0,
        objection=Objection(Gate.P95, "level 0: p95 20 ms"),
        is_back=False,
    ),
}
SAMPLE = Sample(p95_ms=(1.1, 2.2), available_bytes=(7,), total_bytes=9, answered=3)
EVIDENCE = {
    "d-1": Evidence(
        is_told=True,
        baseline={0: SAMPLE, 3: Sample(labelled=4, correct=2)},
        candidate={0: SAMPLE},
        level=0,
        mark=Mark(1, 2, "f" * 64, 3, 4, 5),
        proven=True,
        ota_order=(1, 7),
    ),
    "d-2": Evidence(objection=Objection(Gate.PROOF, "says otherwise")),
}
ALL = {name: (MEMBERS[name], EVIDENCE[name]) for name in MEMBERS}


def test_what_is_saved_is_read_again_to_the_last_bit(store: RolloutStore) -> None:
    whole = replace(rollout(), members=MEMBERS)
    version = store.save(0, [Change(whole, ALL)])
    assert store.load() == (version, {"digits-1": Kept(whole, EVIDENCE)})


def test_who_has_not_read_the_newest_writes_nothing(store: RolloutStore) -> None:
    version = store.save(0, [Change(rollout())])
    halted = replace(rollout(), state=RolloutState.HALTED)
    store.save(version, [Change(halted)])
    for stale in (0, version):
        with pytest.raises(RolloutConflictError):
            store.save(stale, [Change(rollout(), ALL, promoted="2")])
    _, kept = store.load()
    assert kept["digits-1"].rollout == halted
    assert store.stable_versions() == {}


def test_clock_and_evidence_are_no_news_for_others(store: RolloutStore) -> None:
    version = store.save(0, [Change(rollout(), ALL)])
    later = replace(rollout(), clock_s=99.0)
    assert store.save(version, [Change(later, is_news=False)]) == version
    assert store.version() == version
    _, kept = store.load()
    assert kept["digits-1"].rollout == replace(later, members=MEMBERS)


def test_the_end_of_a_rollout_and_the_stable_version_are_one_write(store: RolloutStore) -> None:
    store.begin_stable("digits", "1")
    store.begin_stable("digits", "7")  # it has begun: nothing changes
    assert store.stable_versions() == {"digits": "1"}
    store.save(0, [Change(rollout(), promoted="2")])
    assert store.stable_versions() == {"digits": "2"}


def test_a_forgotten_rollout_leaves_nothing(store: RolloutStore) -> None:
    version = store.save(0, [Change(rollout(), ALL), Change(rollout("digits-2"))])
    store.forget(version, "digits-1")
    _, kept = store.load()
    assert set(kept) == {"digits-2"}
