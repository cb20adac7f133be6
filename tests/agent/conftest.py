"""What every test of a real agent needs: a ladder to fetch, an agent, and who listens."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from secateur_server.adapters.embedded_broker import EmbeddedBroker
from support.agent_process import EVALUATION, AgentProcess
from support.listener import Listener
from support.published import PublishedLadder, publish


@pytest.fixture(scope="session")
def published(
    digits_ladder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PublishedLadder]:
    """Serve the demo's ladder of three levels over HTTP."""
    with publish(digits_ladder, tmp_path_factory.mktemp("registry")) as served:
        yield served


@pytest.fixture
def listener(mosquitto: EmbeddedBroker) -> Iterator[Listener]:
    with Listener(mosquitto.url) as listening:
        yield listening


@pytest.fixture
def agent(mosquitto: EmbeddedBroker, tmp_path: Path) -> Iterator[AgentProcess]:
    with AgentProcess(tmp_path / "agent", mosquitto.url, EVALUATION) as one:
        yield one
