"""Desired state follows from what is known, and changes only where it must."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secateur_protocols.control import PolicyChange
from secateur_protocols.manifest import Ladder, Requirements
from secateur_protocols.state import LadderRef, Reported
from secateur_server.core.context import Context, Published
from secateur_server.core.coordinator import plan
from secateur_server.core.fleet import DeviceState, hear
from secateur_server.core.policy import Policies, Scope, change_policy
from support.situations import digest_of, make_info, make_ladder, make_measured, make_telemetry

URL = "http://artifacts/blobs"


def publish(ladder: Ladder) -> Published:
    document = ladder.model_dump_json().encode()
    ref = LadderRef(
        version=ladder.version, digest=digest_of(document), size_bytes=len(document)
    )
    return Published(ref, ladder)


def make_context(*ladders: Ladder, policies: Policies | None = None) -> Context:
    published = {ladder.model: publish(ladder) for ladder in ladders}
    return Context(published, policies or Policies(), URL)


LADDER = make_ladder()
CONTEXT = make_context(LADDER)
latencies_ms = st.lists(st.floats(0.01, 100.0), min_size=1, max_size=6)
telemetries = st.builds(
    lambda level, recent_ms, sequence: make_telemetry(
        make_measured(LADDER, level, recent_ms), sequence=sequence
    ),
    st.integers(0, 3),
    latencies_ms,
    st.integers(0, 100),
)


def test_a_device_without_a_birth_wants_nothing() -> None:
    state = hear(DeviceState("d"), make_telemetry(make_measured(LADDER, 3, [1.0])))
    assert plan(state, CONTEXT) is state


def test_a_model_that_nobody_published_is_left_alone() -> None:
    state = hear(DeviceState("d"), make_info(models=("nobody-knows",)))
    assert plan(state, CONTEXT) is state


@given(telemetries)
def test_planning_twice_is_as_good_as_once(telemetry: object) -> None:
    state = hear(hear(DeviceState("d"), make_info()), telemetry)  # type: ignore[arg-type]
    planned = plan(state, CONTEXT)
    assert plan(planned, CONTEXT) is planned


@given(st.lists(telemetries, max_size=10), st.integers(0, 50))
def test_w4_revisions_only_grow_and_grow_with_every_change(
    history: list[object], reported_revision: int
) -> None:
    reported = Reported(boot=1, sequence=0, revision=reported_revision, models=())
    state = hear(hear(DeviceState("d"), make_info()), reported)
    for telemetry in history:
        before = state
        state = plan(hear(state, telemetry), CONTEXT)  # type: ignore[arg-type]
        if before.desired is None:
            continue
        assert state.desired is not None
        changed = state.desired != before.desired
        assert state.desired.revision == before.desired.revision + changed
    if state.desired is not None:
        assert state.desired.revision > reported_revision


def test_another_version_of_the_model_begins_anew() -> None:
    state = plan(hear(DeviceState("d"), make_info()), CONTEXT)
    assert state.desired is not None
    newer = make_context(make_ladder(version="2"))
    after = plan(state, newer)
    assert after.desired is not None
    assert after.desired.revision == state.desired.revision + 1
    assert after.desired.models[0].ladder.version == "2"


def test_telemetry_of_an_earlier_life_is_not_believed() -> None:
    state = hear(DeviceState("d"), make_info(boot=1))
    state = hear(state, make_telemetry(make_measured(LADDER, 3, [0.1] * 6), boot=1))
    reborn = hear(state, make_info(boot=2))._replace(desired=None)
    planned = plan(reborn, CONTEXT)
    assert planned.desired is not None
    assert planned.desired.models[0].level == 3


def test_a_pin_of_one_model_leaves_the_others_to_the_planner() -> None:
    pin = PolicyChange(pinned_level=1)
    policies = change_policy(Policies(), Scope("d", "kws"), pin, is_cleared=False)
    context = make_context(LADDER, make_ladder(model="kws"), policies=policies)
    state = plan(hear(DeviceState("d"), make_info(models=("digits", "kws"))), context)
    assert state.desired is not None
    assert [wish.level for wish in state.desired.models] == [3, 1]


@pytest.mark.parametrize(
    ("requires", "is_met"),
    [
        (Requirements(), True),
        (Requirements(machines=("aarch64", "x86_64"), engine="e"), True),
        (Requirements(machines=("x86_64",)), False),
        (Requirements(engine="another"), False),
        (Requirements(engine_version="1.0"), False),
        (Requirements(engine_version="0.9.12"), True),
    ],
)
def test_a_level_is_chosen_only_for_devices_that_meet_what_it_requires(
    requires: Requirements,
    is_met: bool,  # noqa: FBT001 - what is expected
) -> None:
    narrowest = LADDER.levels[3].model_copy(update={"requires": requires})
    ladder = LADDER.model_copy(update={"levels": (*LADDER.levels[:3], narrowest)})
    state = plan(hear(DeviceState("d"), make_info()), make_context(ladder))
    assert state.desired is not None
    assert state.desired.models[0].level == (3 if is_met else 2)
