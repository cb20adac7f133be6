"""All transfers of one device: who opens the repository, and by which way."""

from secateur_agent.transfer.http_ranges import HttpRepository
from secateur_agent.transfer.port import IsCanceled, Repository
from secateur_agent.transfer.watch import Limits, Pace, Watch


def never() -> bool:
    """Say that somebody needs it still."""
    return False


class Transfers:
    """Opens repositories; what all transfers share is here. Used from any thread."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._pace = Pace(self._limits.rate_bytes_per_s)

    def open(self, artifacts_url: str, is_canceled: IsCanceled = never) -> Repository:
        """Open the repository for one errand.

        Raises:
            PermanentError: The address is none that can be opened.
        """

        def watch(path: str) -> Watch:
            return Watch(path, self._limits, is_canceled=is_canceled, pace=self._pace)

        return HttpRepository(artifacts_url, watch)
