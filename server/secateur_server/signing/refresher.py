"""Keeps snapshot and timestamp fresh, in a thread, as long as the coordinator runs."""

import logging
import threading
from datetime import UTC, datetime, timedelta

from secateur_protocols.logs import LogEvent, about
from secateur_server.errors import InputError, ServerError
from secateur_server.signing.places import Places
from secateur_server.signing.standing import status

log = logging.getLogger("secateur.signing")

LOOK_S = 10.0
"""How often is looked at what is due, seconds: also at what another machine has signed."""

WARN = timedelta(days=30)
"""Before the operator's own metadata expires, it is said, once a day."""


class Refresher:
    """One thread. What goes wrong is logged and tried again at the next look."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._is_over = threading.Event()
        self._warned_at: datetime | None = None
        self._problem = ""
        self._thread = threading.Thread(target=self._run, daemon=True, name="refresher")

    def start(self) -> None:
        """Look now, then again and again; an unsigned registry may become a signed one."""
        self.look(datetime.now(UTC))
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._is_over.set()
        self._thread.join(10.0)

    def look(self, now: datetime) -> None:
        """Do what is due."""
        if not self._places.repository.is_signed:
            return
        try:
            if not self._places.is_coordinator:
                raise InputError(f"the coordinator's keys are not in {self._places.online_dir}")
            self._places.refresh(now)
            self._warn(now)
            self._problem = ""
        except ServerError as error:
            if str(error) != self._problem:
                self._problem = str(error)
                told = about(LogEvent.METADATA_NOT_REFRESHED)
                log.warning("signed metadata is not refreshed: %s", error, extra=told)

    def _run(self) -> None:
        while not self._is_over.wait(LOOK_S):
            self.look(datetime.now(UTC))

    def _warn(self, now: datetime) -> None:
        if self._warned_at is not None and now - self._warned_at < timedelta(days=1):
            return
        self._warned_at = now
        for role in ("root", "targets"):
            expires_at = status(self._places, now)["roles"][role]["expires_at"]
            if expires_at is None or datetime.fromisoformat(expires_at) - now < WARN:
                log.warning(
                    "%s metadata expires at %s: sign it anew with 'secateur keys renew'",
                    role,
                    expires_at,
                    extra=about(LogEvent.METADATA_EXPIRES, role=role),
                )
