"""Registries signed with real keys, by the code that operators run."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from secateur_protocols.trust import LadderTerms
from secateur_server.core.context import Published
from secateur_server.registry.registry import Registry
from secateur_server.signing import ceremony
from secateur_server.signing.listing import Lister
from secateur_server.signing.places import Places
from secateur_server.signing.sealed import Passphrases

PASSPHRASE = "correct horse battery"  # noqa: S105 - of keys that a test makes
KNOWN = Passphrases([PASSPHRASE])


@dataclass
class SignedRegistry:
    """A registry with keys of its own, in a folder."""

    folder: Path
    plan: ceremony.Plan = field(
        default_factory=lambda: ceremony.Plan(root_keys=1, root_threshold=1)
    )
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    def __post_init__(self) -> None:
        self.places = Places(self.folder / "server", (self.folder / "keys",))
        self.registry = Registry(self.places.data / "registry")
        if not self.places.repository.is_signed:
            ceremony.initialize(self.places, self.plan, PASSPHRASE, self.now)

    @property
    def metadata_dir(self) -> Path:
        return self.places.repository.folder

    @property
    def root_path(self) -> Path:
        """What devices are given at first."""
        return self.metadata_dir / "1.root.json"

    def publish(
        self, ladder_dir: Path, *, hardware: tuple[str, ...] = (), version: str | None = None
    ) -> Published:
        def allow(published: Published) -> None:
            terms = LadderTerms(
                model=published.ladder.model,
                version=published.ladder.version,
                hardware_classes=hardware,
            )
            Lister(self.places, KNOWN).allow(published.ref, terms, self.now)

        return self.registry.publish(ladder_dir, version=version, sign=allow)
