"""The deeds of a swap that touch disk, network and the probe; called on worker threads."""

from collections.abc import Callable
from dataclasses import dataclass

from secateur_agent.adapters.probing import run_probe
from secateur_agent.adapters.store import Store
from secateur_agent.core.swap import Artifact, Target
from secateur_agent.errors import AgentError, PermanentError, TransientError
from secateur_agent.installed import EngineName
from secateur_agent.probe_words import ProbeRequest
from secateur_agent.transfer.port import IsCanceled, Progress, Repository, blob_path, ignore
from secateur_agent.transfer.transfers import Transfers
from secateur_agent.trust.trust import Trust
from secateur_protocols.errors import ProtocolError
from secateur_protocols.ids import DeviceId, Digest, ModelName
from secateur_protocols.manifest import MAX_LADDER_BYTES
from secateur_protocols.ota import ReasonCode
from secateur_protocols.state import ProofOfRun


@dataclass(frozen=True, slots=True)
class Needed:
    """What the store is to keep.

    Attributes:
        targets: On their way in, whose ladders may not have been read yet.
        coming: Artifacts on their way in.
        held: Artifacts that serve.
    """

    targets: tuple[Target, ...]
    coming: tuple[Artifact, ...]
    held: tuple[Artifact, ...]


@dataclass(frozen=True, slots=True)
class Updates:
    """Brings artifacts into the store and proves them. Holds nothing that changes."""

    store: Store
    transfers: Transfers
    trust: Trust
    device: DeviceId
    engine: EngineName
    threads: int
    probe_memory_bytes: int | None

    def resolve(self, model: ModelName, target: Target, repository: Repository) -> Artifact:
        """Read the ladder, fetching it first if it is not held.

        A level that is held, of a ladder that was accepted, needs no metadata. All else is
        an installation, and takes current metadata that lists the ladder.

        Raises:
            AgentError: It may not be installed, could not be brought, or names no such level.
        """
        ref = target.ladder
        if ref.size_bytes > MAX_LADDER_BYTES:
            msg = f"a ladder of {ref.size_bytes} bytes"
            raise PermanentError(msg, ReasonCode.NO_SPACE)
        if not (self.trust.has_accepted(model, ref) and self._holds_level(target)):
            committed = self.store.committed_ladder(model)
            self.trust.require(model, ref, repository, committed=committed)
        self._bring(ref.digest, ref.size_bytes, repository)
        try:
            ladder = self.store.read_ladder(ref)
        except ProtocolError as error:
            raise PermanentError(str(error), ReasonCode.LOAD_FAILED) from error
        if (ladder.model, ladder.version) != (model, ref.version):
            msg = f"the ladder is of {ladder.model} {ladder.version}, not {model} {ref.version}"
            raise PermanentError(msg, ReasonCode.SIGNATURE_INVALID)
        if target.level >= len(ladder.levels):
            msg = f"the ladder has no level {target.level}"
            raise PermanentError(msg, ReasonCode.LOAD_FAILED)
        return Artifact(target, ladder.levels[target.level])

    def _holds_level(self, target: Target) -> bool:
        """Say whether nothing has to be brought; `verify` hashes what is there."""
        try:
            ladder = self.store.read_ladder(target.ladder)
        except (AgentError, ProtocolError):
            return False
        if target.level >= len(ladder.levels):
            return True  # refused without asking anybody
        manifest = ladder.levels[target.level]
        digests = (manifest.digest, manifest.golden.digest)
        return all(self.store.blob_path(digest).exists() for digest in digests)

    def fetch(self, artifact: Artifact, repository: Repository, progress: Progress) -> None:
        """Bring the artifact and its golden inputs.

        Raises:
            AgentError: One of them could not be brought; what has come is kept.
        """
        manifest = artifact.manifest
        golden = manifest.golden
        self._bring(golden.digest, golden.size_bytes, repository)
        self._bring(manifest.digest, manifest.size_bytes, repository, progress)

    def verify(self, artifact: Artifact) -> None:
        """Hash the artifact and its golden inputs as they are on disk.

        Raises:
            TransientError: One is not what its name says; it was deleted.
        """
        for digest in (artifact.digest, artifact.manifest.golden.digest):
            if not self.store.holds(digest):
                msg = f"{digest[:12]} is damaged on disk"
                raise TransientError(msg, ReasonCode.DIGEST_MISMATCH)

    def probe(
        self, artifact: Artifact, *, is_urgent: bool, is_canceled: IsCanceled
    ) -> tuple[ProofOfRun, str]:
        """Run the golden inputs in a process of their own.

        Args:
            artifact: In the store.
            is_urgent: Whether a swap waits for it; else it gives way to everything.
            is_canceled: Whether nobody waits for it any more: then it is ended.

        Returns:
            The proof, and in words and numbers what was measured.

        Raises:
            PermanentError: The candidate failed.
            CanceledError: Nobody waits for it any more.
        """
        golden = artifact.manifest.golden
        request = ProbeRequest(
            engine=self.engine,
            threads=self.threads,
            artifact_path=str(self.store.blob_path(artifact.digest)),
            artifact_digest=artifact.digest,
            golden_path=str(self.store.blob_path(golden.digest)),
            golden_digest=golden.digest,
            tolerance=golden.tolerance,
            tolerances=golden.tolerances,
            is_urgent=is_urgent,
            memory_limit_bytes=self.probe_memory_bytes,
        )
        return run_probe(request, is_canceled)

    def sweep(self, needed: Callable[[], Needed]) -> None:
        """Delete what belongs to none of the ladders of what is needed.

        Args:
            needed: Asked once nothing can be admitted any more, so that what it says holds
                until all is deleted.

        Raises:
            AgentError: A ladder could not be read; nothing was deleted.
        """
        with self.store.changing:
            now = needed()
            keep = {target.ladder.digest for target in now.targets}
            staged = set(keep)
            for artifact in (*now.held, *now.coming):
                keep.add(artifact.target.ladder.digest)
                for manifest in self.store.read_ladder(artifact.target.ladder).levels:
                    keep |= {manifest.digest, manifest.golden.digest}
            for artifact in now.coming:
                staged |= {artifact.digest, artifact.manifest.golden.digest}
            self.store.sweep(keep, staged=staged)

    def _bring(
        self,
        digest: Digest,
        size_bytes: int,
        repository: Repository,
        progress: Progress = ignore,
    ) -> None:
        if self.store.holds(digest):
            return
        path = self.store.staging_path(digest)
        repository.bring(blob_path(digest), path, size_bytes=size_bytes, progress=progress)
        self.store.admit(digest)
