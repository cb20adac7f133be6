"""The sparse kernels themselves, on a processor without AVX that QEMU plays.

On x86 XNNPACK switches sparse inference on only where there is no AVX, so no test on a
present machine would see it otherwise.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from secateur_server.pruning.flatbuffer import write_model
from secateur_server.pruning.sparse.rewrites import rewrite_for_sparse
from secateur_server.pruning.sparse.storage import store_sparsely
from support.mobilenets import mobilenet
from support.pruned import sparse_twin, tree_of

PROGRAM = """
import json, sys, time
import numpy as np
from ai_edge_litert.interpreter import Interpreter

image = np.load(sys.argv[1])
runners = [Interpreter(model_path=path, num_threads=1) for path in sys.argv[2:]]
taken, outputs = [[] for _ in runners], []
for runner in runners:
    runner.allocate_tensors()
    runner.set_tensor(runner.get_input_details()[0]["index"], image)
    runner.invoke()
    outputs.append(runner.get_tensor(runner.get_output_details()[0]["index"]).tolist())
for _ in range(7):
    for runner, times in zip(runners, taken):
        started = time.perf_counter()
        runner.invoke()
        times.append(time.perf_counter() - started)
print(json.dumps({"outputs": outputs, "best_s": [min(times) for times in taken]}))
"""


@pytest.mark.nightly
@pytest.mark.skipif(not shutil.which("qemu-x86_64"), reason="apt install qemu-user")
def test_rewritten_models_are_right_and_faster_where_sparse_inference_is_on(
    tmp_path: Path,
) -> None:
    blocks = ((1, 64), (2, 128), (1, 128), (2, 256), (1, 256), (1, 256))
    dense = sparse_twin(mobilenet(64, width=32, blocks=blocks), 0.8, {"CONV_2D"})
    tree = tree_of(dense)
    rewrite_for_sparse(tree)
    assert store_sparsely(tree) > 0
    image = np.random.default_rng(9).normal(size=(1, 64, 64, 3)).astype(np.float32)
    np.save(tmp_path / "image.npy", image)
    for name, content in (("dense", dense), ("sparse", write_model(tree))):
        (tmp_path / f"{name}.tflite").write_bytes(content)
    done = subprocess.run(
        [
            *("qemu-x86_64", "-cpu", "Nehalem", sys.executable, "-c", PROGRAM),
            *(str(tmp_path / name) for name in ("image.npy", "dense.tflite", "sparse.tflite")),
        ],
        capture_output=True,
        text=True,
        timeout=280,
        check=True,
    )
    found = json.loads(done.stdout)
    dense_output, sparse_output = map(np.array, found["outputs"])
    assert np.allclose(dense_output, sparse_output, atol=1e-5)
    # Emulated times say only which kernels ran: the dense ones take as long as before.
    dense_s, sparse_s = found["best_s"]
    assert sparse_s < 0.7 * dense_s
