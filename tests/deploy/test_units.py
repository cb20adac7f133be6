"""The unit files, as systemd itself judges them. How they run: test_service.py."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
UNITS = sorted((ROOT / "deploy" / "systemd").glob("*.service"))
MOST_EXPOSED = 2.0

pytestmark = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd is not installed"
)


def analyze(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["systemd-analyze", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.fixture(params=UNITS, ids=lambda path: path.name)
def unit(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Give a unit whose program is there: it is not installed on this machine."""
    source: Path = request.param
    lines = source.read_text().splitlines()
    program = "ExecStart=/bin/true"
    copy = tmp_path / source.name
    copy.write_text(
        "\n".join(program if line.startswith("ExecStart=") else line for line in lines)
    )
    return copy


def test_systemd_finds_nothing_to_complain_of(unit: Path) -> None:
    # It ends with 0 whatever it finds.
    assert analyze("verify", str(unit)).stderr == ""


def test_little_is_exposed(unit: Path) -> None:
    said = analyze("security", "--offline=true", "--no-pager", str(unit)).stdout
    score = float(said.rsplit("exposure level for", 1)[1].split(":")[1].split()[0])
    assert score <= MOST_EXPOSED
