"""Run by the test beside it: probes mutants, each in a forked child, and counts the ends."""

import hashlib
import json
import os
import random
import resource
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

from secateur_agent.engine import find_engine
from secateur_agent.probe import probe
from secateur_agent.probe_words import ProbeRequest, read_request, write
from support.mutants import mutate

CPU_S = 5
"""Of one child: some mutants compute for ever."""


def main() -> int:
    original, folder, mutants = Path(sys.argv[1]).read_bytes(), Path(sys.argv[2]), sys.argv[3]
    request = read_request(sys.stdin.read())
    find_engine(request.engine)  # once, for all children
    chance = random.Random(5)
    ends: Counter[str] = Counter()
    for _ in range(int(mutants)):
        ends[_end_of(request, mutate(original, chance), folder)] += 1
    sys.stdout.write(f"{json.dumps(ends)}\n")
    return 0


def _end_of(request: ProbeRequest, content: bytes, folder: Path) -> str:
    mutant, verdict = folder / "mutant", folder / "verdict"
    mutant.write_bytes(content)
    verdict.unlink(missing_ok=True)
    child = os.fork()
    if child == 0:
        _run(request, mutant, content, verdict)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return f"signal {os.WTERMSIG(status)}"
    if os.WEXITSTATUS(status) != 0 or not verdict.exists():
        return "no verdict"
    result = json.loads(verdict.read_bytes())
    return "proven" if result["reason"] is None else "refused"


def _run(request: ProbeRequest, mutant: Path, content: bytes, verdict: Path) -> None:
    """Be the child: probe, write the verdict, and end without returning."""
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 2)
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S + 1))
    asked = replace(
        request,
        artifact_path=str(mutant),
        artifact_digest=hashlib.sha256(content).hexdigest(),
        memory_limit_bytes=1 << 28,
    )
    try:
        verdict.write_text(write(probe(asked)))
    except BaseException:  # noqa: BLE001 - whatever it is, it is not a verdict
        os._exit(1)
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
