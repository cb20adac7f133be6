"""The method ``layer``: whole blocks leave, each time the one that is missed least."""

from collections.abc import Iterator

from secateur_server.errors import NothingToDoError
from secateur_server.pruning.bases import Base, shortened
from secateur_server.pruning.blocks import find_blocks
from secateur_server.pruning.narrowing import everything
from secateur_server.pruning.plan import ChannelPlan
from secateur_server.pruning.task import Pruned, Task

SAMPLES = 128
"""On how many samples each network is tried."""

MOST_RATIO = 0.5
"""Share of the blocks that the narrowest level loses, where nothing else is asked for."""


def layer(task: Task) -> Iterator[Pruned]:
    """Take out blocks whose input can stand in for their output."""
    options = task.options
    most = options.count or options.share(MOST_RATIO, "layer") * len(find_blocks(task.graph))
    steps = sorted({max(1, round(amount)) for amount in options.spread(most)})
    last: Base | None = None
    for count, (last, _divergence) in enumerate(shortened(task, SAMPLES), start=1):
        if count in steps:
            yield _prune(task, last)
        if count == steps[-1]:
            return
    if last is None:
        raise NothingToDoError(f"{task.source.path} has no block that a shortcut can replace")
    if len(last.blocks) not in steps:  # no more of them can leave together
        yield _prune(task, last)


def _prune(task: Task, base: Base) -> Pruned:
    rule = f"layer count={len(base.blocks)}"
    task.progress(1.0, f"reconstructing {rule}")
    plan = ChannelPlan(rule=rule, blocks=base.block_plans(), groups=())
    after = base.fit(everything(base.channels)).graph
    return Pruned(rule, plan, base.source, base.graph, after)
