"""Starts the probe of a candidate and reads its verdict."""

import subprocess
import sys

from pydantic import ValidationError

from secateur_agent.errors import PermanentError
from secateur_agent.probe import ProbeRequest, ProbeResult
from secateur_protocols.ids import Digest
from secateur_protocols.ota import ReasonCode
from secateur_protocols.state import ProofOfRun

TIMEOUT_S = 100.0
"""Longest run of a probe, seconds: below the swap's own timeout for the phase, so that the
child is dead before the swap goes on."""


def run_probe(request: ProbeRequest) -> tuple[ProofOfRun, ProbeResult]:
    """Run the golden inputs in a process of their own.

    Returns:
        The proof, and what was measured.

    Raises:
        PermanentError: The candidate failed, crashed the process or took too long. The
            process is gone.
    """
    try:
        child = subprocess.run(
            [sys.executable, "-P", "-m", "secateur_agent.probe"],
            input=request.model_dump_json().encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        msg = f"the probe took longer than {TIMEOUT_S:.0f} s"
        raise PermanentError(msg, ReasonCode.TIMEOUT) from error
    result = _read(child)
    if result.reason is not None or result.outputs_digest is None:
        raise PermanentError(result.detail, result.reason or ReasonCode.LOAD_FAILED)
    return _proof(request.artifact_digest, result.outputs_digest), result


def _proof(artifact: Digest, outputs: Digest) -> ProofOfRun:
    return ProofOfRun(digest=artifact, golden_digest=outputs)


def _read(child: subprocess.CompletedProcess[bytes]) -> ProbeResult:
    if child.returncode < 0:
        msg = f"the engine crashed in the probe (signal {-child.returncode})"
        raise PermanentError(msg, ReasonCode.LOAD_FAILED)
    try:
        return ProbeResult.model_validate_json(child.stdout)
    except ValidationError as error:
        msg = f"the probe ended with exit code {child.returncode} and no verdict"
        raise PermanentError(msg, ReasonCode.LOAD_FAILED) from error
