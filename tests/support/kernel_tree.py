"""A tree of /proc and /sys files for tests."""

from pathlib import Path

from secateur_agent.adapters.kernel.files import KernelFiles


class KernelTree:
    """Files below one folder, as the kernel would show them."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @property
    def files(self) -> KernelFiles:
        """What the sensors read."""
        return KernelFiles(self._root)

    def put(self, path: str, text: object) -> None:
        """Write one file."""
        target = self._root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(f"{text}\n")
