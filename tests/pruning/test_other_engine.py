"""In tflite-runtime too, what is pruned computes what is masked."""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from secateur_server.pruning.narrowing import narrow
from secateur_server.pruning.trial import try_model
from support import quantized_twins
from support.architectures import ARCHITECTURES, rows
from support.environments import environment
from support.slicing import assert_alike, follow, mask, thinned, write
from support.tiny_models import Array, run

RUN_S = 240
SCRIPT = """
import pathlib, sys
import numpy as np
from tflite_runtime.interpreter import Interpreter

for folder in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    try:
        interpreter = Interpreter(model_path=str(folder / "model.tflite"), num_threads=1)
        interpreter.allocate_tensors()
        for k, detail in enumerate(interpreter.get_input_details()):
            interpreter.set_tensor(detail["index"], np.load(folder / f"input_{k}.npy"))
        interpreter.invoke()
        for k, detail in enumerate(interpreter.get_output_details()):
            np.save(folder / f"output_{k}.npy", interpreter.get_tensor(detail["index"]))
    except (RuntimeError, ValueError) as error:
        (folder / "refusal").write_text(str(error))
"""
TOLERANCE = {"hybrid": 0.1}
"""Where it is not 1e-5: hybrid kernels round to steps of the largest number that they see."""

NO_STATE = ("keyword_spotter_with_svdf", "streaming_keyword_spotter", "lstm")


@dataclass(frozen=True)
class Case:
    name: str
    precision: str
    masked: bytes
    pruned: bytes
    inputs: tuple[Array, ...]


def cases() -> Iterator[Case]:
    for name, build in ARCHITECTURES.items():
        content = build()
        seen = rows(content, 3, 0)
        twins = {"float32": content}
        if name not in NO_STATE:
            twins["float16"] = quantized_twins.float16(content)
            twins["hybrid"] = quantized_twins.hybrid(content)
            twins["int8"] = quantized_twins.int8(content, *seen)
        for precision, twin in twins.items():
            if not try_model(Path(name), twin).refusal:
                yield prune(name, precision, twin, seen[0])


def prune(name: str, precision: str, content: bytes, inputs: tuple[Array, ...]) -> Case:
    graph, channels = follow(content)
    stays = thinned(graph, channels)
    masked = write(content, graph, mask(graph, channels, stays))
    pruned = write(content, graph, narrow(graph, channels, stays))
    return Case(name, precision, masked, pruned, inputs)


def lay_out(folder: Path, content: bytes, inputs: tuple[Array, ...]) -> None:
    folder.mkdir()
    (folder / "model.tflite").write_bytes(content)
    details = Interpreter(model_content=content).get_input_details()
    for k, (detail, values) in enumerate(zip(details, inputs, strict=True)):
        scale, zero_point = detail["quantization"]
        codes = np.rint(values / scale + zero_point).clip(-128, 127) if scale else values
        np.save(folder / f"input_{k}.npy", codes.astype(detail["dtype"]))


def outputs(folder: Path, content: bytes) -> list[Array]:
    found = []
    details = Interpreter(model_content=content).get_output_details()
    for k, detail in enumerate(details):
        codes = np.load(folder / f"output_{k}.npy")
        scale, zero_point = detail["quantization"]
        found.append((codes.astype(np.float32) - zero_point) * scale if scale else codes)
    return found


@pytest.mark.engine
@pytest.mark.slow
def test_pruned_models_compute_what_is_masked_in_tflite_runtime_too(tmp_path: Path) -> None:
    python = environment(
        "tflite-runtime", "tflite-runtime==2.14.0", "numpy<2", python="python3.11"
    )
    made = list(cases())
    for case in made:
        for which, content in (("masked", case.masked), ("pruned", case.pruned)):
            lay_out(tmp_path / f"{case.name}.{case.precision}.{which}", content, case.inputs)
    done = subprocess.run(
        [python, "-c", SCRIPT, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=RUN_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    refused = []
    for case in made:
        masked, pruned = (
            tmp_path / f"{case.name}.{case.precision}.{which}" for which in ("masked", "pruned")
        )
        if (masked / "refusal").exists():
            refused.append(masked.name)
            continue
        assert not (pruned / "refusal").exists(), (pruned / "refusal").read_text()
        found, wanted = outputs(pruned, case.pruned), outputs(masked, case.masked)
        assert_alike(found, wanted, TOLERANCE.get(case.precision, 1e-5))
        if case.precision == "float32":
            assert_alike(found, run(case.pruned, *case.inputs), 1e-5)
    assert len(refused) < len(made) / 3, refused
