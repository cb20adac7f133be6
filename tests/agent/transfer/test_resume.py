"""A real agent is killed while a model comes in: the next one goes on from the byte on disk."""

import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from secateur_protocols.blocks import BLOCK_BYTES, BlocksRequest
from secateur_protocols.codec import decode
from secateur_protocols.topics import Leaf, device_topic
from secateur_server.adapters.embedded_broker import EmbeddedBroker
from secateur_server.coordinator.block_server import BlockServer
from support.agent_process import EVALUATION, AgentProcess
from support.hostile_http import HostileServer, hostile_server
from support.listener import Listener
from support.published import PublishedLadder
from support.waiting import wait_until

pytestmark = [pytest.mark.broker, pytest.mark.engine]

PIECE_BYTES = 16_384

WAIT_S = 90.0


def size_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


class StepByStep:
    """Sends an artifact piece by piece, the next one only when the last is on the disk.

    Attributes:
        upto_bytes: Beyond this byte it sends nothing for now.
        sent_bytes: Of the artifact, to everybody who asked.
    """

    def __init__(self, published: PublishedLadder, level: int, staged: Path) -> None:
        self._published = published
        self._digest = published.ladder.levels[level].digest
        self._staged = staged
        self.upto_bytes = 0
        self.sent_bytes = 0

    def reply(self, connection: socket.socket, head: str) -> None:
        digest = head.split()[1].rpartition("/")[2]
        content = (self._published.blobs_dir / digest).read_bytes()
        found = re.search(r"[Rr]ange: bytes=(\d+)-", head)
        start = int(found.group(1)) if found else 0
        status = "206 Partial Content" if found else "200 OK"
        connection.sendall(
            f"HTTP/1.1 {status}\r\nContent-Length: {len(content) - start}\r\n"
            f"Content-Range: bytes {start}-{len(content) - 1}/{len(content)}\r\n\r\n".encode()
        )
        if digest != self._digest:
            connection.sendall(content[start:])
            return
        for at in range(start, len(content), PIECE_BYTES):
            self._wait_for(at, connection)
            piece = content[at : at + PIECE_BYTES]
            connection.sendall(piece)
            self.sent_bytes += len(piece)

    def _wait_for(self, held_bytes: int, connection: socket.socket) -> None:
        """Wait until so much is on the disk; raise when whoever asked for it is gone."""
        until_s = time.monotonic() + WAIT_S
        while size_of(self._staged) < held_bytes or held_bytes >= self.upto_bytes:
            connection.settimeout(0.005)
            try:
                if not connection.recv(1):
                    raise ConnectionResetError
            except TimeoutError:
                pass
            finally:
                connection.settimeout(None)
            assert time.monotonic() < until_s


def asked_for(server: HostileServer, digest: str) -> list[str | None]:
    ranges = zip(server.asked, server.ranges(), strict=True)
    return [wanted for head, wanted in ranges if digest in head.split()[1]]


def test_a_killed_agent_goes_on_by_http_and_fetches_less_than_a_block_again(
    agent: AgentProcess, listener: Listener, published: PublishedLadder
) -> None:
    manifest = published.ladder.levels[0]
    staged = agent.state_dir / "staging" / manifest.digest
    with hostile_server() as server:
        serving = StepByStep(published, 0, staged)
        server.replies = [serving.reply]
        desired = published.desired(1, 0)
        agent.start()
        listener.desire(desired.model_copy(update={"artifacts_url": f"{server.url}/blobs"}))
        kept = [0]
        for share in (0.3, 0.6, 0.9):
            serving.upto_bytes = int(share * manifest.size_bytes)
            wait_until(lambda: size_of(staged) >= serving.upto_bytes)
            agent.kill()
            kept.append(size_of(staged))
            agent.start()
        serving.upto_bytes = manifest.size_bytes
        listener.wait_for_level(0)
        ranges = asked_for(server, manifest.digest)
    assert ranges == [None, *(f"bytes={held}-" for held in kept[1:])]
    again = serving.sent_bytes - manifest.size_bytes
    assert 0 <= again <= 3 * PIECE_BYTES, "each kill loses at most the piece on its way"


@contextmanager
def requests(broker_url: str) -> Iterator[list[BlocksRequest]]:
    """Hear what blocks the device asks for."""
    heard: list[BlocksRequest] = []
    subscribed = threading.Event()
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.on_message = lambda _c, _u, said: heard.append(
        decode(BlocksRequest, bytes(said.payload))
    )
    client.on_connect = lambda one, *_: one.subscribe(
        device_topic("default", "meter-7", Leaf.BLOCKS_REQUEST), qos=1
    )
    client.on_subscribe = lambda *_: subscribed.set()
    parts = urlsplit(broker_url)
    client.connect(parts.hostname or "", parts.port or 1883)
    client.loop_start()
    assert subscribed.wait(WAIT_S)
    yield heard
    client.disconnect()
    client.loop_stop()


def test_a_killed_agent_goes_on_in_blocks_from_the_byte_on_disk_at_the_cost_of_one(
    mosquitto: EmbeddedBroker, listener: Listener, published: PublishedLadder, tmp_path: Path
) -> None:
    manifest = published.ladder.levels[0]
    path = f"blobs/{manifest.digest}"
    server = BlockServer(
        mosquitto.url, site="default", root=published.blobs_dir.parent, owns=lambda _: True
    )
    server.start()
    transfer = 'way = "mqtt"\nrate_bytes_per_s = 60000.0'
    folder = tmp_path / "agent"
    with (
        requests(mosquitto.url) as heard,
        AgentProcess(folder, mosquitto.url, EVALUATION, transfer=transfer) as agent,
    ):
        staged = agent.state_dir / "staging" / manifest.digest
        agent.start()
        listener.desire(published.desired(1, 0))
        wait_until(lambda: size_of(staged) > 0.4 * manifest.size_bytes)
        agent.kill()
        kept, before = size_of(staged), len(heard)
        asked_before = [each for each in heard if each.path == path]
        assert 0 < kept < manifest.size_bytes
        agent.start()
        listener.wait_for_level(0)
        asked = [each for each in heard[before:] if each.path == path]
    server.stop()
    assert asked[0].offset == kept
    assert min(each.offset for each in asked) == kept, "no byte on disk was asked for again"
    reached = max(each.offset + each.blocks * each.block_bytes for each in asked_before)
    assert reached - kept <= max(60_000, BLOCK_BYTES), "at most a block was on its way"
