"""The pruner: a library that edits ``.tflite`` files. No MQTT, no database.

read -> graph -> channels -> method (plan, reconstruct) -> apply -> measure -> choose -> write

    from pathlib import Path
    from secateur_server.pruning import Budget, Options, PruneRequest, Resource, prune

    ladder = prune(
        PruneRequest(
            model_path=Path("model.tflite"),
            calibration_path=Path("some.npz"),
            evaluation_path=Path("others.npz"),
            out_dir=Path("ladder"),
            method="network",
            options=Options(budget=Budget(Resource.LATENCY, 0.5), levels=4),
        )
    )

A method of your own is a function from a `Task` to `Pruned` networks; the entry-point group
``secateur.pruners`` makes it known by name.
"""

from secateur_server.pruning.budget import Budget, Resource
from secateur_server.pruning.inspection import inspect_model
from secateur_server.pruning.plan import ChannelPlan, PruningPlan
from secateur_server.pruning.pruner import PruneRequest, prune
from secateur_server.pruning.replay import read_plan
from secateur_server.pruning.saliency import Saliency
from secateur_server.pruning.task import Method, Options, Pruned, Task

__all__ = [
    "Budget",
    "ChannelPlan",
    "Method",
    "Options",
    "PruneRequest",
    "Pruned",
    "PruningPlan",
    "Resource",
    "Saliency",
    "Task",
    "inspect_model",
    "prune",
    "read_plan",
]
