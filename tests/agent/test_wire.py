"""Bytes on the wire, as the kernel counts them on real connections (rule W11)."""

import socket
import time
from collections.abc import Callable

from secateur_agent.adapters.wire import HEADER_BYTES, WireMeter, count
from secateur_agent.core.telemetry import WireBytes

HEADER = HEADER_BYTES[socket.AF_INET]


def pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
    return client, server


def receive(connection: socket.socket, size: int) -> None:
    while size:
        size -= len(connection.recv(size))


def wait_until(holds: Callable[[], bool]) -> None:
    until_s = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < until_s
        time.sleep(0.01)


def test_what_passes_is_counted_both_ways_with_its_headers_across_connections() -> None:
    meter = WireMeter()
    assert meter.read() == WireBytes()
    past = WireBytes()
    for size in (10_000, 500):
        client, server = pair()
        with client, server:
            meter.opened(client)
            client.sendall(bytes(size))
            receive(server, size)
            server.sendall(bytes(2 * size))
            receive(client, 2 * size)
            # The handshake and the answer's acknowledgement are on the wire, too.
            wait_until(lambda: meter.read().sent >= past.sent + size + 2 * HEADER)  # noqa: B023
            seen = meter.read()
            assert seen.received >= past.received + 2 * size + HEADER
            assert seen.total < past.total + 3 * size + 40 * HEADER
            meter.closing()
        past = meter.read()
        assert past.sent >= seen.sent
        assert past.received >= seen.received


def test_what_is_no_tcp_connection_is_not_counted() -> None:
    one, other = socket.socketpair()
    with one, other:
        assert count(one) is None
    assert count(one) is None  # closed
