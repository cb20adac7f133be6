"""A distillation on disk, so that it can be gone on with."""

import hashlib
import json
import os
import tempfile
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path

import jax
import numpy as np

from secateur_server.errors import InputError, ServerError
from secateur_server.pruning.distillation.learning import Point
from secateur_server.pruning.distillation.network import Inputs
from secateur_server.pruning.distillation.options import DistillOptions, Judgement
from secateur_server.pruning.distillation.parameters import Values
from secateur_server.pruning.graph import Graph


@dataclass(slots=True)
class Course:
    """All that a distillation needs to go on.

    Attributes:
        best: The best parameters seen.
    """

    point: Point
    best: Values
    best_step: int
    before: Judgement
    after: Judgement
    history: list[tuple[int, Judgement]]


def digest(teacher: Graph, student: Graph, inputs: Inputs, options: DistillOptions) -> str:
    """Name a distillation by all that decides its result."""
    found = hashlib.sha256()
    for graph in (teacher, student):
        for tensor in graph.tensors:
            found.update(repr((tensor.shape, tensor.dtype, tensor.quantization)).encode())
            if tensor.values is not None:
                found.update(np.ascontiguousarray(tensor.values).data)
        found.update(repr([(each.kind, each.inputs) for each in graph.operators]).encode())
    for rows in inputs:
        found.update(np.ascontiguousarray(rows).data)
    deciding = {
        **{k: getattr(options, k) for k in _DECIDING},
        "augment": sorted(options.augment or ()),
    }
    found.update(repr(deciding).encode())
    return found.hexdigest()


_DECIDING = (
    "steps",
    "batch",
    "step_size",
    "warm_up",
    "average",
    "features",
    "hold_back",
    "keep_zeros",
    "seed",
)


def save(path: Path, course: Course, name: str) -> None:
    """Write a course so that a power cut leaves the old one or the new.

    Raises:
        ServerError: It could not be written; what was there still is.
    """
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(course.point)]
    arrays = {f"point_{k}": leaf for k, leaf in enumerate(leaves)}
    arrays.update({f"best_{key}": value for key, value in course.best.items()})
    told = {
        "digest": name,
        "best_step": course.best_step,
        "before": asdict(course.before),
        "after": asdict(course.after),
        "history": [(step, asdict(each)) for step, each in course.history],
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, sibling = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                np.savez(file, told=json.dumps(told), **arrays)  # type: ignore[arg-type]
                file.flush()
                os.fsync(file.fileno())
            Path(sibling).replace(path)
        except BaseException:
            Path(sibling).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise ServerError(f"cannot write {path}: {error.strerror}") from error


def load(path: Path, like: Point, name: str) -> Course | None:
    """Read a course back; ``None``: there is none.

    Args:
        path: As it was saved.
        like: A point of the same distillation.
        name: The digest of the distillation that wants to go on.

    Raises:
        InputError: No such file, or of another distillation.
    """
    if not path.exists():
        return None
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            told = json.loads(str(arrays["told"]))
            if told["digest"] != name:
                raise InputError(
                    f"{path} belongs to another distillation: other models, samples or options"
                )
            leaves, tree = jax.tree.flatten(like)
            held = [arrays[f"point_{k}"] for k in range(len(leaves))]
            best = {int(k[5:]): arrays[k] for k in arrays.files if k.startswith("best_")}
    except (OSError, ValueError, EOFError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} is not the state of a distillation") from error
    return Course(
        jax.tree.unflatten(tree, [jax.numpy.asarray(each) for each in held]),
        best,
        told["best_step"],
        Judgement(**told["before"]),
        Judgement(**told["after"]),
        [(step, Judgement(**each)) for step, each in told["history"]],
    )
