"""Blocks over a real Mosquitto, from the coordinator's block server to an agent's client."""

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from secateur_agent.adapters.broker import Broker
from secateur_agent.errors import PermanentError, TransientError
from secateur_agent.settings import BrokerSettings
from secateur_agent.transfer.channel import BlockChannel
from secateur_agent.transfer.port import CanceledError, NotFoundError, TooLongError, Way
from secateur_agent.transfer.transfers import Transfers
from secateur_agent.transfer.watch import Patience
from secateur_protocols.ota import ReasonCode
from secateur_server.adapters.embedded_broker import EmbeddedBroker
from secateur_server.coordinator.block_server import BlockServer
from support.waiting import wait_until

CONTENT = random.Random(5).randbytes(3_000_001)
DIGEST = "ab" * 32
PATH = f"blobs/{DIGEST}"

pytestmark = pytest.mark.broker


class Site:
    """A broker, a registry and its block server; and devices' transfers."""

    def __init__(self, broker: EmbeddedBroker, root: Path, stack: ExitStack) -> None:
        self.broker = broker
        self.root = root
        self._stack = stack
        (root / "blobs").mkdir(parents=True)
        (root / "metadata").mkdir()
        (root / PATH).write_bytes(CONTENT)

    def serve(self, owns: Callable[[str], bool] = lambda _device: True) -> BlockServer:
        server = BlockServer(self.broker.url, site="default", root=self.root, owns=owns)
        server.start()
        self._stack.callback(server.stop)
        return server

    def transfers(self, device: str = "meter-7", *, silence_s: float = 60.0) -> Transfers:
        channel = BlockChannel()
        opened = threading.Event()
        client = Broker(
            BrokerSettings(url=self.broker.url),
            site="default",
            device=device,
            boot=1,
            post=lambda _event: opened.set(),
        )
        client.carry(channel)
        client.start()
        self._stack.callback(client.stop)
        assert opened.wait(30.0)
        return Transfers(Patience(silence_s=silence_s), way=Way.MQTT, channel=channel)


@pytest.fixture
def site(mosquitto: EmbeddedBroker, tmp_path: Path) -> Iterator[Site]:
    with ExitStack() as stack:
        yield Site(mosquitto, tmp_path / "registry", stack)


def test_a_file_comes_whole_and_its_progress_is_told(site: Site, tmp_path: Path) -> None:
    site.serve()
    told: list[tuple[int, int]] = []
    into = tmp_path / "blob"
    site.transfers().open("").bring(
        PATH, into, size_bytes=len(CONTENT), progress=lambda *now: told.append(now)
    )
    assert into.read_bytes() == CONTENT
    assert told == sorted(told)
    assert told[-1] == (len(CONTENT), len(CONTENT))


@pytest.mark.parametrize("held", [1, 4096, 2_999_999, len(CONTENT)])
def test_it_goes_on_from_any_byte(site: Site, tmp_path: Path, held: int) -> None:
    site.serve()
    into = tmp_path / "blob"
    into.write_bytes(CONTENT[:held])
    told: list[int] = []
    site.transfers().open("").bring(
        PATH, into, size_bytes=len(CONTENT), progress=lambda now, _total: told.append(now)
    )
    assert into.read_bytes() == CONTENT
    assert all(now > held for now in told)


def test_a_small_file_is_read_whole_or_refused_for_its_size(site: Site) -> None:
    site.serve()
    (site.root / "metadata" / "timestamp.json").write_bytes(b"{}" * 50_000)
    repository = site.transfers().open("")
    assert repository.read("metadata/timestamp.json", max_bytes=100_000) == b"{}" * 50_000
    with pytest.raises(TooLongError):
        repository.read("metadata/timestamp.json", max_bytes=99_999)


@pytest.mark.parametrize("path", [f"blobs/{'0' * 64}", "metadata/2.root.json", "../secret"])
def test_what_is_not_there_is_said_to_be_not_there(
    site: Site, tmp_path: Path, path: str
) -> None:
    site.serve()
    (tmp_path / "secret").write_bytes(b"secret")
    with pytest.raises(NotFoundError):
        site.transfers().open("").read(path, max_bytes=1000)


def test_a_file_that_became_shorter_is_begun_again(site: Site, tmp_path: Path) -> None:
    site.serve()
    into = tmp_path / "blob"
    into.write_bytes(bytes(len(CONTENT) + 1))
    repository = site.transfers().open("")
    with pytest.raises(TransientError) as caught:
        repository.bring(PATH, into, size_bytes=len(CONTENT) + 9)
    assert caught.value.reason is ReasonCode.DIGEST_MISMATCH
    assert not into.exists()


def test_nobody_who_answers_ends_in_a_timeout(site: Site, tmp_path: Path) -> None:
    with pytest.raises(TransientError) as caught:
        site.transfers(silence_s=1.0).open("").bring(PATH, tmp_path / "blob", size_bytes=9)
    assert caught.value.reason is ReasonCode.TIMEOUT


def test_only_the_owner_answers(site: Site) -> None:
    site.serve(owns=lambda device: device == "meter-8")
    with pytest.raises(TransientError):
        site.transfers("meter-7", silence_s=1.0).open("").read(PATH, max_bytes=1 << 30)
    assert site.transfers("meter-8").open("").read(PATH, max_bytes=1 << 30) == CONTENT


def test_a_cancel_stops_it_and_keeps_what_has_come(site: Site, tmp_path: Path) -> None:
    site.serve()
    into = tmp_path / "blob"
    has_begun = threading.Event()
    repository = site.transfers().open("", has_begun.is_set)
    with pytest.raises(CanceledError):
        repository.bring(
            PATH, into, size_bytes=len(CONTENT), progress=lambda *_: has_begun.set()
        )
    assert CONTENT.startswith(into.read_bytes())


def test_a_full_disk_is_said_so(site: Site) -> None:
    site.serve()
    with pytest.raises(PermanentError) as caught:
        site.transfers().open("").bring(PATH, Path("/dev/full"), size_bytes=len(CONTENT))
    assert caught.value.reason is ReasonCode.NO_SPACE


def test_a_broker_that_restarts_in_the_middle_costs_no_byte_that_is_held(
    site: Site, tmp_path: Path, mosquitto: EmbeddedBroker
) -> None:
    big = random.Random(6).randbytes(20_000_000)
    (site.root / PATH).write_bytes(big)
    site.serve()
    into = tmp_path / "blob"
    transfers = site.transfers()
    received: list[int] = []
    done = threading.Thread(
        target=lambda: transfers.open("").bring(
            PATH, into, size_bytes=len(big), progress=lambda now, _total: received.append(now)
        )
    )
    done.start()
    wait_until(lambda: len(received) > 5)
    mosquitto.stop()
    again = EmbeddedBroker(tmp_path / "again", mosquitto.port)
    try:
        done.join(120.0)
        assert not done.is_alive()
    finally:
        again.stop()
    assert into.read_bytes() == big
    assert received == sorted(set(received)), "no byte was written twice"
