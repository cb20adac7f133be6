"""A plan is data: carried out again it gives the same artifact, or says why it cannot."""

import json
from pathlib import Path

import pytest

from secateur_protocols.manifest import Ladder
from secateur_server.cli import app

DIGITS = Path(__file__).resolve().parents[2] / "examples" / "digits"


def prune(out: Path, *more: str, model: Path = DIGITS / "digits.tflite") -> int:
    return app.run(
        [
            *("prune", str(model), "--out", str(out), "--json"),
            *("--calibration", str(DIGITS / "calibration.npz")),
            *("--evaluation", str(DIGITS / "evaluation.npz")),
            *more,
        ]
    )


@pytest.mark.parametrize(
    "asked",
    [
        ("--ratio", "0.5"),
        ("--budget", "macs=0.3"),
        ("--method", "layer", "--count", "1"),
        ("--sparsity", "0.6"),
    ],
)
def test_a_stored_plan_gives_the_same_artifact_again(
    tmp_path: Path, asked: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    assert prune(tmp_path / "one", *asked) == 0
    first = Ladder.model_validate_json(capfd.readouterr().out)
    assert prune(tmp_path / "two", "--plan", str(tmp_path / "one" / "plan-1.json")) == 0
    second = Ladder.model_validate_json(capfd.readouterr().out)
    assert second.levels[1].digest == first.levels[1].digest
    plans = [(tmp_path / name / "plan-1.json").read_bytes() for name in ("one", "two")]
    assert plans[0] == plans[1]


def test_a_plan_for_another_model_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert prune(tmp_path / "one", "--ratio", "0.5") == 0
    plan = json.loads((tmp_path / "one" / "plan-1.json").read_text())
    plan["groups"][0]["size"] += 1
    other = tmp_path / "other.json"
    other.write_text(json.dumps(plan))
    capfd.readouterr()
    assert prune(tmp_path / "two", "--plan", str(other)) == 2
    assert "which this model does not have" in capfd.readouterr().err
    assert not (tmp_path / "two").exists()


@pytest.mark.parametrize("content", [b"", b"{}", b"[1, 2]", b"\xff\xfe", b'{"kind": "magic"}'])
def test_what_is_no_plan_is_refused(
    tmp_path: Path, content: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "plan.json"
    path.write_bytes(content)
    assert prune(tmp_path / "out", "--plan", str(path)) == 2
    assert str(path) in capfd.readouterr().err


def test_a_plan_and_a_method_do_not_go_together(tmp_path: Path) -> None:
    assert prune(tmp_path / "out", "--plan", "x.json", "--ratio", "0.5") == 2


def test_the_library_is_imported_by_its_own_names() -> None:
    from secateur_server import pruning  # noqa: PLC0415 - what this test is about

    assert all(hasattr(pruning, name) for name in pruning.__all__)
