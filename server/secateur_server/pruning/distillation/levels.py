"""Distills the levels of a ladder, one after the other, between pruning and measuring."""

from dataclasses import replace

from secateur_server.pruning.distillation.features import Feature, find_features
from secateur_server.pruning.distillation.options import DistillRequest
from secateur_server.pruning.distillation.record import DistillationRecord
from secateur_server.pruning.distillation.training import check, distill
from secateur_server.pruning.narrowing import everything
from secateur_server.pruning.plan import ChannelPlan, staying
from secateur_server.pruning.samples import Samples
from secateur_server.pruning.task import Pruned, Task
from secateur_server.pruning.weight.cut import WeightPlan


class Distiller:
    """Distills one level after the other, until it is stopped.

    Raises:
        InputError: The network has an operator that distillation does not know; raised
            before anything is pruned.
    """

    def __init__(self, request: DistillRequest, task: Task, samples: Samples) -> None:
        request.options.check()
        check(task.graph)
        self._request, self._task, self._samples = request, task, samples
        self._is_stopped = False

    def __call__(self, pruned: Pruned, level: int) -> Pruned:
        """Give a level with what it has learned; once stopped, as it is."""
        if self._is_stopped:
            return pruned
        options = replace(self._request.options, keep_zeros=isinstance(pruned.plan, WeightPlan))
        if self._request.state_dir is not None:
            options = replace(
                options, state_path=self._request.state_dir / f"level-{level}.npz"
            )
        task = self._task
        done = distill(
            task.graph,
            pruned.after,
            self._samples.inputs,
            options,
            features=self._features(pruned),
            progress=lambda share, words: task.progress(share, f"level {level}: {words}"),
        )
        self._is_stopped = done.is_stopped
        record = DistillationRecord(
            samples=len(self._samples),
            steps=done.steps_done,
            best_step=done.best_step,
            step_size=options.step_size,
            seed=options.seed,
            augment=done.augment,
            loss=(done.before.loss, done.after.loss),
            agreement=(done.before.agreement, done.after.agreement),
        )
        return replace(
            pruned,
            rule=f"{pruned.rule} distilled steps={done.steps_done}",
            plan=pruned.plan.model_copy(update={"distilled": record}),
            after=done.graph,
        )

    def _features(self, pruned: Pruned) -> tuple[Feature, ...]:
        """Say what corresponds; nothing where operators left and numbers changed."""
        if pruned.before is not self._task.graph:
            return ()
        channels = self._task.channels
        if isinstance(pruned.plan, ChannelPlan):
            stays = staying(pruned.plan, channels)
        else:
            stays = everything(channels)
        return find_features(self._task.graph, pruned.after, channels, stays)
