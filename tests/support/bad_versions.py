"""New versions of a real ladder that load and pass the probe, and are worse all the same.

Each is a real graph, with golden outputs that it really gives, and with manifests that say
what was measured of it.
"""

import copy
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from secateur_protocols.codec import decode_document
from secateur_protocols.manifest import Ladder
from secateur_server.pruning import measurement
from secateur_server.pruning.flatbuffer import Source, write_model
from secateur_server.pruning.golden import record
from secateur_server.pruning.samples import Samples

Edit = Callable[[bytes], bytes]


def work_twice(content: bytes) -> bytes:
    """Compute the whole network twice, and answer the greater of the two equal outputs."""
    tree = Source(Path("model"), content).tree()
    (graph,) = tree.subgraphs
    fed = set(graph.inputs.tolist())
    written = {int(each) for operator in graph.operators for each in operator.outputs}
    twins: dict[int, int] = {}
    for index in sorted(written - fed):
        twin = copy.copy(graph.tensors[index])
        twin.name = graph.tensors[index].name + b"_twin"
        twins[index] = len(graph.tensors)
        graph.tensors.append(twin)
    again = [_rewired(operator, twins) for operator in graph.operators]
    (first,) = graph.outputs.tolist()
    result = copy.copy(graph.tensors[first])
    result.name = graph.tensors[first].name + b"_both"
    graph.tensors.append(result)
    both = len(graph.tensors) - 1
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.MAXIMUM
    code.version = 1
    tree.operatorCodes.append(code)
    last = schema.OperatorT()
    last.opcodeIndex = len(tree.operatorCodes) - 1
    last.inputs, last.outputs = (
        np.array([first, twins[first]], np.int32),
        np.array([both], np.int32),
    )
    last.builtinOptionsType = schema.BuiltinOptions.MaximumMinimumOptions
    last.builtinOptions = schema.MaximumMinimumOptionsT()
    graph.operators += [*again, last]
    graph.outputs = np.array([both], np.int32)
    for signature in tree.signatureDefs or ():
        for output in signature.outputs:
            output.tensorIndex = both
    return write_model(tree)


def _rewired(operator: Any, twins: dict[int, int]) -> Any:  # noqa: ANN401 - of the schema
    again = copy.copy(operator)
    again.inputs = np.array(
        [twins.get(int(each), int(each)) for each in operator.inputs], np.int32
    )
    again.outputs = np.array([twins[int(each)] for each in operator.outputs], np.int32)
    return again


def prune_hard(share: float) -> Edit:
    """Zero this share of every tensor's weights, the smallest, and make up for nothing."""

    def edit(content: bytes) -> bytes:
        tree = Source(Path("model"), content).tree()
        (graph,) = tree.subgraphs
        for tensor in graph.tensors:
            buffer = tree.buffers[tensor.buffer]
            is_float = tensor.type == schema.TensorType.FLOAT32
            if not is_float or buffer.data is None or tensor.shape is None:
                continue
            values = np.array(buffer.data, np.uint8).view(np.float32).copy()
            if len(tensor.shape) < 2:
                continue  # biases stay
            values[np.abs(values) < np.quantile(np.abs(values), share)] = 0.0
            buffer.data = values.view(np.uint8)
        return write_model(tree)

    return edit


def read_labelled(path: Path) -> Samples:
    with np.load(path) as arrays:
        return Samples((arrays["x"],), arrays["y"])


def top1(content: bytes, samples: Samples) -> float:
    found, *_ = measurement.outputs(measurement.load(content, 1), samples)
    assert samples.y is not None
    return float((found.reshape(len(samples), -1).argmax(axis=1) == samples.y).mean())


def prune_until(content: bytes, samples: Samples, *, at_most: float) -> Edit:
    """Find how much must be pruned for the accuracy to fall so low."""
    for percent in range(40, 100):
        edit = prune_hard(percent / 100)
        if top1(edit(content), samples) <= at_most:
            return edit
    raise AssertionError("no share is enough")


def write_version(
    ladder_dir: Path, out_dir: Path, *, version: str, edits: Sequence[Edit], data: Path
) -> Path:
    """Write a new version of a ladder: each level edited, measured, and described as it is."""
    ladder = decode_document(Ladder, (ladder_dir / "ladder.json").read_bytes())
    samples = read_labelled(data)
    contents = [
        edit((ladder_dir / f"level-{each.level}.tflite").read_bytes())
        for edit, each in zip(edits, ladder.levels, strict=True)
    ]
    runners = [measurement.load(content, 1) for content in contents]
    latencies = measurement.latencies(runners, samples.sample(0), lambda _: None)
    out_dir.mkdir(parents=True)
    levels = []
    for content, latency, manifest in zip(contents, latencies, ladder.levels, strict=True):
        golden, golden_bytes = record(content, samples, macs=manifest.macs)
        share = top1(content, samples)
        accuracy = manifest.accuracy.model_copy(
            update={"value": share, "low": None, "high": None, "samples": len(samples)}
        )
        levels.append(
            manifest.model_copy(
                update={
                    "digest": hashlib.sha256(content).hexdigest(),
                    "size_bytes": len(content),
                    "latency": latency,
                    "golden": golden,
                    "accuracy": accuracy,
                    "parent": None,
                    "compressed_bytes": None,
                }
            )
        )
        (out_dir / f"level-{manifest.level}.tflite").write_bytes(content)
        (out_dir / f"level-{manifest.level}.golden.npz").write_bytes(golden_bytes)
    changed = ladder.model_copy(update={"version": version, "levels": tuple(levels)})
    document = json.loads(changed.model_dump_json(exclude_none=True))
    (out_dir / "ladder.json").write_text(json.dumps(document))
    return out_dir
