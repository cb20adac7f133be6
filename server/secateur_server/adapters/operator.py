"""An operator's client: requests to the coordinator and what the broker shows."""

import queue
import time
import uuid

from secateur_protocols.codec import decode, encode
from secateur_protocols.control import Action, ControlRequest, ControlResponse
from secateur_protocols.errors import ProtocolError
from secateur_protocols.topics import control_request, control_response
from secateur_server.adapters.broker import Broker, Received, Subscription
from secateur_server.errors import ServerError

ASK_AGAIN_S = 2.0
"""Without an answer the same request is sent again; done twice it is a no-op (rule W5)."""

MAX_WAITING = 10_000
"""Messages that may wait to be read; of more, the newest are dropped."""


class OperatorClient:
    """One connection, used by one thread."""

    def __init__(self, broker_url: str, site: str, *, topics: tuple[str, ...] = ()) -> None:
        """Connect.

        Args:
            broker_url: ``mqtt://host:port``.
            site: Whose coordinator to speak with.
            topics: Filters of what to watch besides our responses.

        Raises:
            InputError: There is no broker.
        """
        self._site = site
        self._client = f"cli-{uuid.uuid4().hex[:12]}"
        self._responses: queue.Queue[Received] = queue.Queue(MAX_WAITING)
        self._watched: queue.Queue[Received] = queue.Queue(MAX_WAITING)
        self._broker = Broker(
            broker_url,
            subscriptions=list(
                map(Subscription, (control_response(site, self._client), *topics))
            ),
            on_message=self._sort,
        )
        self._broker.start()

    def request(self, action: Action, *, timeout_s: float = 10.0) -> ControlResponse:
        """Ask the coordinator and wait for its answer.

        Raises:
            ServerError: No answer in time, or the coordinator refuses.
        """
        request = ControlRequest(
            request_id=uuid.uuid4().hex, client=self._client, action=action
        )
        deadline, asked_again = time.monotonic() + timeout_s, 0.0
        while (left_s := deadline - time.monotonic()) > 0:
            if time.monotonic() >= asked_again:
                asked_again = time.monotonic() + ASK_AGAIN_S
                self._broker.publish(control_request(self._site), encode(request))
            response = self._next_response(min(left_s, ASK_AGAIN_S))
            if response is None or response.request_id != request.request_id:
                continue
            if not response.ok:
                raise ServerError(response.error or "the coordinator refuses")
            return response
        raise ServerError(
            f"no answer from the coordinator of site {self._site} in {timeout_s:.0f} s: "
            "is 'secateur serve' running there?"
        )

    def watch(self, timeout_s: float) -> Received | None:
        """Give the next message of the watched topics; ``None``: none in time."""
        try:
            return self._watched.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def close(self) -> None:
        """Leave the broker."""
        self._broker.stop()

    def _next_response(self, timeout_s: float) -> ControlResponse | None:
        try:
            return decode(ControlResponse, self._responses.get(timeout=timeout_s).payload)
        except (queue.Empty, ProtocolError):
            return None

    def _sort(self, received: Received) -> None:
        ours = received.topic == control_response(self._site, self._client)
        waiting = self._responses if ours else self._watched
        try:
            waiting.put_nowait(received)
        except queue.Full:
            return
