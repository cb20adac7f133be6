"""What is advised follows from the facts: examples, and rules for any facts."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secateur_server.pruning.advice import Ease, advise, ease_of
from secateur_server.pruning.allocation import Curve
from secateur_server.pruning.facts import (
    Facts,
    GroupFacts,
    NotFollowed,
    OperatorFacts,
    Reach,
    SparseKernels,
    Timing,
    Travel,
)
from secateur_server.pruning.shortages import LITTLE, Recommendation, Shortage

WEIGHT_METHODS = {"absolute", "relative", "magnitude"}
ENGINE = "some-engine 1.2"

ratios = st.floats(0.0, 1.0)
sizes = st.integers(0, 10**9)
timings = st.builds(
    Timing,
    engine=st.just(ENGINE),
    machine=st.just("armv7l"),
    threads=st.integers(1, 8),
    p50_ms=st.floats(1e-3, 1e4),
    p95_ms=st.floats(1e-3, 1e4),
)


curves = st.sampled_from([Curve((2, 4), (0.5, 0.0)), Curve((8,), (0.0,))])

operators = st.builds(
    OperatorFacts,
    index=st.integers(0, 99),
    kind=st.sampled_from(["CONV_2D", "ADD", "CUSTOM <Odd>"]),
    input=st.just((1, 8)),
    output=st.just((1, 8)),
    macs=sizes,
    parameters=sizes,
    bytes=sizes,
    latency_ms=st.none() | st.floats(1e-4, 1e3),
    can_shrink=st.booleans(),
    held_by=st.sampled_from(["", "network input or output"]),
)


groups = st.builds(
    GroupFacts,
    name=st.sampled_from(["relu;fused", "conv"]),
    size=st.integers(1, 512),
    is_free=st.booleans(),
    curve=st.none() | curves,
)


@st.composite
def facts(draw: st.DrawFn) -> Facts:
    """Draw facts that could be true of a model: nothing free, nothing to reach."""
    held = tuple(draw(st.lists(groups, max_size=3)))
    is_run = draw(st.booleans())
    half = st.builds(
        Reach,
        share=st.just(0.5),
        macs_ratio=ratios,
        bytes_ratio=ratios,
        latency_ratio=ratios if is_run else st.none(),
    )
    is_any_free = any(each.is_free for each in held)
    travel = st.builds(
        Travel,
        bytes=sizes,
        zeros=ratios,
        sparsity=st.just(0.5),
        zeroed_bytes=sizes,
        sparse_bytes=sizes,
    )
    return Facts(
        name="some.tflite",
        bytes=draw(sizes),
        macs=draw(sizes),
        parameters=draw(sizes),
        precision="float32",
        subgraphs=1,
        operators=tuple(draw(st.lists(operators, max_size=3))),
        groups=held,
        not_followed=(NotFollowed(operator="SVDF", index=1, reason="not known"),),
        refusal="" if is_run else "an operator is missing",
        timing=draw(timings) if is_run else None,
        peak_memory_bytes=draw(st.none() | sizes),
        activation_bytes=draw(sizes),
        travel=draw(travel) if is_run else None,
        reach=(draw(half),) if is_any_free else (),
    )


def by_shortage(some: Facts) -> dict[Shortage, Recommendation]:
    return {each.shortage: each for each in advise(some).recommendations}


@given(facts())
def test_every_shortage_is_answered_once_and_with_a_reason(some: Facts) -> None:
    answers = advise(some).recommendations
    assert [each.shortage for each in answers] == list(Shortage)
    assert all(each.reasons and all(each.reasons) for each in answers)
    assert all((each.method is None) == (not each.options) for each in answers)


@given(facts())
def test_weight_pruning_is_never_advised_for_latency_or_memory(some: Facts) -> None:
    answers = by_shortage(some)
    assert answers[Shortage.LATENCY].method not in WEIGHT_METHODS
    assert answers[Shortage.MEMORY].method not in WEIGHT_METHODS


@given(facts())
def test_where_no_channel_may_leave_no_structured_method_is_advised(some: Facts) -> None:
    if not some.free_groups:
        assert ease_of(some) is Ease.NOT_AT_ALL
        assert {each.method for each in advise(some).recommendations} <= {None, "magnitude"}


@given(facts())
def test_a_latency_that_was_measured_is_told_with_its_engine(some: Facts) -> None:
    (half,) = some.reach or (None,)
    told = " ".join(by_shortage(some)[Shortage.LATENCY].reasons)
    if half is not None and half.latency_ratio is not None:
        assert ENGINE in told
    else:
        assert "easured on" not in told


@given(facts())
def test_what_was_measured_to_help_little_is_not_advised(some: Facts) -> None:
    answers = by_shortage(some)
    for half in some.reach:
        if half.latency_ratio is not None:
            is_advised = answers[Shortage.LATENCY].method is not None
            assert is_advised == (half.latency_ratio <= LITTLE)
    travel = some.travel
    if travel is not None and travel.zeroed_bytes > LITTLE * travel.bytes:
        assert answers[Shortage.LINK].method != "magnitude"
    if travel is not None and travel.sparse_bytes > LITTLE * some.bytes:
        assert answers[Shortage.DISK].method != "magnitude"


@given(facts())
def test_a_proposed_budget_can_be_met_with_half_of_the_channels(some: Facts) -> None:
    for each in advise(some).recommendations:
        if each.method != "network":
            continue
        resource, share = each.options.split()[-1].split("=")
        (half,) = some.reach
        assert float(share) >= min(getattr(half, f"{resource}_ratio"), 0.95)
        assert 0 < float(share) < 1


@given(facts(), st.integers(0, 2))
def test_a_model_of_which_more_may_shrink_does_not_prune_less_easily(
    some: Facts, at: int
) -> None:
    order = [Ease.NOT_AT_ALL, Ease.HARDLY, Ease.PARTLY, Ease.EASILY]
    if at < len(some.operators):
        freed = dataclasses.replace(some.operators[at], can_shrink=True)
        more = (*some.operators[:at], freed, *some.operators[at + 1 :])
        other = dataclasses.replace(some, operators=more)
        assert order.index(ease_of(other)) >= order.index(ease_of(some))


def held_and_free(**changed: object) -> Facts:
    """A model of 100 MACs of which 60 may shrink."""
    free = OperatorFacts(
        index=0,
        kind="CONV_2D",
        input=(1, 4),
        output=(1, 8),
        macs=60,
        parameters=60,
        bytes=600_000,
        latency_ms=3.0,
        can_shrink=True,
    )
    held = dataclasses.replace(
        free, index=1, macs=40, can_shrink=False, held_by="SVDF #1: not known", latency_ms=1.0
    )
    some = Facts(
        name="some.tflite",
        bytes=1_300_000,
        macs=100,
        parameters=120,
        precision="float32",
        subgraphs=1,
        operators=(free, held),
        groups=(GroupFacts(name="a", size=8, is_free=True), GroupFacts(name="b", size=4)),
        timing=Timing(engine=ENGINE, machine="armv7l", threads=1, p50_ms=4.0, p95_ms=5.0),
        peak_memory_bytes=2_000_000,
        activation_bytes=10_000,
        travel=Travel(
            bytes=1_000_000,
            zeros=0.0,
            sparsity=0.5,
            zeroed_bytes=600_000,
            sparse_bytes=1_250_000,
        ),
        reach=(Reach(share=0.5, macs_ratio=0.7, bytes_ratio=0.75, latency_ratio=0.62),),
    )
    return dataclasses.replace(some, **changed)  # type: ignore[arg-type] # by field name


def test_a_model_with_large_weights_is_told_a_method_for_each_shortage() -> None:
    answers = by_shortage(held_and_free())
    assert answers[Shortage.LATENCY].options == "--method network --budget latency=0.65"
    assert answers[Shortage.MEMORY].options == "--method network --budget bytes=0.75"
    assert answers[Shortage.LINK].options == "--method magnitude --sparsity 0.5"
    assert answers[Shortage.DISK].options == "--method network --budget bytes=0.75"


def test_what_holds_channels_is_named_with_its_share() -> None:
    advice = advise(held_and_free())
    assert advice.ease is Ease.PARTLY
    assert "CONV_2D #1 stays (40% of the MACs): SVDF #1: not known." in advice.reasons


def test_large_activations_ask_for_a_budget_of_macs() -> None:
    memory = by_shortage(held_and_free(activation_bytes=5_000_000))[Shortage.MEMORY]
    assert memory.options == "--method network --budget macs=0.7"


def test_memory_that_is_the_engines_own_is_not_promised_away() -> None:
    memory = by_shortage(held_and_free(peak_memory_bytes=90_000_000))[Shortage.MEMORY]
    assert memory.method is None
    assert "engine's own" in " ".join(memory.reasons)


@pytest.mark.parametrize("latency_ratio", [0.91, 1.0])
def test_an_engine_that_narrow_operators_do_not_make_faster_is_named(
    latency_ratio: float,
) -> None:
    reach = Reach(share=0.5, macs_ratio=0.3, bytes_ratio=0.3, latency_ratio=latency_ratio)
    latency = by_shortage(held_and_free(reach=(reach,)))[Shortage.LATENCY]
    assert latency.method is None
    assert ENGINE in latency.reasons[0]


def test_the_groups_that_are_missed_least_and_most_are_named() -> None:
    soft, hard = Curve((4, 8), (0.01, 0.0)), Curve((4, 8), (0.5, 0.0))
    told = " ".join(
        advise(
            held_and_free(
                groups=(
                    GroupFacts(name="soft;fused", size=8, is_free=True, curve=soft),
                    GroupFacts(name="hard", size=8, is_free=True, curve=hard),
                ),
                calibration_samples=77,
            )
        ).reasons
    )
    assert "soft loses least (1.0%" in told
    assert "hard most (50.0%)" in told
    assert "77 samples" in told


def test_zeros_are_for_the_disk_where_storing_them_sparsely_pays() -> None:
    small = Travel(
        bytes=1_000_000, zeros=0.0, sparsity=0.5, zeroed_bytes=600_000, sparse_bytes=800_000
    )
    disk = by_shortage(held_and_free(travel=small))[Shortage.DISK]
    assert disk.options == "--method magnitude --sparsity 0.5"
    assert "800 kB (measured)" in " ".join(disk.reasons)


def test_zeros_are_said_to_help_only_where_kernels_might_take_the_graph() -> None:
    def told(kernels: SparseKernels) -> str:
        answer = by_shortage(held_and_free(sparse_kernels=kernels))[Shortage.LATENCY]
        assert answer.method == "network"
        return answer.reasons[-1]

    fits = SparseKernels(obstacles=(), is_rewritable=True)
    near = SparseKernels(obstacles=("MEAN #3: odd",), is_rewritable=True)
    far = SparseKernels(obstacles=("CONV_2D #0: not float",), is_rewritable=False)
    assert "measure it there" in told(fits)
    assert "--rewrite sparse-stem" in told(near)
    assert told(far).endswith("elsewhere: CONV_2D #0: not float.")


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_int8_levels_are_proposed_for_float32_models_only(precision: str) -> None:
    latency = by_shortage(held_and_free(precision=precision))[Shortage.LATENCY]
    assert ("--precision" in " ".join(latency.reasons)) == (precision == "float32")
