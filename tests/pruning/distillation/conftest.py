"""A teacher, a student that lost half of its channels, and samples."""

from pathlib import Path

import jax
import numpy as np
import numpy.typing as npt
import pytest

from secateur_server.pruning.channels import find_channels
from secateur_server.pruning.execution import as_reals
from secateur_server.pruning.flatbuffer import read_model
from secateur_server.pruning.graph import Array, Graph, read_graph
from secateur_server.pruning.narrowing import everything
from secateur_server.pruning.reconstruction import reconstruct
from secateur_server.pruning.rules import RULES
from secateur_server.pruning.selection import free_groups
from secateur_server.pruning.teacher import listen

DIGITS = Path(__file__).resolve().parents[3] / "examples" / "digits"


def narrowed(graph: Graph, x: npt.NDArray[np.generic], keep: float) -> Graph:
    """Take channels from the end of every group, and fit what stays."""
    channels = find_channels(graph, RULES)
    stays = everything(channels)
    for group in free_groups(graph, channels):
        stays[group.channels[max(1, round(keep * group.size)) :]] = False
    feeds = {graph.inputs[0]: as_reals(graph.tensors[graph.inputs[0]], x)}
    heard = listen(graph, channels, feeds, lambda _share: None)
    return reconstruct(graph, channels, stays, heard).graph


@pytest.fixture(scope="session")
def teacher() -> Graph:
    return read_graph(read_model(DIGITS / "digits.tflite").tree())


@pytest.fixture(scope="session")
def samples() -> Array:
    with np.load(DIGITS / "calibration.npz") as arrays:
        return np.asarray(arrays["x"][:300], np.float32)


@pytest.fixture(scope="session")
def student(teacher: Graph, samples: Array) -> Graph:
    return narrowed(teacher, samples[:50], 0.4)


@pytest.fixture(scope="session", autouse=True)
def _compile_once(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Let tests that distill networks of the same shapes share what was compiled."""
    folder = tmp_path_factory.mktemp("compiled")
    jax.config.update("jax_compilation_cache_dir", str(folder))  # type: ignore[no-untyped-call]
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)  # type: ignore[no-untyped-call]
