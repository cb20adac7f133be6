"""Who coordinates a site: one alone, or several that share a database.

Replicas say that they are alive through the database, by its clock. Each device belongs to
one of them (`core.ownership`). Telemetry goes to whoever the broker's shared subscription
gives it to, where that works; else all hear all of it and its owner takes it. Either way no
write to the database takes a decision back, so two replicas that decide at once agree.
"""

import time
from collections.abc import Sequence

from secateur_server.adapters.store import Store
from secateur_server.core.ownership import owner_of
from secateur_server.errors import TransientError

BEAT_S = 1.0
"""How often a replica says that it is alive, seconds."""

EXPIRE_S = 5.0
"""After this much silence its devices go to the others, seconds."""

CONTROL = "_control"
"""What the answering of operators' requests is called, as something to be owned."""


class Alone:
    """One coordinator that owns everything."""

    name: str | None = None
    are_several = False
    is_shared = False
    leads = True
    members: Sequence[str] = ()

    def join(self) -> None:
        """Begin."""

    def leave(self) -> None:
        """End."""

    @staticmethod
    def beat() -> bool:
        """Say that we are alive; true: we own more devices than before."""
        return False

    @staticmethod
    def owns(_device: str) -> bool:
        """Say whether we act on a device."""
        return True

    @staticmethod
    def takes_telemetry(_device: str) -> bool:
        """Say whether we act on a device's telemetry that reached us."""
        return True

    @staticmethod
    def telemetry_filter(topic_filter: str) -> str:
        """Give what to subscribe to for telemetry."""
        return topic_filter


class Replicas:
    """One of several coordinators of a site."""

    are_several = True

    def __init__(self, store: Store, *, site: str, name: str, is_shared: bool) -> None:
        """Make one; it is none of them until it joins.

        Args:
            store: Its database holds who is alive.
            site: Whose coordinators they are.
            name: Ours, unlike any other's.
            is_shared: Whether the broker delivers shared subscriptions.
        """
        self.name: str | None = name
        self.is_shared = is_shared
        self.members: Sequence[str] = ()
        self._name = name
        self._site = site
        self._store = store
        self._next_beat_s = 0.0

    @property
    def leads(self) -> bool:
        """Whether we answer operators."""
        return self.owns(CONTROL)

    def join(self) -> None:
        """Become one of them.

        Raises:
            TransientError: The database does not answer.
        """
        self.members = self._store.beat(self._name, expire_s=EXPIRE_S)

    def leave(self) -> None:
        """Hand our devices over at once; where the database is gone, it takes `EXPIRE_S`."""
        try:
            self._store.leave(self._name)
        except TransientError:
            return

    def beat(self) -> bool:
        """Say that we are alive, if it is time; true: others came or went."""
        now_s = time.monotonic()
        if now_s < self._next_beat_s:
            return False
        self._next_beat_s = now_s + BEAT_S
        before = self.members
        try:
            self.members = self._store.beat(self._name, expire_s=EXPIRE_S)
        except TransientError:
            return False  # nobody can write a decision now either
        return self.members != before

    def owns(self, device: str) -> bool:
        """Say whether we act on a device."""
        return owner_of(device, self.members) == self._name

    def takes_telemetry(self, device: str) -> bool:
        """Say whether we act on a device's telemetry that reached us."""
        return self.is_shared or self.owns(device)

    def telemetry_filter(self, topic_filter: str) -> str:
        """Give what to subscribe to for telemetry."""
        return (
            f"$share/coordinators-{self._site}/{topic_filter}"
            if self.is_shared
            else topic_filter
        )
