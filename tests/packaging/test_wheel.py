"""The wheel holds our three packages, and on a device it brings nothing of the server."""

import email
import os
import re
import subprocess
import sys
import zipfile
from importlib.metadata import Distribution, distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[2]
PACKAGES = {"secateur_agent", "secateur_protocols", "secateur_server"}
BROUGHT_BY_LITERT = {"flatbuffers"}
"""In the server's extra and on the device all the same: the engine itself requires it."""


EVERYWHERE = {"pip", "setuptools"}
"""What every virtual environment has."""

ROW = re.compile(r"^\| ([\w.-]+) [\d.]+ \| ([\d.]+) \|[^|]*\|(.*)\|$", re.MULTILINE)
"""Of the table of dependencies: name, megabytes, reason."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    run(
        *(sys.executable, "-m", "build", "--wheel", "--no-isolation"),
        *("--outdir", str(folder), str(REPOSITORY)),
    )
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def device(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the agent alone and give the folder of the environment's programs."""
    environment = tmp_path_factory.mktemp("device") / "venv"
    run(sys.executable, "-m", "venv", str(environment))
    pip = (str(environment / "bin" / "pip"), "--disable-pip-version-check", "--quiet")
    run(*pip, "install", f"{wheel}[agent]")
    return environment / "bin"


def run(*command: str) -> str:
    outside = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, cwd="/", env=outside, timeout=280
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def requirements(wheel: Path, extra: str) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
        metadata = email.message_from_bytes(archive.read(name))
    required = [Requirement(line) for line in metadata.get_all("Requires-Dist", [])]
    return {
        canonicalize_name(each.name)
        for each in required
        if each.marker is None or each.marker.evaluate({"extra": extra})
    }


def installed(programs: Path) -> set[str]:
    (folder,) = programs.parent.glob("lib/python*/site-packages")
    return {canonicalize_name(each.name) for each in distributions(path=[str(folder)])}


def size_mb(distribution: Distribution) -> float:
    paths = (Path(str(file.locate())) for file in distribution.files or ())
    return sum(path.stat().st_size for path in paths if path.is_file()) / 1e6


def test_the_wheel_holds_our_packages_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    top = {name.split("/")[0] for name in names}
    assert top == PACKAGES | {name for name in top if name.endswith(".dist-info")}
    assert len(top) == len(PACKAGES) + 1
    assert {f"{package}/py.typed" for package in PACKAGES} <= set(names)
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_the_agents_help_works_with_its_own_extra_alone(device: Path) -> None:
    assert "usage: secateur-agent" in run(str(device / "secateur-agent"), "--help")


def test_a_device_gets_nothing_of_the_servers_dependencies(wheel: Path, device: Path) -> None:
    ours = requirements(wheel, "agent") | requirements(wheel, "device")
    servers = requirements(wheel, "server") | requirements(wheel, "broker")
    unwanted = servers - ours - BROUGHT_BY_LITERT
    assert {"sqlalchemy", "typer", "rich", "starlette", "uvicorn", "amqtt"} <= unwanted
    assert installed(device) >= {"secateur", "numpy", "paho-mqtt"}
    assert not unwanted & installed(device)


def test_the_page_of_dependencies_lists_what_is_installed_with_its_size_and_a_reason(
    device: Path,
) -> None:
    page = (REPOSITORY / "docs" / "dependencies.md").read_text(encoding="utf-8")
    told = {name: (float(size), why) for name, size, why in ROW.findall(page)}
    (folder,) = device.parent.glob("lib/python*/site-packages")
    measured = {
        canonicalize_name(each.name): size_mb(each)
        for each in distributions(path=[str(folder)])
        if each.name not in EVERYWHERE
    }
    assert {canonicalize_name(name) for name in told} == measured.keys()
    for name, (size, why) in told.items():
        assert size == pytest.approx(measured[canonicalize_name(name)], rel=1 / 3, abs=0.1), (
            name
        )
        assert why.strip(), name


def test_the_agent_imports_nothing_of_the_server(device: Path) -> None:
    program = "import sys, secateur_agent.cli; print(*{m.split('.')[0] for m in sys.modules})"
    imported = set(run(str(device / "python"), "-c", program).split())
    assert imported >= {"secateur_agent", "secateur_protocols"}
    assert "secateur_server" not in imported
