"""What a source of frames is: the one interface for our own and for third parties'.

A distribution offers a source under the entry-point group `secateur.sources`:

    [project.entry-points."secateur.sources"]
    thermal-camera = "my_package.camera:open_source"

and ``agent.toml`` names it, with options of the source's own:

    [models.source]
    kind = "plugin"
    name = "thermal-camera"
    options = { device = "/dev/video2" }

What the entry point names is called once, in the inference process, with the options as
keyword arguments, and gives a `Source`. It raises `SourceError` (or `ValueError` or
`TypeError`) for options that it cannot use; then the agent does not start.
"""

import threading
from typing import Protocol

from secateur_agent.engine import Tensor

ENTRY_POINTS = "secateur.sources"
"""The entry-point group of third-party sources."""


class SourceError(Exception):
    """A source cannot be opened, or cannot go on."""


class Offer(Protocol):
    """Hands a frame over; never blocks, may be called from any thread."""

    def __call__(
        self, sample: Tensor, label: int | None = None, arrived_s: float | None = None
    ) -> None:
        """Let one frame wait for its answer.

        Args:
            sample: One input, with as many numbers as the model's. Not written to again:
                the caller may keep a view of its own buffer only if it makes a new one
                for the next frame.
            label: The right answer, where it is known.
            arrived_s: On the monotonic clock (`time.monotonic`). ``None``: now.
        """


class Source(Protocol):
    """Where a model's frames come from."""

    @property
    def sample(self) -> Tensor | None:
        """One typical input for warming a model up. ``None``: zeros will do."""

    def run(self, offer: Offer, stopping: threading.Event) -> None:
        """Offer frames until ``stopping`` is set; called on a thread of its own.

        Returning earlier, or raising, is a failure: it is reported, and after a delay this is
        called again. Every wait must end soon after ``stopping`` is set.

        Raises:
            SourceError: It cannot go on.
        """
