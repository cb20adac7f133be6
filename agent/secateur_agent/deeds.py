"""The long deeds of swaps and standbys, on worker threads: each answers with one event."""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from random import SystemRandom
from typing import assert_never

from secateur_agent.adapters.clock import monotonic_s
from secateur_agent.adapters.updates import Needed, Updates
from secateur_agent.core import swap
from secateur_agent.errors import AgentError, TransientError
from secateur_agent.transfer.port import IsCanceled, Progress, Repository
from secateur_protocols.ids import ModelName
from secateur_protocols.logs import LogEvent, about
from secateur_protocols.ota import OtaProgress

log = logging.getLogger("secateur.agent")

WORKERS = 4
"""Deeds at a time; more models than that wait their turn."""

PROGRESS_S = 1.0
"""At most one progress message per this time, seconds."""

Deed = swap.Resolve | swap.Fetch | swap.Verify | swap.Probe


@dataclass(frozen=True, slots=True)
class Order:
    """For whom a deed is done.

    Attributes:
        artifacts_url: Where blobs are. ``None``: no coordinator has said so since the start.
        is_urgent: Whether a swap waits for it, or only a standby.
        is_canceled: Whether nobody waits for it any more; asked on a worker.
    """

    model: ModelName
    artifacts_url: str | None
    is_urgent: bool
    is_canceled: IsCanceled


class Deeds:
    """Runs deeds beside the driver's loop."""

    def __init__(
        self,
        updates: Updates,
        tell: Callable[[OtaProgress], None],
        needed: Callable[[], Needed],
    ) -> None:
        """Make the workers.

        Args:
            updates: What the deeds are made of.
            needed: Says on a worker what the store is to keep.
            tell: Called on a worker with how far a download is.
        """
        self._updates = updates
        self._needed = needed
        self._is_over = False
        self._tell = tell
        self._told_at_s = 0.0
        self._workers = ThreadPoolExecutor(WORKERS, thread_name_prefix="deed")

    def start(self, deed: Deed, order: Order, answer: Callable[[swap.Answer], None]) -> None:
        """Run a deed on a worker, which calls ``answer`` once."""
        self._workers.submit(lambda: answer(self._run(deed, order)))

    def stop(self) -> None:
        """Begin no other deed, and cancel those under way."""
        self._is_over = True
        self._workers.shutdown(wait=False, cancel_futures=True)

    def tidy(self) -> None:
        """Let a worker delete what nobody needs."""
        self._workers.submit(self._tidy)

    def _tidy(self) -> None:
        try:
            self._updates.sweep(self._needed)
        except AgentError as error:
            told = about(LogEvent.SWEEP_PUT_OFF)
            log.warning("nothing is swept now: %s", error, extra=told)

    def _run(self, deed: Deed, order: Order) -> swap.Answer:
        try:
            return self._do(deed, order)
        except AgentError as error:
            return swap.Failed(
                ticket=deed.ticket,
                reason=error.reason,
                detail=str(error),
                permanent=not isinstance(error, TransientError),
                retry_after_s=getattr(error, "retry_after_s", 0.0),
                chance=SystemRandom().random(),
            )
        finally:
            if order.is_canceled():
                self._tidy()  # it still wrote when what it was for had been given up

    def _do(self, deed: Deed, order: Order) -> swap.Answer:
        match deed:
            case swap.Resolve():
                repository = self._repository(order, is_spread=True)
                return swap.Resolved(
                    deed.ticket, self._updates.resolve(order.model, deed.target, repository)
                )
            case swap.Fetch():
                progress = self._progress(order.model, deed)
                self._updates.fetch(deed.artifact, self._repository(order), progress)
            case swap.Verify():
                self._updates.verify(deed.artifact)
            case swap.Probe():
                proof, detail = self._updates.probe(
                    deed.artifact,
                    is_urgent=order.is_urgent,
                    is_canceled=self._canceled(order),
                )
                return swap.Proven(deed.ticket, proof, detail)
            case _:
                assert_never(deed)
        return swap.Done(deed.ticket)

    def _repository(self, order: Order, *, is_spread: bool = False) -> Repository:
        return self._updates.transfers.open(
            order.artifacts_url,
            self._canceled(order),
            is_spread=is_spread,
        )

    def _canceled(self, order: Order) -> IsCanceled:
        return lambda: self._is_over or order.is_canceled()

    def _progress(self, model: ModelName, deed: swap.Fetch) -> Progress:
        started_s = monotonic_s()

        def tell(received: int, total: int) -> None:
            now_s = monotonic_s()
            if now_s - self._told_at_s < PROGRESS_S:
                return
            self._told_at_s = now_s
            rate = received / max(now_s - started_s, 1e-3)
            message = OtaProgress(
                model=model,
                digest=deed.artifact.digest,
                received_bytes=received,
                total_bytes=total,
                rate_bytes_per_s=rate,
                remaining_s=(total - received) / rate if rate else None,
            )
            self._tell(message)

        return tell
