"""Starts the probe of a candidate and reads its verdict."""

import signal
import subprocess
import sys

from pydantic import TypeAdapter, ValidationError

from secateur_agent.adapters.clock import monotonic_s
from secateur_agent.errors import PermanentError
from secateur_agent.probe_words import CPU_S, ProbeRequest, ProbeResult, write
from secateur_agent.transfer.port import CanceledError, IsCanceled, never
from secateur_protocols.ota import ReasonCode
from secateur_protocols.state import ProofOfRun

TIMEOUT_S = 100.0
"""Longest run of a probe, seconds: below the swap's own timeout for the phase, so that the
child is dead before the swap goes on."""

POLL_S = 0.2
"""Longest time until a cancel is noticed, seconds."""


def run_probe(request: ProbeRequest, is_canceled: IsCanceled = never) -> tuple[ProofOfRun, str]:
    """Run the golden inputs in a process of their own.

    Returns:
        The proof, and in words and numbers what was measured.

    Raises:
        PermanentError: The candidate failed, crashed the process or took too long. The
            process is gone.
        CanceledError: Nobody waits for it any more. The process is gone.
    """
    child = _run(write(request).encode(), is_canceled)
    result = _read(child)
    if result.reason is not None or result.outputs_digest is None:
        raise PermanentError(result.detail, result.reason or ReasonCode.LOAD_FAILED)
    try:
        proof = ProofOfRun(
            digest=request.artifact_digest,
            golden_digest=result.outputs_digest,
            outputs=result.outputs,
        )
        return proof, _measured(result)
    except (ValidationError, TypeError) as error:  # no digest, or no numbers
        raise _no_verdict(child) from error


def _run(words: bytes, is_canceled: IsCanceled) -> "subprocess.CompletedProcess[bytes]":
    command = [sys.executable, "-P", "-m", "secateur_agent.probe"]
    pipe = subprocess.PIPE
    until_s = monotonic_s() + TIMEOUT_S
    unsaid: bytes | None = words
    with subprocess.Popen(  # noqa: S603 - our own program
        command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL
    ) as child:
        try:
            while True:
                try:
                    output, _ = child.communicate(unsaid, timeout=min(POLL_S, TIMEOUT_S))
                    return subprocess.CompletedProcess(command, child.returncode, output)
                except subprocess.TimeoutExpired:
                    unsaid = None
                if is_canceled():
                    raise CanceledError("the probe")
                if monotonic_s() > until_s:
                    msg = f"the probe took longer than {TIMEOUT_S:.0f} s"
                    raise PermanentError(msg, ReasonCode.TIMEOUT)
        finally:
            child.kill()


def _measured(result: ProbeResult) -> str:
    memory = result.added_memory_bytes
    added = "unknown" if memory is None else f"{memory / 1e6:.1f} MB"
    return f"probe: p50 {result.p50_ms:.3g} ms, p95 {result.p95_ms:.3g} ms, memory {added}"


def _read(child: subprocess.CompletedProcess[bytes]) -> ProbeResult:
    if child.returncode == -signal.SIGXCPU:
        msg = f"the probe used more than {CPU_S} s of processor time"
        raise PermanentError(msg, ReasonCode.TIMEOUT)
    if child.returncode < 0:
        msg = f"the engine crashed in the probe (signal {-child.returncode})"
        raise PermanentError(msg, ReasonCode.LOAD_FAILED)
    try:
        # The child may be anybody's by now: what it says is checked.
        return TypeAdapter(ProbeResult).validate_json(child.stdout, strict=True)
    except ValidationError as error:
        raise _no_verdict(child) from error


def _no_verdict(child: subprocess.CompletedProcess[bytes]) -> PermanentError:
    msg = f"the probe ended with exit code {child.returncode} and no verdict"
    return PermanentError(msg, ReasonCode.LOAD_FAILED)
