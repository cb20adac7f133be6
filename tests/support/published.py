"""A ladder that is published and served over HTTP, as a coordinator does."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from secateur_protocols.manifest import Ladder
from secateur_protocols.state import Desired, DesiredModel, LadderRef
from secateur_server.adapters.artifacts_http import ArtifactsServer
from secateur_server.registry.registry import Registry


@dataclass(frozen=True)
class PublishedLadder:
    """What an agent can be told to fetch."""

    ladder: Ladder
    ref: LadderRef
    url: str
    blobs_dir: Path

    def desired(self, revision: int, level: int, *, deadline_ms: float = 5000.0) -> Desired:
        wish = DesiredModel(
            model=self.ladder.model,
            ladder=self.ref,
            level=level,
            deadline_ms=deadline_ms,
            reason="test",
        )
        return Desired(revision=revision, artifacts_url=self.url, models=(wish,))


@contextmanager
def publish(ladder_dir: Path, folder: Path) -> Iterator[PublishedLadder]:
    """Publish a ladder in a registry of its own and serve it until the block ends."""
    registry = Registry(folder)
    published = registry.publish(ladder_dir)
    server = ArtifactsServer(registry.blobs_dir, host="127.0.0.1", port=0)
    server.start()
    url = f"http://127.0.0.1:{server.port}/blobs"
    yield PublishedLadder(published.ladder, published.ref, url, registry.blobs_dir)
    server.stop()
