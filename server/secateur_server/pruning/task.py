"""What a pruning method is given, and what it gives back.

A method is a function from a `Task` to pruned networks, widest first. Third parties add
their own by an entry point in the group `secateur.pruners`, whose name is the method's.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np

from secateur_server.errors import InputError
from secateur_server.pruning.allocation import Curve
from secateur_server.pruning.budget import Budget
from secateur_server.pruning.channels import Channels, find_channels
from secateur_server.pruning.execution import live_bytes
from secateur_server.pruning.flatbuffer import Source
from secateur_server.pruning.graph import Graph
from secateur_server.pruning.plan import PruningPlan
from secateur_server.pruning.rules import RULES
from secateur_server.pruning.saliency import Saliency
from secateur_server.pruning.sparse.rewrites import Rewriting
from secateur_server.pruning.sparse.twins import Storing
from secateur_server.pruning.teacher import Feeds, Teacher, listen
from secateur_server.pruning.weight.choice import Scope

MAX_ACTIVATION_BYTES = 2**30
"""Of the calibration set's activations that are held at a time: of more, fewer samples are
used."""

DEFAULT_LEVELS = 5
"""Of a ladder, where neither an amount nor a number of levels is asked for."""

Progress = Callable[[float, str], None]
"""Told the share that is done, 0 to 1, and what comes next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a user may ask of a method.

    Attributes:
        amount: The threshold, sparsity or ratio. ``None``: the method spreads its own
            choice over the levels.
        count: Of ``layer``: blocks that the narrowest level loses. ``None``: a share.
        budget: Of ``network``.
        levels: Of the ladder, the dense one included.
        saliency: How channels are ranked.
        search: Networks tried per level. ``None``: as many as are quick.
        threads: Of the engine, where latency is measured.
        seed: Of whatever is chosen by chance.
        scope: Among which weights ``magnitude`` shares its sparsity out.
        correct: Whether weights that stay make up for those that became zero.
        rewrite: What may be done to a model before its weights are pruned.
        storing: How a model with many zeros is stored.
        is_distilled: Whether the networks are distilled after they are reconstructed.
    """

    amount: float | None = None
    count: int | None = None
    budget: Budget | None = None
    levels: int = DEFAULT_LEVELS
    saliency: Saliency = Saliency.OBS
    search: int | None = None
    threads: int = 1
    seed: int = 0
    scope: Scope = Scope.NETWORK
    correct: bool = True
    rewrite: Rewriting = Rewriting.NONE
    storing: Storing = Storing.AUTO
    is_distilled: bool = False

    def share(self, default: float, method: str) -> float:
        """Give the amount, or the default; either is a share.

        Raises:
            InputError: It is none.
        """
        amount = default if self.amount is None else self.amount
        if not 0 < amount < 1:
            raise InputError(f"{method} takes a number above 0 and below 1")
        return amount

    def spread(self, most: float) -> list[float]:
        """Give an amount for each narrower level, evenly up to the most."""
        count = self.levels - 1
        return [most * step / count for step in range(1, count + 1)]


@dataclass(frozen=True, slots=True)
class Pruned:
    """One narrower network.

    Attributes:
        rule: Method and amount, in words.
        plan: What left, as data.
        source: The file that ``before`` was read from.
        before: The network as in ``source``.
        after: What becomes of it.
        storing: How it is stored.
    """

    rule: str
    plan: PruningPlan
    source: Source
    before: Graph
    after: Graph
    storing: Storing = Storing.DENSE


@dataclass(frozen=True, kw_only=True)
class Task:
    """One network to prune.

    Attributes:
        feeds: The calibration set, real numbers or codes by input tensor, [n, *shape].
        curves: By a group's name what it loses at each width: filled in by methods that
            rank groups, for the report.
        left_out: By what was asked for, why it is not given as asked: filled in by
            methods, told to the user.
    """

    source: Source
    graph: Graph
    feeds: Feeds
    options: Options
    progress: Progress = field(default=lambda _share, _what: None)
    curves: dict[str, Curve] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    @cached_property
    def channels(self) -> Channels:
        """Say which channels must go together."""
        return find_channels(self.graph, RULES)

    @cached_property
    def teacher(self) -> Teacher:
        """Run the original network over the calibration set; of too much, over a part."""
        most = max(1, MAX_ACTIVATION_BYTES // live_bytes(self.graph))
        feeds = {tensor: values[:most] for tensor, values in self.feeds.items()}
        return listen(
            self.graph,
            self.channels,
            feeds,
            lambda share: self.progress(share, "running the calibration set"),
        )

    @property
    def random(self) -> np.random.Generator:
        """Give chance that is the same for the same seed."""
        return np.random.default_rng(self.options.seed)


class Method(Protocol):
    """A way to prune."""

    def __call__(self, task: Task) -> Iterable[Pruned]:
        """Give narrower networks, the widest first.

        Raises:
            NothingToDoError: Nothing of this network may leave.
            InputError: The options make no sense for this network.
        """
