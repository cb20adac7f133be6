"""The client that others have already speaks with us: tritonclient from PyPI."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from secateur_agent.engine import find_engine
from support.environments import environment
from support.inference import DIGITS, Running, configure, free_port

CALLER = Path(__file__).parents[2] / "support" / "triton_caller.py"


@pytest.mark.engine
@pytest.mark.slow
def test_tritonclient_gets_what_the_engine_gives(tmp_path: Path) -> None:
    # gevent, aiohttp, and another version of ml-dtypes than ours: not in our environment.
    python = environment("tritonclient", "tritonclient[http]==2.73.0")
    samples = np.load(DIGITS.parent / "evaluation.npz")["x"][:20].astype(np.float32)
    np.save(tmp_path / "samples.npy", samples)
    address = f"127.0.0.1:{free_port()}"
    with Running(configure(listen=address)) as running:
        running.load()
        done = subprocess.run(
            [str(python), str(CALLER), address, str(tmp_path / "samples.npy")],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert [said["live"], said["ready"], said["model_ready"]] == [True, True, True]
    assert not said["other_ready"]
    assert said["server"]["name"] == "secateur"
    model = find_engine().load(DIGITS.read_bytes())
    expected = [model.infer([model.inputs[0].encode(each)])[0].ravel() for each in samples]
    assert len(said["answers"]) == 4
    for answers in said["answers"].values():
        assert np.allclose(answers, expected, rtol=1e-6, atol=0)
    assert said["unknown_model"] == ["404", "no model 'other' on this device"]
    assert said["wrong_shape"][0] == "400"
