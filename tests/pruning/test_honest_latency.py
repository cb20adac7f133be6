"""Budgets of latency, where the engine gives nothing for fewer channels."""

from pathlib import Path

import numpy as np
import pytest

from secateur_server.pruning.budget import Budget, Resource
from secateur_server.pruning.measurement import FEWEST_ROUNDS, ROUNDS, _is_settled
from secateur_server.pruning.pruner import PruneRequest, prune
from secateur_server.pruning.task import Options


def test_a_median_is_settled_when_its_rounds_agree() -> None:
    random = np.random.default_rng(0)
    calm = (0.2 + 0.001 * random.normal(size=FEWEST_ROUNDS)).tolist()
    rough = (0.2 + 0.05 * random.normal(size=ROUNDS)).tolist()
    assert _is_settled(calm)
    assert _is_settled([*calm, 9.0])  # one bad moment
    assert not _is_settled(rough)


@pytest.mark.slow
@pytest.mark.shared_data
@pytest.mark.parametrize(
    ("name", "samples"), [("kws_int8", 500), ("kws_hybrid", 500), ("kws_int8", 64)]
)
def test_a_level_for_latency_still_answers_or_it_is_said_why_not(
    name: str, samples: int, shared_data: Path, tmp_path: Path
) -> None:
    with np.load(shared_data / "kws" / "kws01.npz") as held:
        x, y = held["x"], held["y"]
    if name == "kws_hybrid":
        x = ((x.astype(np.float32) - 83) * 0.5847029).astype(np.float32)
    np.savez(tmp_path / "c.npz", x=x[0::2][:samples])
    np.savez(tmp_path / "e.npz", x=x[1::2], y=y[1::2])
    model = shared_data / "kws" / f"{name}.tflite"
    said: list[str] = []
    ladder = prune(
        PruneRequest(
            model_path=model,
            calibration_path=tmp_path / "c.npz",
            evaluation_path=tmp_path / "e.npz",
            out_dir=tmp_path / "ladder",
            options=Options(budget=Budget(Resource.LATENCY, 0.6), levels=2),
            allow_overlap=True,
            notice=said.append,
        )
    )
    dense, narrow = ladder.levels
    assert narrow.accuracy.value >= 0.55
    assert narrow.latency.p50_ms < dense.latency.p50_ms
    met = "latency=0.6 " in f"{narrow.method} "
    assert met or any("network latency=0.6" in each for each in said)
