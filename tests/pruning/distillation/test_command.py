"""``secateur prune --distill`` on a real model."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

DIGITS = Path(__file__).resolve().parents[3] / "examples" / "digits"


def prune(out: Path, *more: str, block: str = "") -> subprocess.CompletedProcess[str]:
    """Run the command; ``block`` makes a package as good as not installed."""
    hide = f"import sys; sys.modules[{block!r}] = None\n" if block else ""
    code = f"{hide}from secateur_server.cli.app import main; main()"
    return subprocess.run(
        [
            sys.executable,
            "-c",
            code,
            "prune",
            str(DIGITS / "digits.tflite"),
            "--calibration",
            str(DIGITS / "calibration.npz"),
            "--evaluation",
            str(DIGITS / "evaluation.npz"),
            "--out",
            str(out),
            "--ratio",
            "0.6",
            "--search",
            "1",
            "--json",
            *more,
        ],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.mark.slow
def test_a_level_is_distilled_and_its_plan_says_so(tmp_path: Path) -> None:
    samples = str(DIGITS / "calibration.npz")
    more = ["--distill", samples, "--steps", "80", "--resume", str(tmp_path / "states")]
    done = prune(tmp_path / "ladder", *more)
    assert done.returncode == 0, done.stderr
    level = json.loads(done.stdout)["levels"][1]
    assert level["method"].endswith("distilled steps=80")
    plan = json.loads((tmp_path / "ladder" / "plan-1.json").read_text())
    record = plan["distilled"]
    assert record["steps"] == 80
    assert record["loss"][1] <= record["loss"][0]
    assert record["agreement"][1] >= record["agreement"][0]
    assert [path.name for path in (tmp_path / "states").iterdir()] == ["level-1.npz"]
    # The state is finished: the same command does not learn again.
    again = prune(tmp_path / "again", *more)
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["levels"][1]["digest"] == level["digest"]


@pytest.mark.parametrize("block", ["jax", "optax"])
def test_without_jax_it_says_what_to_install_and_writes_nothing(
    tmp_path: Path, block: str
) -> None:
    out = tmp_path / "ladder"
    done = prune(out, "--distill", str(DIGITS / "calibration.npz"), block=block)
    assert done.returncode == 2
    assert f"distillation needs {block}: pip install 'secateur[distill]'" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not out.exists()


def test_the_rest_of_the_pruner_runs_without_jax(tmp_path: Path) -> None:
    done = prune(tmp_path / "ladder", block="jax")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (["--steps", "5"], "--steps says how to distill: give --distill too"),
        (["--distill", "SAMPLES", "--steps", "0"], "1 to 1000000 steps, not 0"),
        (["--distill", "SAMPLES", "--augment", "spin"], "'spin' is none of none, shift"),
        (["--distill", "missing.npz"], "cannot read missing.npz"),
        (["--distill", "EVALUATION"], "both"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    tmp_path: Path, wrong: list[str], says: str
) -> None:
    files = {
        "SAMPLES": str(DIGITS / "calibration.npz"),
        "EVALUATION": str(DIGITS / "evaluation.npz"),
    }
    done = prune(tmp_path / "ladder", *[files.get(word, word) for word in wrong])
    assert done.returncode == 2
    assert says in done.stderr
    assert not (tmp_path / "ladder").exists()


def test_an_input_of_another_shape_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", x=np.zeros((9, 7, 7, 1), np.float32))
    done = prune(tmp_path / "ladder", "--distill", str(tmp_path / "other.npz"))
    assert done.returncode == 2
    assert "has shape (9, 7, 7, 1), the model takes (n, 8, 8, 1)" in done.stderr
