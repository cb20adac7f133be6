"""When what is known of devices goes into the database.

What was decided is saved before it is sent, in one transaction for all that was decided at
once. What a device says of itself is saved at the next tick, its telemetry within `SAVE_S`:
it says it again. Where the database does not answer, all of it waits for the next turn.
"""

import logging
from collections import OrderedDict
from collections.abc import Collection, Mapping
from itertools import islice

from secateur_protocols.logs import LogEvent, about
from secateur_server.adapters.store import Store
from secateur_server.coordinator.replicas import Alone, Replicas
from secateur_server.core.fleet import DeviceState
from secateur_server.errors import TransientError

log = logging.getLogger("secateur.coordinator")

SAVE_S = 60.0
"""Within this, telemetry is saved, seconds."""

MAX_ROWS = 250
"""Devices saved at once, so that messages need not wait long; more have their turn between
messages."""


class Saver:
    """What is not yet saved. It looks at the coordinator's devices and changes nothing."""

    def __init__(
        self, store: Store, devices: Mapping[str, DeviceState], replicas: Replicas | Alone
    ) -> None:
        self._store = store
        self._devices = devices
        self._replicas = replicas
        self._changed: OrderedDict[str, float] = OrderedDict()
        self._news: set[str] = set()
        self._decided: set[str] = set()
        self.is_behind = False
        """Whether more may be due than was saved last."""

    def note_said(self, device: str, now_s: float, *, is_news: bool) -> None:
        """Note that a device said something; ``is_news``: more than telemetry."""
        self._changed.setdefault(device, now_s + SAVE_S)
        if is_news:
            self._news.add(device)

    def note_decided(self, device: str) -> None:
        """Note that something else is wanted of a device."""
        self._decided.add(device)

    def forget(self, device: str) -> None:
        """Save nothing more of a device."""
        self._changed.pop(device, None)
        self._news.discard(device)
        self._decided.discard(device)

    def save_decided(self) -> tuple[set[str], set[str]]:
        """Save all that was decided.

        Returns:
            The devices whose desired state may be sent now, and those of them for which
            another replica has decided meanwhile.
        """
        if not self._decided:
            return set(), set()
        decided = set(self._decided)
        try:
            written = self._store.save_desired(self._devices[each] for each in decided)
        except TransientError as error:
            log.warning("%s", error, extra=about(LogEvent.NOT_SAVED))
            return set(), set()
        self._decided -= decided
        return decided, decided - written

    def save_due(self, now_s: float) -> None:
        """Save what devices said and is to be saved by now."""
        due = list(islice(self._news, MAX_ROWS))
        for device, due_s in islice(self._changed.items(), MAX_ROWS - len(due)):
            if due_s > now_s:
                break  # in the order of their time
            due.append(device)
        self.is_behind = self._save(due) and len(due) == MAX_ROWS

    def save_all(self) -> None:
        """Save all that devices said."""
        self._save([*self._changed, *self._news])

    def _save(self, devices: Collection[str]) -> bool:
        # Of a device that is another replica's, that one saves what it says.
        known = {each: self._devices[each] for each in devices if each in self._devices}
        try:
            self._store.save_devices(
                state for device, state in known.items() if self._replicas.owns(device)
            )
        except TransientError as error:
            log.warning("%s", error, extra=about(LogEvent.NOT_SAVED))
            return False
        for device in devices:
            self._changed.pop(device, None)
            self._news.discard(device)
        return True
