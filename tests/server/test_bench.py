"""Benches of users: real models in the engine, and a processor that tells its energy."""

import json
from pathlib import Path

import pytest

from secateur_server.bench import EnergyMeter
from secateur_server.cli.app import run

DIGITS = Path(__file__).parents[2] / "examples" / "digits" / "digits.tflite"


def test_a_ladder_is_measured_level_by_level(
    digits_ladder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "bench.html"
    options = ["--seconds", "0.2", "--json", "--report", str(report)]
    assert run(["bench", str(digits_ladder), *options]) == 0
    levels = json.loads(capsys.readouterr().out)["levels"]
    assert [each["name"] for each in levels] == [f"digits level {k}" for k in range(3)]
    for each in levels:
        assert 0 < each["p50_ms"] <= each["p95_ms"] <= each["p99_ms"]
        assert each["runs"] > 0
        assert each["memory_bytes"] > 0
    assert "digits level 2" in report.read_text()


def test_files_are_compared_with_the_first(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", str(DIGITS), str(DIGITS), "--seconds", "0.1"]) == 0
    assert capsys.readouterr().out.count("digits.tflite") == 2


@pytest.mark.parametrize("content", [None, b"", b"no model"])
def test_what_cannot_be_measured_is_told_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None
) -> None:
    path = tmp_path / "model.tflite"
    if content is not None:
        path.write_bytes(content)
    assert run(["bench", str(path), "--seconds", "0.1"]) == 2
    assert "model.tflite" in capsys.readouterr().err


def test_energy_is_read_over_all_packages_and_over_a_counter_that_begins_anew(
    tmp_path: Path,
) -> None:
    for name, energy in (("intel-rapl:0", 900), ("intel-rapl:1", 5), ("intel-rapl:0:0", 7)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "energy_uj").write_text(f"{energy}\n")
        (tmp_path / name / "max_energy_range_uj").write_text("1000\n")
    meter = EnergyMeter(tmp_path)
    before = meter.joules()
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text("100\n")
    (tmp_path / "intel-rapl:1" / "energy_uj").write_text("25\n")
    assert meter.is_there
    assert meter.since(before) == pytest.approx((200 + 20) / 1e6)


def test_a_machine_that_does_not_tell_its_energy_has_no_meter(tmp_path: Path) -> None:
    assert not EnergyMeter(tmp_path).is_there
