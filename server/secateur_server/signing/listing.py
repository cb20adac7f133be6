"""The list of ladders that devices may install: signed targets metadata."""

from collections.abc import Callable
from datetime import datetime

from tuf.api.metadata import TargetFile, Targets

from secateur_protocols.ids import ModelName, Version
from secateur_protocols.state import LadderRef
from secateur_protocols.trust import LadderTerms, ladder_path
from secateur_server.errors import InputError
from secateur_server.signing.places import Places
from secateur_server.signing.repository import following, sign
from secateur_server.signing.roles import Role
from secateur_server.signing.sealed import Passphrases


class Lister:
    """Changes the list, with a key of the targets role that was opened beforehand."""

    def __init__(self, places: Places, passphrases: Passphrases) -> None:
        """Open the key.

        Raises:
            InputError: The registry is not signed, or the key is not there or stays closed.
        """
        self._places = places
        root = places.repository.root().signed
        self._signers = places.open(Role.TARGETS, [root], passphrases)

    def allow(self, ref: LadderRef, terms: LadderTerms, now: datetime) -> None:
        """Let devices install a ladder from now on.

        Raises:
            InputError: The key does not count any more, or the list has become too long.
            ServerError: Something could not be written; the old list holds.
        """
        path = ladder_path(terms.model, terms.version)
        custom = terms.model_dump(mode="json", exclude_defaults=True)
        file = TargetFile(
            ref.size_bytes, {"sha256": ref.digest}, path, unrecognized_fields={"custom": custom}
        )
        self._change(lambda targets: targets.targets.update({path: file}), now)

    def withdraw(self, model: ModelName, version: Version, now: datetime) -> None:
        """Let no device install a ladder any more; those that run it go on.

        Raises:
            InputError: It is not listed.
            ServerError: Something could not be written; the old list holds.
        """
        path = ladder_path(model, version)

        def remove(targets: Targets) -> None:
            if targets.targets.pop(path, None) is None:
                raise InputError(f"{model} {version} is not listed: see 'secateur keys status'")

        self._change(remove, now)

    def _change(self, change: Callable[[Targets], None], now: datetime) -> None:
        repository = self._places.repository
        with repository.locked():
            root = repository.root().signed
            changed = following(repository.targets())
            change(changed.signed)
            document = sign(changed, Role.TARGETS, root, self._signers, now)
            repository.write(Role.TARGETS, document, changed.signed.version)
            self._places.refresh_locked(now)
