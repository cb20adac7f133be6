"""What the service manager is told: ready, alive, how it goes, stopping.

The protocol is one datagram of `KEY=value` lines (sd_notify(3), systemd.service(5)). Without
systemd nothing is said.
"""

import contextlib
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass

FEEDS_PER_LIMIT = 3
"""How often within `WatchdogSec` the watchdog is fed: two may be late."""


@dataclass(frozen=True, slots=True)
class ServiceManager:
    """Where systemd listens, and how long it waits for a sign of life."""

    address: str | None
    """A Unix socket; one that begins with @ is abstract. ``None``: nobody listens."""
    feed_s: float | None
    """Seconds between two signs of life. ``None``: nobody waits for them."""

    @classmethod
    def of_environment(cls, environment: Mapping[str, str] = os.environ) -> "ServiceManager":
        """Read what systemd told this process when it started it."""
        limit = environment.get("WATCHDOG_USEC", "")
        is_ours = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        feed_s = int(limit) / 1e6 / FEEDS_PER_LIMIT if is_ours and limit.isdecimal() else None
        return cls(environment.get("NOTIFY_SOCKET") or None, feed_s)

    def ready(self) -> None:
        """Say that we do what we were started for."""
        self._say("READY=1")

    def alive(self) -> None:
        """Put off the restart by another `WatchdogSec`."""
        self._say("WATCHDOG=1")

    def status(self, text: str) -> None:
        """Say in one line how it goes; `systemctl status` shows it."""
        self._say(f"STATUS={' '.join(text.split())}")

    def stopping(self) -> None:
        """Say that we end by our own will."""
        self._say("STOPPING=1")

    def _say(self, text: str) -> None:
        if self.address is None:
            return
        address = f"\0{self.address[1:]}" if self.address.startswith("@") else self.address
        # A manager that does not listen is no reason to stop inferring.
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection,
        ):
            connection.setblocking(False)
            connection.sendto(text.encode(), address)
