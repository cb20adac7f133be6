"""A dashboard in a process of its own, for a program that does something else besides.

What pages cost never delays the coordinator's decisions, and each may end without the other.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

from secateur_server.dashboard.link import with_credentials
from secateur_server.errors import ServerError

START_S = 20.0
STOP_S = 15.0
KEEPER = "secateur_server.adapters.keeper"


class DashboardChild:
    """One running ``secateur dashboard``, kept by a keeper: it ends with us, however we end."""

    def __init__(self, broker_url: str, *, site: str, port: int, ready_path: Path) -> None:
        """Start it and wait until it answers.

        Args:
            broker_url: Whose credentials are left out: users bring theirs.
            site: Which one to show.
            port: On 127.0.0.1; 0 takes a free one.
            ready_path: A file of our own that it may write.

        Raises:
            ServerError: It did not start; nothing is left running.
        """
        ready_path.unlink(missing_ok=True)
        python = [sys.executable, "-P", "-m"]
        command = [*python, KEEPER, *python, "secateur_server", "dashboard"]
        command += ["--broker", with_credentials(broker_url, "", ""), "--site", site]
        command += ["--port", str(port), "--ready-file", str(ready_path)]
        self._child = subprocess.Popen(  # noqa: S603 - our own program
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
        )
        try:
            self.url = self._wait_for(ready_path)
        except ServerError:
            self.stop()
            raise

    def stop(self) -> None:
        """End it."""
        if self._child.stdin is not None:
            self._child.stdin.close()
        try:
            self._child.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()

    def _wait_for(self, ready_path: Path) -> str:
        deadline = time.monotonic() + START_S
        while not ready_path.exists():
            if self._child.poll() is not None:
                raise ServerError("the dashboard ended at once: is its port taken?")
            if time.monotonic() > deadline:
                raise ServerError(f"the dashboard did not start in {START_S:.0f} s")
            time.sleep(0.05)
        return str(json.loads(ready_path.read_text(encoding="utf-8"))["dashboard"])
