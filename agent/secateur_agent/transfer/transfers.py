"""All transfers of one device: which way they go, in whose turn, at whose cost."""

from collections.abc import Callable

from secateur_agent.transfer.channel import BlockChannel
from secateur_agent.transfer.choice import EitherRepository, HttpMemory
from secateur_agent.transfer.errand import Errand, Turns
from secateur_agent.transfer.http_ranges import HttpRepository
from secateur_agent.transfer.ledger import Ledger
from secateur_agent.transfer.mqtt_blocks import BlockRepository
from secateur_agent.transfer.opening import is_http
from secateur_agent.transfer.port import (
    IsCanceled,
    Repository,
    UnknownRepository,
    Way,
    never,
)
from secateur_agent.transfer.watch import Pace, Patience, Watch


class Transfers:
    """Opens repositories; what all transfers share is here. Used from any thread."""

    def __init__(
        self,
        patience: Patience | None = None,
        *,
        way: Way = Way.AUTO,
        channel: BlockChannel | None = None,
        ledger: Ledger | None = None,
        spread_s: float = 0.0,
    ) -> None:
        """Prepare them.

        Args:
            patience: When each is given up, and how fast all may be.
            way: How files come.
            channel: To the coordinator; without it there are no blocks.
            ledger: Counts what comes.
            spread_s: The first file of an errand that has to travel starts within this
                time, at random: what a whole fleet does at once is spread (rule W10).
        """
        self._patience = patience or Patience()
        self._pace = Pace(self._patience.rate_bytes_per_s)
        self._way = way
        self._channel = channel
        self._ledger = ledger or Ledger(None, None)
        self._spread_s = spread_s
        self._memory = HttpMemory()
        self._turns = Turns()

    def open(
        self,
        artifacts_url: str | None,
        is_canceled: IsCanceled = never,
        *,
        is_spread: bool = False,
    ) -> Repository:
        """Open the repository for one errand.

        Args:
            artifacts_url: Of its folder ``blobs``, by HTTP. ``None``: nobody has said where
                it is, and what is not held cannot be had yet.
            is_canceled: Whether nobody needs it any more.
            is_spread: Whether a whole fleet may be on this errand now.

        Raises:
            PermanentError: The address is none that can be opened.
        """
        if artifacts_url is None:
            return UnknownRepository()

        def watch(path: str) -> Watch:
            return Watch(
                path,
                self._patience,
                is_canceled=is_canceled,
                pace=self._pace,
                spend=self._ledger.spend,
            )

        return Errand(
            self._choose(artifacts_url, watch),
            watch=watch,
            turns=self._turns,
            ledger=self._ledger,
            spread_s=self._spread_s if is_spread else 0.0,
        )

    def _choose(self, artifacts_url: str, watch: Callable[[str], Watch]) -> Repository:
        if self._way is Way.HTTP or self._channel is None:
            return HttpRepository(artifacts_url, watch)
        blocks = BlockRepository(self._channel, watch)
        if self._way is Way.MQTT or not is_http(artifacts_url):
            return blocks
        return EitherRepository(HttpRepository(artifacts_url, watch), blocks, self._memory)
