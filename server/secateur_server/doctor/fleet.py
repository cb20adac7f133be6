"""The broker, what it lets whom do, and the coordinator behind it; all by what is delivered."""

import secrets
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from urllib.parse import urlsplit, urlunsplit

from secateur_protocols.codec import decode
from secateur_protocols.control import ShowStatus
from secateur_protocols.errors import ProtocolError
from secateur_protocols.state import Desired
from secateur_protocols.topics import ANY, Leaf, device_topic
from secateur_server.adapters.broker import Broker, Received, Subscription
from secateur_server.adapters.operator import OperatorClient
from secateur_server.doctor.finding import Finding, ok, problem, skipped, warning
from secateur_server.errors import ServerError

DELIVERY_S = 2.0
"""How long is waited for what a broker may deliver."""

FETCH_S = 10.0

HARDENED = "use deploy/mosquitto, whose lists let each do its own part alone"

CHECKED = (Leaf.DESIRED, Leaf.TELEMETRY)
"""What an operator's login should not be able to say in a device's or a coordinator's name."""


def broker(url: str) -> Iterator[Finding]:
    """Look whether we get in, and whether one without a login does, too."""
    parts = urlsplit(url)
    shown = _without_login(url)
    try:
        _visit(url)
    except ServerError as error:
        mend = "start it, or give address and login as SECATEUR_BROKER"
        yield problem("broker", _hidden(str(error), url), mend)
        return
    name = parts.username or "nobody"
    yield ok("broker", f"{shown} lets {name} in")
    if parts.scheme == "mqtt" and not _is_loopback(parts.hostname or ""):
        yield warning("broker", f"{shown} is spoken to in the clear", "use mqtts://")
    if parts.username is not None:
        try:
            _visit(shown)
        except ServerError:
            yield ok("broker", "nobody gets in without a login")
        else:
            yield warning("broker", "anybody gets in without a login", HARDENED)


def access(url: str, site: str) -> Iterator[Finding]:
    """Look whether this login can speak for others, by empty messages of no device.

    An empty message that is not retained means nothing to agents and coordinators.
    """
    stranger = f"doctor-{secrets.token_hex(6)}"
    topics = {leaf: device_topic(site, stranger, leaf) for leaf in CHECKED}
    came = set[str]()
    all_came = threading.Event()

    def take(received: Received) -> None:
        came.add(received.topic)
        if came >= set(topics.values()):
            all_came.set()

    client = Broker(
        url, subscriptions=[Subscription(each) for each in topics.values()], on_message=take
    )
    try:
        client.start()
        for topic in topics.values():
            client.publish(topic, b"")
        all_came.wait(DELIVERY_S)
        client.stop()
    except ServerError as error:
        yield skipped("access", _hidden(str(error), url))
        return
    said = [str(leaf) for leaf, topic in topics.items() if topic in came]
    if said:
        text = f"this login can say {' and '.join(said)} in any device's name"
        yield warning("access", text, HARDENED)
    else:
        yield ok("access", "this login cannot speak in a device's or the coordinator's name")


def coordinator(url: str, site: str) -> Iterator[Finding]:
    """Look whether the coordinator answers, and whether its artifacts can be fetched."""
    try:
        client = OperatorClient(url, site, topics=(device_topic(site, ANY, Leaf.DESIRED),))
    except ServerError as error:
        yield skipped("coordinator", _hidden(str(error), url))
        return
    try:
        known = client.request(ShowStatus()).result
        count = known.get("devices", 0) if isinstance(known, dict) else 0
        yield ok("coordinator", f"it answers for site {site} and knows {count} devices")
        yield _artifacts(client)
    except ServerError as error:
        mend = "start 'secateur serve'; or this login may not ask: log in as an operator"
        yield problem("coordinator", str(error), mend)
    finally:
        client.close()


def _artifacts(client: OperatorClient) -> Finding:
    heard = client.watch(DELIVERY_S)
    if heard is None:
        return skipped("artifacts", "no device has been told where they are yet")
    try:
        desired = decode(Desired, heard.payload)
    except ProtocolError as error:
        return problem("artifacts", f"{heard.topic}: {error}", "secateur rebirth")
    wanted = next((each.ladder.digest for each in desired.models), None)
    if wanted is None:
        return skipped("artifacts", "no device is wanted to have a model yet")
    address = f"{desired.artifacts_url.rstrip('/')}/{wanted}"
    try:
        request = urllib.request.Request(address, method="HEAD")  # noqa: S310 - checked below
        if urlsplit(address).scheme not in {"http", "https"}:
            return problem("artifacts", f"{address} is not http", "secateur serve --public-url")
        with urllib.request.urlopen(request, timeout=FETCH_S):  # noqa: S310 - as above
            pass
    except (OSError, ValueError) as error:
        mend = "let devices reach it, and say how: secateur serve --public-url"
        return problem("artifacts", f"{address}: {error}", mend)
    return ok("artifacts", f"{desired.artifacts_url} answers from here")


def _visit(url: str) -> None:
    client = Broker(url, subscriptions=[], on_message=lambda _: None)
    client.start()
    client.stop()


def _without_login(url: str) -> str:
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=host))


def _hidden(text: str, url: str) -> str:
    return text.replace(url, _without_login(url))


def _is_loopback(host: str) -> bool:
    return host in {"localhost", "::1"} or host.startswith("127.")
