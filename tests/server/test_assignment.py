"""What is remembered of a device's assignment is never older than what it follows from."""

from collections.abc import Callable
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from secateur_protocols.control import PolicyChange
from secateur_protocols.ota import ReasonCode
from secateur_protocols.state import LadderRef, Refusal, Reported, ReportedModel
from secateur_server.core.assignment import assignment_of
from secateur_server.core.context import Context, Published
from secateur_server.core.coordinator import plan
from secateur_server.core.fleet import DeviceState, hear
from secateur_server.core.policy import Policies, Scope, change_policy
from support.situations import digest_of, make_info, make_ladder, make_measured, make_telemetry

LADDER = make_ladder()


def publish(version: str) -> Published:
    ref = LadderRef(version=version, digest=digest_of(version.encode()), size_bytes=1)
    return Published(ref, make_ladder(version=version))


VERSIONS = [publish("1"), publish("2")]
CONTEXT = Context({"digits": VERSIONS[0]}, Policies(), "http://one/blobs")


class World:
    """One device, and the context that remembers its assignment."""

    def __init__(self) -> None:
        self.context = replace(CONTEXT, assignments={})
        self.state = hear(DeviceState("d"), make_info())
        self.sequence = 0


Step = Callable[[World], None]
levels = st.integers(0, 3)


def measure(level: int, p95_ms: float) -> Step:
    def step(world: World) -> None:
        measured = make_measured(LADDER, level, [p95_ms] * 4)
        world.state = hear(world.state, make_telemetry(measured, sequence=world.sequence))

    return step


def report(stepped_to: int | None, refused: int) -> Step:
    manifest = LADDER.levels[stepped_to or 0]
    model = ReportedModel(
        model="digits",
        version="1",
        level=manifest.level,
        digest=manifest.digest,
        stepped_down=None if stepped_to is None else ReasonCode.SLO_TEMPERATURE,
    )
    refusals = tuple(Refusal(digest=each.digest, count=3) for each in LADDER.levels[:refused])

    def step(world: World) -> None:
        desired = world.state.desired
        said = Reported(
            boot=1,
            sequence=world.sequence,
            revision=desired.revision if desired else 0,
            models=(model,),
            refusals=refusals,
        )
        world.state = hear(world.state, said)

    return step


def be_born(models: tuple[str, ...]) -> Step:
    def step(world: World) -> None:
        world.state = hear(world.state, make_info(models=models))

    return step


def pin(level: int | None) -> Step:
    change = PolicyChange(pinned_level=level)

    def step(world: World) -> None:
        policies = change_policy(
            world.context.policies, Scope("d", "digits"), change, is_cleared=True
        )
        world.context = replace(world.context, policies=policies)

    return step


def change(**what: object) -> Step:
    def step(world: World) -> None:
        world.context = replace(world.context, **what)  # type: ignore[arg-type]

    return step


steps = st.one_of(
    st.builds(measure, levels, st.floats(0.5, 30.0)),
    st.builds(report, st.none() | levels, levels),
    st.builds(be_born, st.sampled_from([("digits",), ("digits", "kws"), ("kws",)])),
    st.builds(pin, st.none() | levels),
    st.sampled_from(VERSIONS).map(lambda each: change(published={"digits": each})),
    st.sampled_from(VERSIONS).map(lambda each: change(moved={"digits": {"d": each}})),
    st.sampled_from(["http://one/blobs", "http://other/blobs"]).map(
        lambda url: change(artifacts_url=url)
    ),
)


@given(st.lists(steps, max_size=15))
def test_what_is_remembered_is_what_would_be_found(history: list[Step]) -> None:
    world = World()
    for step in history:
        world.sequence += 1
        step(world)
        afresh = plan(world.state, replace(world.context, assignments={}))
        world.state = plan(world.state, world.context)
        assert world.state.desired == afresh.desired


def test_telemetry_changes_nothing_that_is_remembered() -> None:
    context = replace(CONTEXT, assignments={})
    info = make_info()
    state = plan(hear(DeviceState("d"), info), context)
    known = assignment_of(state, info, context)
    state = hear(state, make_telemetry(make_measured(LADDER, 3, [1.0] * 4), sequence=1))
    assert assignment_of(state, info, context) is known
