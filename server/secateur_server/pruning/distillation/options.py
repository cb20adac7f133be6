"""What a distillation is asked for, and what it tells of itself."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from secateur_server.errors import InputError
from secateur_server.pruning.graph import Graph

DEFAULT_STEPS = 300
MAX_STEPS = 1_000_000


class Augmentation(StrEnum):
    """What happens to inputs before both networks see them. No label can become wrong."""

    SHIFT = "shift"
    FLIP = "flip"
    MIX = "mix"


@dataclass(frozen=True, slots=True, kw_only=True)
class DistillOptions:
    """How to distill. All but the last two change the result.

    Attributes:
        steps: How many batches the student learns from.
        batch: Samples in each.
        step_size: How far a tensor goes in one step at most, as a share of its own size.
        warm_up: Share of the steps in which the step size grows from zero.
        average: How much of the running mean of the weights stays at each step; that mean
            is what is judged and returned.
        features: How much it counts what both networks compute on the way, where that is
            known to correspond; the outputs count 1.
        augment: ``None``: what suits the shape of the input.
        hold_back: Share of the samples that only judges.
        keep_zeros: Weights that are zero stay so.
        seed: The same seed gives the same result on the same machine.
        state_path: Where to write down, every so often, all that is needed to go on; what
            is there already is gone on with. ``None``: nowhere.
        stop: Asked before each step whether to end now, with the best so far.
    """

    steps: int = DEFAULT_STEPS
    batch: int = 64
    step_size: float = 1e-2
    warm_up: float = 0.05
    average: float = 0.99
    features: float = 1.0
    augment: frozenset[Augmentation] | None = None
    hold_back: float = 0.1
    keep_zeros: bool = False
    seed: int = 0
    state_path: Path | None = None
    stop: Callable[[], bool] = lambda: False

    def check(self) -> None:
        """Refuse what cannot be.

        Raises:
            InputError: Names the option.
        """
        if not 1 <= self.steps <= MAX_STEPS:
            raise InputError(f"distillation takes 1 to {MAX_STEPS} steps, not {self.steps}")
        if self.batch < 1 or not 0 < self.step_size < 1:
            raise InputError("a batch has at least 1 sample, a step size is between 0 and 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class DistillRequest:
    """That the levels of a ladder are to be distilled.

    Attributes:
        samples_path: An ``.npz`` with inputs; labels in it are not looked at.
        state_dir: Where each level's state is kept, so that the same command goes on where
            it was stopped. ``None``: nowhere.
    """

    samples_path: Path
    options: DistillOptions = field(default_factory=DistillOptions)
    state_dir: Path | None = None


@dataclass(frozen=True, slots=True)
class Judgement:
    """How close a student is to its teacher on the held-back samples.

    Attributes:
        loss: What is learned: 0 where the outputs are the same.
        agreement: Of a classifier: share of the samples with the same answer. Else the share
            of the variance of the teacher's outputs that is met. At most 1.
    """

    loss: float
    agreement: float


@dataclass(frozen=True, slots=True)
class Distilled:
    """What a distillation hands back.

    Attributes:
        graph: The best student seen, never a worse one than was given.
        before: Of the student as given.
        after: Of ``graph``.
        best_step: When it was seen; 0: nothing better than what was given.
        steps_done: As many as were asked for, unless stopped or lost.
        is_stopped: Whether it was asked to end, or interrupted.
        augment: What happened to the inputs, in words.
        history: The judgements on the way, by step.
    """

    graph: Graph
    before: Judgement
    after: Judgement
    best_step: int
    steps_done: int
    is_stopped: bool
    augment: str
    history: tuple[tuple[int, Judgement], ...]


Progress = Callable[[float, str], None]
"""Told the share that is done, 0 to 1, and where it stands, in words."""


def parse_augmentation(text: str) -> frozenset[Augmentation]:
    """Read ``none`` or words joined by plus signs.

    Raises:
        InputError: Names the word that is unknown.
    """
    words = [] if text == "none" else text.split("+")
    for word in words:
        if word not in list(Augmentation):
            known = ", ".join(Augmentation)
            raise InputError(f"augmentation {word!r} is none of none, {known}, joined by +")
    return frozenset(Augmentation(word) for word in words)
