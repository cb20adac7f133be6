"""Frames from an MQTT topic. The control process has the connection and hands them over."""

import threading
import time

import numpy as np

from secateur_agent.inference.commands import TopicSpec
from secateur_agent.source import Offer, SourceError

QUIET_S = 60.0
"""Between two complaints about payloads that are no frames, seconds."""


class TopicSource:
    """Takes each payload for one frame."""

    sample = None

    def __init__(self, spec: TopicSpec) -> None:
        self._dtype = np.dtype(spec.dtype)
        self._shape = spec.shape
        self._size = self._dtype.itemsize * int(np.prod(spec.shape))
        self._offer: Offer | None = None
        self._quiet_until_s = 0.0

    def run(self, offer: Offer, stopping: threading.Event) -> None:
        """Take what arrives until stopped."""
        self._offer = offer
        stopping.wait()
        self._offer = None

    def arrive(self, payload: bytes) -> None:
        """Offer one payload; before anything can answer it is let go.

        Raises:
            SourceError: It is no frame. Said once per `QUIET_S`: whoever sends one such
                payload sends many.
        """
        if len(payload) != self._size:
            now_s = time.monotonic()
            if now_s < self._quiet_until_s:
                return
            self._quiet_until_s = now_s + QUIET_S
            problem = f"a payload of {len(payload)} bytes where a frame has {self._size}"
            raise SourceError(problem)
        if self._offer is not None:
            self._offer(np.frombuffer(payload, self._dtype).reshape(self._shape))
