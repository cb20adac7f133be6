"""What is wanted, and what exactly that is."""

from dataclasses import dataclass

from secateur_protocols.ids import Digest
from secateur_protocols.manifest import Manifest
from secateur_protocols.state import LadderRef


@dataclass(frozen=True, slots=True)
class Target:
    """What the coordinator wants: one level of one ladder."""

    ladder: LadderRef
    level: int


@dataclass(frozen=True, slots=True)
class Artifact:
    """A target, resolved: what exactly is to run."""

    target: Target
    manifest: Manifest

    @property
    def digest(self) -> Digest:
        """Of the artifact's bytes."""
        return self.manifest.digest
