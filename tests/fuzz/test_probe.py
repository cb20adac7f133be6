"""Damaged models in the probe: a verdict or the child's death, never the agent's.

Thousands of children that each import an engine would take an hour. Here one process
imports it and forks a child per mutant, which runs the very same probe; some mutants go
through the real child process as well.
"""

import contextlib
import hashlib
import json
import os
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from secateur_agent.adapters.probing import run_probe
from secateur_agent.errors import PermanentError
from secateur_agent.installed import EngineName
from secateur_agent.probe_words import ProbeRequest, write
from secateur_protocols.manifest import Ladder
from support.mutants import mutate

pytestmark = pytest.mark.engine

MUTANTS = 2000
IN_REAL_CHILDREN = 12

DIGITS = Path(__file__).resolve().parents[2] / "examples" / "digits" / "digits.tflite"


def ask(ladder_dir: Path) -> ProbeRequest:
    """Describe the probe of a mutant, whose path and digest are filled in later."""
    ladder = Ladder.model_validate_json((ladder_dir / "ladder.json").read_bytes())
    golden = ladder.levels[0].golden
    held = {
        hashlib.sha256(path.read_bytes()).hexdigest(): path for path in ladder_dir.iterdir()
    }
    return ProbeRequest(
        engine=EngineName.AUTO,
        threads=1,
        artifact_path="",
        artifact_digest="0" * 64,
        golden_path=str(held[golden.digest]),
        golden_digest=golden.digest,
        tolerance=golden.tolerance,
    )


@pytest.mark.slow
def test_no_mutant_of_a_model_brings_down_more_than_its_probe(
    digits_ladder: Path, tmp_path: Path
) -> None:
    request = ask(digits_ladder)
    runner = Path(__file__).parent / "probe_mutants.py"
    done = subprocess.run(
        [sys.executable, str(runner), str(DIGITS), str(tmp_path), str(MUTANTS)],
        input=write(request),
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    counted: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    assert sum(counted.values()) == MUTANTS
    # Anything but a verdict, a signal or the limits would be a hole in the probe.
    assert "no verdict" not in counted, counted
    assert counted.get("refused", 0) > MUTANTS // 20


def test_mutants_in_the_real_child_end_as_a_permanent_error_or_a_proof(
    digits_ladder: Path, tmp_path: Path
) -> None:
    request = ask(digits_ladder)
    chance = random.Random(11)
    original = DIGITS.read_bytes()
    for number in range(IN_REAL_CHILDREN):
        content = mutate(original, chance)
        path = tmp_path / f"mutant-{number}"
        path.write_bytes(content)
        mutant = replace(
            request,
            artifact_path=str(path),
            artifact_digest=hashlib.sha256(content).hexdigest(),
        )
        proof = None
        with contextlib.suppress(PermanentError):
            proof, _ = run_probe(mutant)
        assert proof is None or proof.digest == mutant.artifact_digest
