"""All that a dashboard shows, real: broker with accounts, coordinator, obedient devices."""

import subprocess
import sys
from pathlib import Path
from typing import Self

from secateur_server.dashboard.server import DashboardServer, DashboardSettings
from secateur_server.simulation.scenario import make_ladder, read_scenario, write_ladder
from support.browser import Browser
from support.coordinators import RunningCoordinator
from support.secured_broker import PASSWORD, SecuredBroker
from support.waiting import wait_until

SCENARIO = (
    Path(__file__).resolve().parents[2] / "examples" / "simulation" / "heat-wave-day.toml"
)

SPEED = 60.0
"""A period of half a minute takes half a second."""


class Stage:
    """A secured broker, a coordinator on it, and a dashboard. A context manager."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.broker = SecuredBroker(folder / "secured")
        self._ca = self.broker.authority.certificate_path
        self.ladder = make_ladder(read_scenario(SCENARIO).ladder)
        write_ladder(self.ladder, folder / "ladder")
        self._folder = folder
        self._players: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        self.broker.start()
        try:
            self.coordinator = RunningCoordinator(
                self.url_of("_coordinator"), self._folder / "server"
            )
            for version in ("1", "2"):
                self.coordinator.registry.publish(self._folder / "ladder", version=version)
            self.coordinator.start()
            self.dashboard = DashboardServer(
                DashboardSettings(broker_url=self.url_of("_coordinator"), port=0)
            )
            self.dashboard.start()
        except BaseException:
            self.broker.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for player in self._players:
            player.terminate()
            player.wait(30.0)
        self.dashboard.stop()
        self.coordinator.stop()
        self.broker.stop()

    def url_of(self, user: str) -> str:
        """Give the broker's address with the account of a user."""
        password = PASSWORD.replace(" ", "%20")
        return f"mqtts://{user}:{password}@127.0.0.1:{self.broker.password_port}?ca={self._ca}"

    def play(self, devices: int) -> None:
        """Let simulated devices speak and obey, until the end."""
        command = [sys.executable, "-m", "secateur_server", "simulate"]
        command += ["--scenario", str(SCENARIO), "--devices", str(devices)]
        command += ["--broker", self.url_of("_coordinator"), "--speed", str(SPEED)]
        self._players.append(subprocess.Popen([*command, "--connections", "1"]))
        driver = self.coordinator.driver
        assert driver is not None
        wait_until(lambda: len(driver.devices) >= devices)


def log_in(browser: Browser, user: str, password: str = PASSWORD) -> None:
    browser.fill("input[name=user]", user)
    browser.fill("input[name=password]", password)
    browser.click("button.primary")
