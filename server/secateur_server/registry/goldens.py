"""What the golden inputs of published artifacts give, for comparing with what devices say."""

import hashlib
import io
import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from secateur_protocols.ids import Digest
from secateur_protocols.manifest import Ladder, Manifest, TensorSpec
from secateur_protocols.plain import MAX_OUTPUTS_TOLD
from secateur_server.core.proof import ExpectedOutputs


def expected_outputs(blobs_dir: Path, ladder: Ladder) -> dict[Digest, ExpectedOutputs]:
    """Read them for every level; a level whose golden inputs are gone or broken is left out."""
    found = {}
    for manifest in ladder.levels:
        try:
            found[manifest.digest] = _read(blobs_dir, ladder, manifest)
        except (OSError, KeyError, ValueError, zipfile.BadZipFile):
            continue
    return found


def _read(blobs_dir: Path, ladder: Ladder, manifest: Manifest) -> ExpectedOutputs:
    content = (blobs_dir / manifest.golden.digest).read_bytes()
    digest, values, tolerances = hashlib.sha256(), list[float](), list[float]()
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        outputs = [arrays[f"output_{k}"] for k in range(len(ladder.outputs))]
    for k in range(manifest.golden.count):
        for at, (spec, output) in enumerate(zip(ladder.outputs, outputs, strict=True)):
            digest.update(output[k].tobytes())
            told = _decode(spec, output[k]).ravel()[:MAX_OUTPUTS_TOLD].tolist()
            values += told
            tolerances += [manifest.golden.tolerance_of(at)] * len(told)
    first = slice(MAX_OUTPUTS_TOLD)
    return ExpectedOutputs(digest.hexdigest(), tuple(values[first]), tuple(tolerances[first]))


def _decode(spec: TensorSpec, codes: npt.NDArray[np.generic]) -> npt.NDArray[np.float64]:
    values = codes.astype(np.float64)
    return values if spec.scale is None else (values - (spec.zero_point or 0)) * spec.scale
