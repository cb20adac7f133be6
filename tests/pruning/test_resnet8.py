"""The floors that pruning must keep on a real network with real images."""

from pathlib import Path

import numpy as np
import pytest

from secateur_protocols.manifest import Ladder
from secateur_server.pruning.pruner import PruneRequest, prune
from secateur_server.pruning.task import Options

pytestmark = [pytest.mark.shared_data, pytest.mark.slow]


@pytest.fixture(scope="module")
def ladder(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Ladder:
    folder = tmp_path_factory.mktemp("resnet8")
    with np.load(shared_data / "cifar10" / "cifar10_subset.npz") as arrays:
        np.savez(folder / "calibration.npz", x=arrays["x_train"][:512])
        np.savez(folder / "evaluation.npz", x=arrays["x_test"], y=arrays["y_test"])
    return prune(
        PruneRequest(
            model_path=shared_data / "cifar10" / "resnet8_float32.tflite",
            calibration_path=folder / "calibration.npz",
            evaluation_path=folder / "evaluation.npz",
            out_dir=folder / "ladder",
            method="channel",
            options=Options(amount=0.125, levels=2),
        )
    )


def test_one_eighth_less_of_every_group_keeps_the_accuracy(ladder: Ladder) -> None:
    dense, pruned = ladder.levels
    assert dense.accuracy.value == pytest.approx(0.877, abs=0.002)
    assert pruned.accuracy.value >= 0.78
    assert pruned.macs < 0.8 * dense.macs
