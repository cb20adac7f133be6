"""Whether a broker really delivers by shared subscription: several grant it and do not."""

import logging
import threading
import time
import uuid

from secateur_protocols.logs import LogEvent, about
from secateur_protocols.topics import ROOT
from secateur_server.adapters.broker import Broker, Received, Subscription

log = logging.getLogger("secateur.coordinator")

PROBES = 40
WAIT_S = 3.0
"""How long the probes may take to come, seconds."""


def delivers_shared(broker_url: str, site: str) -> bool:
    """Send probes to two subscribers that share, and count what comes.

    Returns:
        Whether every probe came to exactly one of the two, and each got some.

    Raises:
        InputError: There is no broker, or it refuses us.
    """
    topic = f"{ROOT}/{site}/_coordinator/probe/{uuid.uuid4().hex[:12]}"
    shared = [Subscription(f"$share/probe/{topic}")]
    enough = threading.Event()
    inboxes: tuple[list[bytes], list[bytes]] = ([], [])

    def take(inbox: list[bytes], received: Received) -> None:
        inbox.append(received.payload)
        if sum(map(len, inboxes)) >= PROBES:
            enough.set()

    clients = [
        Broker(broker_url, subscriptions=shared, on_message=lambda r: take(inboxes[0], r)),
        Broker(broker_url, subscriptions=shared, on_message=lambda r: take(inboxes[1], r)),
        Broker(broker_url, subscriptions=[], on_message=lambda _: None),
    ]
    try:
        for client in clients:
            client.start()
        for number in range(PROBES):
            clients[2].publish(topic, str(number).encode())
        enough.wait(WAIT_S)
        time.sleep(0.05)  # for doubles, which would come now
    finally:
        for client in clients:
            client.stop()
    came = sorted(int(probe) for inbox in inboxes for probe in inbox)
    told = about(LogEvent.SHARED_SUBSCRIPTION_TESTED, sent=PROBES, received=len(came))
    log.info("shared subscription: %d and %d of %d", *map(len, inboxes), PROBES, extra=told)
    return came == list(range(PROBES)) and all(inboxes)
