"""Whether a ladder is what its manifests say: run again before it is published."""

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from secateur_protocols.codec import decode_document
from secateur_protocols.errors import ProtocolError
from secateur_protocols.manifest import Ladder, Manifest, TensorSpec
from secateur_server.errors import InputError
from secateur_server.pruning import measurement
from secateur_server.pruning.flatbuffer import read_model

TFLITE = b"TFL3"
"""At byte 4 of every artifact that a device can run."""


def check_ladder(ladder_dir: Path) -> tuple[str, ...]:
    """Run each level's golden inputs, and compare each level with the one before.

    Args:
        ladder_dir: The folder that is to be published; whether it is whole is not looked at.

    Returns:
        What is strange but no reason to refuse it, in words.

    Raises:
        InputError: A level's golden outputs are others than it gives, or it costs no less
            than the level before.
    """
    try:
        ladder = decode_document(Ladder, (ladder_dir / "ladder.json").read_bytes())
    except (OSError, ProtocolError):
        return ()  # whoever publishes it says so
    return (*_check_steps(ladder), *_check_goldens(ladder_dir, ladder))


def _check_steps(ladder: Ladder) -> Iterator[str]:
    for before, each in zip(ladder.levels, ladder.levels[1:], strict=False):
        pairs = zip(_costs(before), _costs(each), strict=True)
        if not any(now < was for was, now in pairs if was is not None and now is not None):
            raise InputError(
                f"level {each.level} costs no less than level {before.level} in MACs, bytes, "
                "latency or memory: no device would be better off with it"
            )
        same = each.accuracy.metric is before.accuracy.metric
        if same and each.accuracy.value > before.accuracy.value:
            yield (
                f"level {each.level} is more accurate than level {before.level}: "
                f"{each.accuracy.value:.4g} after {before.accuracy.value:.4g}"
            )


def _costs(manifest: Manifest) -> tuple[float | None, ...]:
    return (
        manifest.macs,
        manifest.size_bytes,
        manifest.compressed_bytes,
        manifest.latency.p50_ms,
        manifest.peak_memory_bytes,
    )


def _check_goldens(ladder_dir: Path, ladder: Ladder) -> Iterator[str]:
    for manifest in ladder.levels:
        path = ladder_dir / f"level-{manifest.level}.tflite"
        try:
            content = path.read_bytes()
            golden = (ladder_dir / f"level-{manifest.level}.golden.npz").read_bytes()
        except OSError:
            return  # as above
        if content[4:8] != TFLITE:
            yield f"level {manifest.level} is no .tflite file: no device can run it"
            continue
        runner = measurement.load(read_model(path).content, 1)
        differs = _difference(runner, golden, ladder, manifest)
        if differs is not None:
            raise InputError(
                f"level {manifest.level}: its golden outputs {differs}: prune again"
            )


def _difference(
    runner: measurement.Runner, golden: bytes, ladder: Ladder, manifest: Manifest
) -> str | None:
    """Say how golden outputs differ from what the golden inputs give. ``None``: they do not."""
    held = runner.interpreter.get_input_details(), runner.interpreter.get_output_details()
    try:
        with np.load(io.BytesIO(golden), allow_pickle=False) as arrays:
            inputs = [arrays[f"input_{k}"] for k in range(len(held[0]))]
            outputs = [arrays[f"output_{k}"] for k in range(len(held[1]))]
        for k in range(manifest.golden.count):
            for detail, rows in zip(held[0], inputs, strict=True):
                runner.interpreter.set_tensor(detail["index"], rows[k])
            runner.interpreter.invoke()
            for at, (detail, rows) in enumerate(zip(held[1], outputs, strict=True)):
                found = runner.interpreter.get_tensor(detail["index"])
                worst = _worst(ladder.outputs[at], found, rows[k])
                allowed = manifest.golden.tolerance_of(at)
                if not worst <= allowed:
                    return f"differ from what it gives by {worst:.3g}, {allowed:.3g} allowed"
    except (KeyError, IndexError, ValueError, RuntimeError, zipfile.BadZipFile) as error:
        return f"do not fit it ({error})"
    return None


def _worst(
    spec: TensorSpec, found: npt.NDArray[np.generic], known: npt.NDArray[np.generic]
) -> float:
    differences = np.abs(found.astype(np.float64) - known.astype(np.float64))
    return float(differences.max(initial=0.0)) * (spec.scale or 1.0)
