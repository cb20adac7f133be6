"""The cancel matrix: an update ends in any state, leaves nothing behind, and another goes."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from secateur_agent.core.swap import TOLD, Phase
from secateur_protocols.ids import Digest
from secateur_protocols.ota import Ota, ReasonCode, UpdateState
from secateur_protocols.state import Desired
from secateur_protocols.telemetry import Telemetry
from secateur_server.adapters.embedded_broker import EmbeddedBroker
from support.agent_process import EVALUATION, AgentProcess
from support.bad_versions import prune_hard, write_version
from support.hostile_http import hostile_server
from support.listener import Listener
from support.published import PublishedLadder, publish
from support.waiting import wait_until

pytestmark = [pytest.mark.broker, pytest.mark.engine, pytest.mark.slow]


@dataclass
class HeldBack:
    """Serves a ladder's blobs, and of one of them half, until it is let go."""

    published: PublishedLadder
    url: str = ""
    held: Digest | None = None
    go: threading.Event = field(default_factory=threading.Event)

    def desired(self, revision: int, level: int) -> Desired:
        wanted = self.published.desired(revision, level)
        return wanted.model_copy(update={"artifacts_url": self.url})

    def reply(self, connection: socket.socket, head: str) -> None:
        digest = head.split()[1].rpartition("/")[2]
        content = (self.published.blobs_dir / digest).read_bytes()
        connection.sendall(
            f"HTTP/1.1 200 OK\r\nContent-Length: {len(content)}\r\n\r\n".encode()
        )
        half = len(content) // 2
        connection.sendall(content[:half])
        if digest == self.held:
            self.go.wait(60.0)
        connection.sendall(content[half:])


@contextmanager
def held_back(published: PublishedLadder) -> Iterator[HeldBack]:
    with hostile_server() as server:
        holding = HeldBack(published, f"{server.url}/blobs")
        server.replies = [holding.reply]
        yield holding
        holding.go.set()


@pytest.fixture(scope="module")
def newer(
    digits_ladder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PublishedLadder]:
    """Publish another version, of which the agent holds nothing."""
    folder = tmp_path_factory.mktemp("newer")
    edits = [prune_hard(0.05)] * 3
    write_version(digits_ladder, folder / "2", version="2", edits=edits, data=EVALUATION)
    with publish(folder / "2", folder / "registry") as served:
        yield served


@pytest.fixture
def agent(mosquitto: EmbeddedBroker, tmp_path: Path) -> Iterator[AgentProcess]:
    # So few frames that a probation takes its time.
    with AgentProcess(tmp_path / "agent", mosquitto.url, EVALUATION, rate_hz=5.0) as one:
        yield one


def files(agent: AgentProcess) -> set[str]:
    """Name all that the store holds, and all that is on its way in."""
    folders = (agent.state_dir / "blobs", agent.state_dir / "staging")
    return {
        f"{each.parent.name}/{each.name}" for folder in folders for each in folder.iterdir()
    }


def wait_for_update(listener: Listener, state: UpdateState, *, since: int) -> ReasonCode | None:
    def ends(said: Ota) -> bool:
        return any(each.state is state for each in said.updates)

    told = listener.wait_for(Ota, ends, since=since)
    return told.updates[0].reason


def wait_for_answers(listener: Listener, level: int) -> None:
    listener.wait_for(
        Telemetry,
        lambda said: any(each.answered > 0 and each.level == level for each in said.models),
        since=len(listener.heard),
    )


@pytest.mark.parametrize("is_withdrawn", [True, False], ids=["withdrawn", "superseded"])
def test_an_update_ends_in_any_state_and_leaves_nothing_on_disk(
    agent: AgentProcess,
    listener: Listener,
    published: PublishedLadder,
    newer: PublishedLadder,
    *,
    is_withdrawn: bool,
) -> None:
    agent.start()
    listener.desire(published.desired(1, 2))  # the narrowest: no other level stands by
    listener.wait_for_level(2)
    wait_until(lambda: not any("staging" in each for each in files(agent)))
    before = files(agent)
    held = {Phase.RESOLVING: newer.ref.digest, Phase.FETCHING: newer.ladder.levels[0].digest}
    revision = 1
    for phase, told in TOLD.items():
        since, revision = len(listener.heard), revision + 2
        with held_back(newer) as holding:
            holding.held = held.get(phase)
            listener.desire(holding.desired(revision, 0))
            wait_for_update(listener, told, since=since)
            back = published.desired(revision + 1, 2)
            gone = back.model_copy(update={"models": ()})
            listener.desire(gone if is_withdrawn else back)
            end = UpdateState.CANCELED if is_withdrawn else UpdateState.SUPERSEDED
            reason = ReasonCode.OPERATOR if is_withdrawn else ReasonCode.SUPERSEDED
            assert wait_for_update(listener, end, since=since) is reason, phase
            wait_until(lambda: files(agent) == before)
        wait_for_answers(listener, 2)
    assert "Traceback" not in agent.log


def test_what_was_canceled_can_be_wished_for_again(
    agent: AgentProcess, listener: Listener, published: PublishedLadder, newer: PublishedLadder
) -> None:
    agent.start()
    listener.desire(published.desired(1, 2))
    listener.wait_for_level(2)
    with held_back(newer) as holding:
        holding.held = newer.ladder.levels[1].digest
        since = len(listener.heard)
        listener.desire(holding.desired(2, 1))
        wait_for_update(listener, UpdateState.DOWNLOADING, since=since)
        listener.desire(published.desired(3, 2).model_copy(update={"models": ()}))
        wait_for_update(listener, UpdateState.CANCELED, since=since)
    since = len(listener.heard)
    listener.desire(newer.desired(4, 1))
    listener.wait_for_level(1, since=since)
