"""Operators' requests: who asks the same twice gets the same answer (rule W5)."""

import logging
from collections import OrderedDict

from secateur_protocols.codec import decode, encode
from secateur_protocols.control import ControlRequest, ControlResponse
from secateur_protocols.errors import ProtocolError
from secateur_protocols.logs import LogEvent, about
from secateur_protocols.topics import control_response
from secateur_server.adapters.broker import Broker
from secateur_server.coordinator.control import Coordinator, answer
from secateur_server.coordinator.counters import Met

log = logging.getLogger("secateur.coordinator")

MAX_REQUESTS = 1_000
"""Answered requests remembered."""


class Requests:
    """Answers one site's operators."""

    def __init__(self, broker: Broker, site: str) -> None:
        self._broker = broker
        self._site = site
        self._answered: OrderedDict[str, ControlResponse] = OrderedDict()

    def take(self, coordinator: Coordinator, payload: bytes) -> None:
        """Do what is asked, once, and answer; one of several coordinators does."""
        if not coordinator.replicas.leads:
            return
        try:
            request = decode(ControlRequest, payload)
        except ProtocolError as error:
            coordinator.counters.count(Met.MALFORMED)
            told = about(LogEvent.MESSAGE_REFUSED)
            log.info("control request: %s", error, extra=told)
            return
        response = self._answered.get(request.request_id)
        if response is None:
            response = answer(coordinator, request)
            self._answered[request.request_id] = response
            while len(self._answered) > MAX_REQUESTS:
                self._answered.popitem(last=False)
        topic = control_response(self._site, request.client)
        self._broker.publish(topic, encode(response))
