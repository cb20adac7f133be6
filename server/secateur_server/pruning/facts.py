"""What there is to know of a model before it is pruned: counted, followed and measured."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from secateur_server.pruning.allocation import Curve

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorFacts:
    """One operator.

    Attributes:
        input: Shape of its first computed input; empty: it has none.
        macs: Multiply-accumulates of one inference.
        parameters: Weights and biases.
        bytes: Of its constants as they are stored; what several share counts once.
        latency_ms: Of the operator alone in the engine. ``None``: it does not run alone.
        can_shrink: Whether channels at its input or its output may leave.
        held_by: Why none may; empty: some may, or it has no weights.
    """

    index: int
    kind: str
    input: Shape
    output: Shape
    macs: int
    parameters: int
    bytes: int
    latency_ms: float | None = None
    can_shrink: bool = False
    held_by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupFacts:
    """Channels that leave together.

    Attributes:
        producers: Linear operators that make them, by index.
        consumers: Linear operators that read them.
        is_free: Whether the structured methods narrow it.
        frozen: Why no channel may leave; empty: some may.
        macs: Of the operators that make or read them, and so of what narrowing reaches.
        latency_ms: Of the same. ``None``: not measured.
        curve: What is lost at each width; ``None``: no calibration set was given.
    """

    name: str
    size: int
    producers: tuple[int, ...] = ()
    consumers: tuple[int, ...] = ()
    is_free: bool = False
    frozen: str = ""
    macs: int = 0
    latency_ms: float | None = None
    curve: Curve | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """What is left when every free group keeps about the same share of its channels.

    Attributes:
        share: Of the channels; each group has the nearest width that methods may choose.
        macs_ratio: Of the dense network's.
        bytes_ratio: Of the bytes of its constants.
        latency_ratio: Of its operators' latencies, measured at these widths. ``None``: not
            measured.
    """

    share: float
    macs_ratio: float
    bytes_ratio: float
    latency_ratio: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Travel:
    """How many bytes a link carries, and what zeros would make of that and of the file.

    Attributes:
        bytes: Of the file as it is, compressed.
        zeros: Share of the weights that is zero already.
        sparsity: Share of each operator's weights that was set to zero to see.
        zeroed_bytes: Compressed after that.
        sparse_bytes: Of the file after that, uncompressed, its weights stored sparsely where
            that makes it smaller.
    """

    bytes: int
    zeros: float
    sparsity: float
    zeroed_bytes: int
    sparse_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SparseKernels:
    """Whether kernels that skip zeros would take the graph, where they are switched on.

    Attributes:
        obstacles: What is in the way, in words.
        is_rewritable: Whether the pruner's rewrites take all of it out of the way.
    """

    obstacles: tuple[str, ...]
    is_rewritable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Where and how latencies were measured.

    Attributes:
        p50_ms: Of the whole network, median.
    """

    engine: str
    machine: str
    threads: int
    p50_ms: float
    p95_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class NotFollowed:
    """An operator whose channels cannot be followed."""

    operator: str
    index: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All of it.

    Attributes:
        name: Of the file.
        bytes: Of the file.
        subgraphs: In the file; the first is the network.
        refusal: Why the engine does not run it; empty: it does.
        timing: ``None``: the engine does not run it.
        peak_memory_bytes: Resident memory that loading and running it once added.
        activation_bytes: The most that tensors between operators take at a time, if each
            held real numbers of four bytes.
        calibration_samples: That curves are from; 0: none were given.
        reach: By share, the widest first; empty: nothing may leave.
    """

    name: str
    bytes: int
    macs: int
    parameters: int
    precision: str
    subgraphs: int
    operators: tuple[OperatorFacts, ...]
    groups: tuple[GroupFacts, ...]
    not_followed: tuple[NotFollowed, ...] = ()
    refusal: str = ""
    timing: Timing | None = None
    peak_memory_bytes: int | None = None
    activation_bytes: int = 0
    travel: Travel | None = None
    sparse_kernels: SparseKernels | None = None
    calibration_samples: int = 0
    reach: tuple[Reach, ...] = ()

    @property
    def weight_bytes(self) -> int:
        """Sum the bytes of all constants."""
        return sum(each.bytes for each in self.operators)

    @property
    def operators_ms(self) -> float:
        """Sum the latencies of the operators that run alone."""
        return sum(each.latency_ms or 0.0 for each in self.operators)

    @property
    def free_groups(self) -> tuple[GroupFacts, ...]:
        """Give those that the structured methods narrow."""
        return tuple(each for each in self.groups if each.is_free)

    @property
    def shrinking_macs_share(self) -> float:
        """Give the share of the multiply-accumulates in operators that may shrink."""
        return _share(self.operators, lambda each: each.macs)

    @property
    def shrinking_bytes_share(self) -> float:
        """Give the share of the constants' bytes in operators that may shrink."""
        return _share(self.operators, lambda each: each.bytes)

    @property
    def shrinking_latency_share(self) -> float:
        """Give the share of the operators' measured latency in those that may shrink."""
        return _share(self.operators, lambda each: each.latency_ms or 0.0)

    def reach_at(self, share: float) -> Reach | None:
        """Give what is left at one of the shares."""
        return next((each for each in self.reach if each.share == share), None)


def _share(
    operators: Iterable[OperatorFacts], weight_of: Callable[[OperatorFacts], float]
) -> float:
    every = [(weight_of(each), each.can_shrink) for each in operators]
    total = sum(weight for weight, _ in every)
    return sum(weight for weight, can_shrink in every if can_shrink) / total if total else 0.0
