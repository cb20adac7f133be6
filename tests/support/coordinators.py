"""Coordinators that tests start: in a thread, or as a process of their own."""

import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

from secateur_server.adapters.store import Store, sqlite_url
from secateur_server.coordinator.driver import Driver
from secateur_server.registry.registry import Registry

ARTIFACTS_URL = "http://127.0.0.1:1/blobs"


class RunningCoordinator:
    """A driver in a thread; `stop` it, and `start` it again on the same database."""

    def __init__(self, broker_url: str, folder: Path) -> None:
        self.broker_url = broker_url
        self.registry = Registry(folder / "registry")
        self._database = folder / "secateur.sqlite"
        self._thread: threading.Thread | None = None
        self.driver: Driver | None = None

    def open_store(self) -> Store:
        """Open its database, as another replica does too."""
        return Store(sqlite_url(self._database), "default")

    def start(self) -> None:
        store = self.open_store()
        self.driver = Driver(
            site="default",
            broker_url=self.broker_url,
            artifacts_url=ARTIFACTS_URL,
            store=store,
            registry=self.registry,
        )
        self.driver.start()
        self._thread = threading.Thread(target=self._run, args=(self.driver, store))
        self._thread.start()

    def stop(self) -> None:
        if self.driver is not None and self._thread is not None:
            self.driver.quit()
            self._thread.join(30.0)
            assert not self._thread.is_alive()
        self.driver = None

    @staticmethod
    def _run(driver: Driver, store: Store) -> None:
        try:
            driver.run()
        finally:
            store.close()


@dataclass(frozen=True, slots=True)
class Served:
    """A ``secateur serve`` in a process of its own."""

    broker_url: str
    artifacts_url: str
    data: Path
    process: "subprocess.Popen[bytes]"

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run one of the operator's commands against it."""
        return subprocess.run(
            [sys.executable, "-m", "secateur_server", *arguments, "--broker", self.broker_url],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
