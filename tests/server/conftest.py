"""A coordinator of the test's own, on a real Mosquitto, with a real registry and database."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from secateur_protocols.info import Info
from secateur_protocols.manifest import Ladder
from secateur_server.adapters.embedded_broker import EmbeddedBroker, find_mosquitto
from secateur_server.adapters.store import sqlite_url
from secateur_server.registry.registry import Registry
from support.coordinators import RunningCoordinator, Served
from support.postgres import PostgresServer, find_postgres
from support.scripted_device import ScriptedDevice, wait_until
from support.situations import make_ladder, write_ladder_dir


@pytest.fixture
def ladder() -> Ladder:
    return make_ladder()


@pytest.fixture
def coordinator(
    mosquitto: EmbeddedBroker, tmp_path: Path, ladder: Ladder
) -> Iterator[RunningCoordinator]:
    """Coordinate the site ``default``, with one ladder published."""
    running = RunningCoordinator(mosquitto.url, tmp_path / "server")
    running.registry.publish(write_ladder_dir(tmp_path / "ladder", ladder))
    running.start()
    yield running
    running.stop()


@pytest.fixture
def make_device(mosquitto: EmbeddedBroker) -> Iterator[Callable[[str, Info], ScriptedDevice]]:
    """Connect scripted devices; all leave at the end."""
    devices: list[ScriptedDevice] = []

    def make(name: str, info: Info) -> ScriptedDevice:
        devices.append(ScriptedDevice(mosquitto.url, name, info))
        return devices[-1]

    yield make
    for device in devices:
        device.close()


@pytest.fixture
def served(tmp_path: Path, ladder: Ladder) -> Iterator[Served]:
    """Run ``secateur serve`` with its embedded Mosquitto and one ladder published."""
    if find_mosquitto() is None:
        pytest.skip("mosquitto is not installed: apt install mosquitto")
    data, ready = tmp_path / "served", tmp_path / "ready.json"
    Registry(data / "registry").publish(write_ladder_dir(tmp_path / "served-ladder", ladder))
    command = [sys.executable, "-m", "secateur_server", "serve", "--data", str(data)]
    command += ["--broker-port", "0", "--http-port", "0", "--ready-file", str(ready)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        wait_until(lambda: ready.exists() or process.poll() is not None)
        assert process.poll() is None, "serve ended"
        addresses = json.loads(ready.read_text())
        yield Served(addresses["broker"], addresses["artifacts"], data, process)
    finally:
        process.terminate()
        process.wait(30.0)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """Run a PostgreSQL server of the tests' own."""
    programs = find_postgres()
    if programs is None:
        pytest.skip("PostgreSQL is not installed: apt install postgresql")
    server = PostgresServer(programs)
    yield server
    server.stop()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Run the test on each kind of database."""
    if request.param == "sqlite":
        return sqlite_url(tmp_path / "test.sqlite")
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.make_database()
