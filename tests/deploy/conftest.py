"""What the tests of installation share: distributions to install, a machine with systemd."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import systemd_machine
from support.systemd_machine import SystemdMachine

ROOT = Path(__file__).resolve().parents[2]
DEBIAN_PYTHON = Path("/usr/bin/python3")
BUILD_S = 600.0


@pytest.fixture(scope="session")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build our wheel, and fetch what ``secateur[agent]`` needs for Debian's Python."""
    folder = tmp_path_factory.mktemp("distributions")
    build = [sys.executable, "-m", "build", "--wheel", "--outdir", str(folder), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True, timeout=BUILD_S)
    [wheel] = folder.glob("secateur-*.whl")
    fetch = ["download", "--quiet", "--dest", str(folder), f"{wheel}[agent]"]
    pip = [str(DEBIAN_PYTHON), "-m", "pip"]
    fetched = subprocess.run(
        [*pip, *fetch], check=False, capture_output=True, text=True, timeout=BUILD_S
    )
    if fetched.returncode != 0:
        pytest.skip(f"the agent's distributions cannot be fetched: {fetched.stderr[-200:]}")
    return folder


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[SystemdMachine]:
    """Boot a machine of the test's own, and end it."""
    if (why := systemd_machine.why_not()) is not None:
        pytest.skip(f"no systemd of our own: {why}")
    with SystemdMachine(tmp_path / "machine") as booted:
        yield booted
