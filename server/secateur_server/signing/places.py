"""Where keys and metadata are, and how keys are opened to sign."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from securesystemslib.signer import Signer
from tuf.api.metadata import Root

from secateur_server.errors import InputError
from secateur_server.signing.keyring import KEYRING, Keyring, read_keyring
from secateur_server.signing.repository import Repository
from secateur_server.signing.roles import ONLINE, Role
from secateur_server.signing.sealed import Passphrases

NO_PASSPHRASE = Passphrases([])


@dataclass(frozen=True, slots=True)
class Places:
    """Where everything is.

    Attributes:
        data: The server's folder.
        offline: Folders of the operator's keys; new ones go into the first.
    """

    data: Path
    offline: tuple[Path, ...] = ()

    @property
    def repository(self) -> Repository:
        """Give the folder of metadata."""
        return Repository(self.data / "registry" / "metadata")

    @property
    def online_dir(self) -> Path:
        """Give the folder of the coordinator's keys: not below what it serves."""
        return self.data / "keys"

    @property
    def is_coordinator(self) -> bool:
        """Whether the coordinator's keys are here; elsewhere only the operator signs."""
        return (self.online_dir / KEYRING).exists()

    def rings(self, role: Role) -> tuple[Keyring, ...]:
        """Read the folders in which a role's keys are.

        Raises:
            InputError: No folder is given, or one holds no keys.
        """
        if role in ONLINE:
            return (read_keyring(self.online_dir),)
        if not self.offline:
            raise InputError(f"the {role} keys are kept apart: give their folder as --keys")
        return tuple(read_keyring(folder) for folder in self.offline)

    def open(self, role: Role, roots: Sequence[Root], passphrases: Passphrases) -> list[Signer]:
        """Open as many keys of a role as have to sign.

        Args:
            role: Whose keys.
            roots: Whose thresholds have to be met, each with the keys it names.
            passphrases: What opens them.

        Raises:
            InputError: Too few are there, or one cannot be opened.
        """
        rings = self.rings(role)
        places = {key_id: ring for ring in rings for key_id in ring.entries}
        opened: dict[str, Signer] = {}
        for root in roots:
            wanted = root.roles[role]
            held = [key_id for key_id in wanted.keyids if key_id in places]
            if len(held) < wanted.threshold:
                folders = ", ".join(str(ring.folder) for ring in rings)
                raise InputError(
                    f"{role} metadata takes {wanted.threshold} of its keys to sign, "
                    f"{len(held)} in {folders}: give every folder of keys as --keys"
                )
            # Those that are open already first: each costs a passphrase or a touch.
            held.sort(key=lambda key_id: key_id not in opened)
            for key_id in held[: wanted.threshold]:
                if key_id not in opened:
                    opened[key_id] = places[key_id].signer(key_id, passphrases)
        return list(opened.values())

    def refresh(self, now: datetime) -> tuple[Role, ...]:
        """Sign snapshot and timestamp anew where that is due, with the coordinator's keys.

        Returns:
            The roles that were signed: none where the coordinator's keys are not.

        Raises:
            InputError: The keys are not those that the root names.
            ServerError: Something could not be written.
        """
        with self.repository.locked():
            return self.refresh_locked(now)

    def refresh_locked(self, now: datetime) -> tuple[Role, ...]:
        """Do what `refresh` does, where the repository is locked already."""
        if not self.is_coordinator:
            return ()  # the coordinator does it, once what is signed here has come to it
        root = self.repository.root().signed
        signers = {role: self.open(role, [root], NO_PASSPHRASE) for role in ONLINE}
        return self.repository.refresh(signers, now)
