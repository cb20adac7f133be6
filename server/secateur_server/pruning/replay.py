"""A stored plan, carried out again: the same model and samples give the same network."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from secateur_protocols.codec import first_problem
from secateur_server.errors import InputError
from secateur_server.pruning import weights
from secateur_server.pruning.bases import Base, shorten, whole
from secateur_server.pruning.blocks import Block
from secateur_server.pruning.channels import Channels
from secateur_server.pruning.plan import ChannelPlan, PruningPlan, staying
from secateur_server.pruning.task import Method, Pruned, Task

MAX_PLAN_BYTES = 64 << 20
"""A plan above this is refused unread."""

_PLAN: TypeAdapter[PruningPlan] = TypeAdapter(PruningPlan)


def read_plan(path: Path) -> PruningPlan:
    """Read a plan as ``prune`` wrote it beside a ladder.

    Raises:
        InputError: It is none.
    """
    try:
        content = path.read_bytes() if path.stat().st_size <= MAX_PLAN_BYTES else b""
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    try:
        return _PLAN.validate_json(content)
    except ValidationError as error:
        raise InputError(f"{path} is no pruning plan: {first_problem(error)}") from error


def replaying(plans: Sequence[PruningPlan]) -> Method:
    """Give a method that carries plans out, one level each."""

    def replay(task: Task) -> Iterator[Pruned]:
        for plan in plans:
            if isinstance(plan, ChannelPlan):
                yield _carry_out(task, plan)
            else:
                yield weights.replay(task, plan)

    return replay


def _carry_out(task: Task, plan: ChannelPlan) -> Pruned:
    """Take blocks and channels out as a plan says, and fit what stays.

    Raises:
        InputError: The plan was made for another model.
    """
    task.progress(1.0, f"reconstructing {plan.rule}")
    base = _base(task, plan)
    _check(base.channels, plan)
    after = base.fit(staying(plan, base.channels)).graph
    return Pruned(plan.rule, plan, base.source, base.graph, after)


def _base(task: Task, plan: ChannelPlan) -> Base:
    if not plan.blocks:
        return whole(task)
    graph = task.graph
    for each in plan.blocks:
        tensors, operators = len(graph.tensors), len(graph.operators)
        is_inside = 0 <= each.enters < tensors and 0 <= each.leaves < tensors
        if not is_inside or not all(0 <= k < operators for k in each.operators):
            raise InputError(f"the plan takes out block {each.name}, which is not there")
    blocks = [Block(each.enters, each.leaves, each.operators) for each in plan.blocks]
    return shorten(task, blocks)


def _check(channels: Channels, plan: ChannelPlan) -> None:
    sizes = {group.key: group.size for group in channels.groups if not group.frozen}
    for each in plan.groups:
        if sizes.get(each.group) != each.size:
            raise InputError(
                f"the plan narrows {each.size} channels of {each.name}, "
                "which this model does not have"
            )
        if not each.kept or not set(each.kept) <= set(range(each.size)):
            raise InputError(f"the plan keeps channels of {each.name} that are not there")
