"""A repository in a folder, reached through the agent's own port; it serves what is there."""

from pathlib import Path

from secateur_agent.errors import TransientError
from secateur_agent.transfer.port import NotFoundError, Progress, TooLongError, ignore
from secateur_protocols.ota import ReasonCode


class FolderRepository:
    """Give what a folder holds, as any server would.

    Attributes:
        is_down: Whether nothing comes.
        asked: The paths that were asked for.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.is_down = False
        self.asked: list[str] = []

    def read(self, path: str, *, max_bytes: int) -> bytes:
        self.asked.append(path)
        if self.is_down:
            raise TransientError("no connection", ReasonCode.CONNECTION_LOST)
        try:
            content = (self.folder / path).read_bytes()
        except OSError as error:
            raise NotFoundError(path) from error
        if len(content) > max_bytes:
            raise TooLongError(path, max_bytes)
        return content

    def bring(
        self, path: str, into: Path, *, size_bytes: int, progress: Progress = ignore
    ) -> None:
        into.write_bytes(self.read(path, max_bytes=size_bytes))
        progress(size_bytes, size_bytes)
