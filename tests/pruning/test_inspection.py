"""``secateur inspect`` on real files: facts, advice, and a terminal that stays readable."""

import json
from pathlib import Path

import numpy as np
import pytest

from secateur_server.cli import app
from secateur_server.pruning.inspection import inspect_model
from support.architectures import ARCHITECTURES, Sketch

DIGITS = Path(__file__).resolve().parents[2] / "examples" / "digits"
MODEL = str(DIGITS / "digits.tflite")

pytestmark = pytest.mark.engine


def test_the_facts_of_a_model_are_measured_and_add_up() -> None:
    facts = inspect_model(DIGITS / "digits.tflite", threads=2)
    assert facts.macs == sum(each.macs for each in facts.operators)
    assert facts.parameters == sum(each.parameters for each in facts.operators)
    assert 0.9 * facts.bytes < facts.weight_bytes < facts.bytes
    assert all(each.latency_ms for each in facts.operators)
    assert facts.timing is not None
    assert facts.timing.engine.startswith("ai-edge-litert ")
    assert facts.timing.threads == 2
    assert facts.peak_memory_bytes is not None
    held = [each for each in facts.groups if not each.is_free]
    assert ["SOFTMAX" in each.frozen for each in held] == [True]
    half, quarter = facts.reach
    assert quarter.macs_ratio < half.macs_ratio < 0.3
    assert quarter.bytes_ratio < half.bytes_ratio < 0.3
    assert facts.travel is not None
    assert facts.travel.zeroed_bytes < 0.7 * facts.travel.bytes


def test_a_calibration_set_gives_every_free_group_a_curve(tmp_path: Path) -> None:
    with np.load(DIGITS / "calibration.npz") as arrays:
        np.savez(tmp_path / "few.npz", x=arrays["x"][:60])
    facts = inspect_model(DIGITS / "digits.tflite", calibration_path=tmp_path / "few.npz")
    assert facts.calibration_samples == 60
    for group in facts.free_groups:
        assert group.curve is not None
        assert group.curve.widths[-1] == group.size
        assert group.curve.losses[-1] == 0.0
        assert list(group.curve.losses) == sorted(group.curve.losses, reverse=True)
        assert group.curve.losses[0] > 0.0


def test_json_holds_facts_and_advice(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["inspect", MODEL, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["advice"]["ease"] == "easily"
    shortages = [each["shortage"] for each in told["advice"]["recommendations"]]
    assert shortages == ["latency", "memory", "link", "disk"]
    assert all(each["latency_ms"] > 0 for each in told["operators"])
    assert told["timing"]["p50_ms"] > 0


def test_samples_that_do_not_fit_are_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "odd.npz", x=np.zeros((3, 5)))
    assert app.run(["inspect", MODEL, "--calibration", str(tmp_path / "odd.npz")]) == 2
    assert "odd.npz" in capfd.readouterr().err


def test_a_long_model_is_summed_up_and_shown_in_full_when_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    model = tmp_path / "long.tflite"
    model.write_bytes(ARCHITECTURES["mobilenet_v3"]())
    assert app.run(["inspect", str(model)]) == 0
    short = capsys.readouterr().out
    assert "by kind" in short
    assert "the 10 costliest of 43 operators" in short
    assert app.run(["inspect", str(model), "--all"]) == 0
    full = capsys.readouterr().out
    assert "costliest" not in full
    assert len(full.splitlines()) > len(short.splitlines()) + 20
    tables = [line for line in short.splitlines() if "  " in line.strip()]
    assert tables
    assert all(len(line) <= 80 for line in tables)


def test_names_that_look_like_markup_are_shown_as_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net = Sketch(0)
    x = net.input(1, 8, 8, 3)
    first = net.layer(x, 8)
    net.graph.tensors[first].name = b"[bold red]odd[/]"
    model = tmp_path / "odd.tflite"
    model.write_bytes(net.finish(net.layer(first, 4)))
    assert app.run(["inspect", str(model), "--all"]) == 0
    assert "[bold red]odd[/]" in capsys.readouterr().out


def test_a_model_that_the_engine_refuses_is_described_without_measurements(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    net = Sketch(0)
    x = net.layer(net.layer(net.input(1, 8, 8, 3), 6), 4)
    content = net.finish(net.add("Mystery", x, shapes=[(1, 8, 8, 4)], custom=b"")[0])
    model = tmp_path / "custom.tflite"
    model.write_bytes(content)
    facts = inspect_model(model)
    assert facts.timing is None
    assert all(each.latency_ms is None for each in facts.operators)
    assert app.run(["inspect", str(model)]) == 0
    told = capfd.readouterr().out
    assert "The engine does not run it, so nothing is measured" in told
    assert "Not followed: CUSTOM Mystery #2" in told
    assert "Measured on" not in told
