"""A real agent whose signed metadata have expired, or whose clock is wrong, without network."""

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from secateur_protocols.ota import Ota, ReasonCode, UpdateState
from secateur_protocols.state import Desired, DesiredModel
from secateur_protocols.telemetry import Telemetry
from secateur_server.adapters.artifacts_http import ArtifactsServer
from secateur_server.adapters.embedded_broker import EmbeddedBroker
from secateur_server.core.context import Published
from support.agent_process import EVALUATION, AgentProcess
from support.listener import Listener
from support.signed import SignedRegistry
from support.waiting import wait_until

pytestmark = [pytest.mark.broker, pytest.mark.engine, pytest.mark.slow]

SHIFTED = """
import datetime, sys, time
real = time.time
class Shifted(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls.fromtimestamp(time.time(), tz)
time.time = lambda: real() + {shift_s}
datetime.datetime = Shifted
from secateur_agent.cli import main
sys.exit(main(sys.argv[1:]))
"""
"""An agent whose wall clock is wrong, in every module that it is made of."""

RECOVERY_S = 240.0
"""What is asked for again once a minute is there within this time."""


class Repository:
    """A signed registry on an HTTP server that comes and goes."""

    def __init__(self, folder: Path) -> None:
        self.owner = SignedRegistry(folder)
        self._server: ArtifactsServer | None = None
        self._port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/blobs"

    def come(self) -> None:
        blobs_dir = self.owner.registry.blobs_dir
        self._server = ArtifactsServer(blobs_dir, host="127.0.0.1", port=self._port)
        self._server.start()
        self._port = self._server.port

    def go(self) -> None:
        if self._server is not None:
            self._server.stop()
        self._server = None

    def desired(self, revision: int, published: Published, level: int) -> Desired:
        wish = DesiredModel(
            model=published.ladder.model,
            ladder=published.ref,
            level=level,
            deadline_ms=5000.0,
            reason="test",
        )
        return Desired(revision=revision, artifacts_url=self.url, models=(wish,))


def wait_for_answers(listener: Listener, level: int) -> None:
    listener.wait_for(
        Telemetry,
        lambda said: any(each.answered > 0 and each.level == level for each in said.models),
        since=len(listener.heard),
    )


def is_refused(said: Ota) -> bool:
    return any(
        (each.state, each.reason) == (UpdateState.FAILED, ReasonCode.METADATA_EXPIRED)
        for each in said.updates
    )


@pytest.mark.parametrize("year", [None, 1970], ids=["metadata_90_days_old", "clock_at_1970"])
@pytest.mark.timeout(600)
def test_without_network_it_infers_and_steps_down_installs_nothing_and_recovers_by_itself(
    mosquitto: EmbeddedBroker,
    listener: Listener,
    digits_ladder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    year: int | None,
) -> None:
    now = datetime.now(UTC)
    seen = now + timedelta(days=90) if year is None else datetime(year, 1, 2, tzinfo=UTC)
    signed_again = max(now, seen)
    repository = Repository(tmp_path / "owner")
    first = repository.owner.publish(digits_ladder)
    second = repository.owner.publish(digits_ladder, version="2")
    repository.come()
    root = f'root = "{repository.owner.root_path}"'
    way = 'way = "http"'  # no blocks are waited for
    with AgentProcess(
        tmp_path / "agent", mosquitto.url, EVALUATION, trust=root, transfer=way
    ) as agent:
        agent.start()
        listener.desire(repository.desired(1, first, 0))
        listener.wait_for_level(0)
        wait_until(lambda: "stands by" in agent.log)
        assert agent.stop() == 0
        repository.go()

        shifted = SHIFTED.format(shift_s=(seen - now).total_seconds())
        command = [sys.executable, "-c", shifted, "run"]
        monkeypatch.setattr("support.agent_process.AGENT", command)
        agent.start()
        wait_for_answers(listener, 0)
        since = len(listener.heard)
        listener.desire(repository.desired(2, first, 1))
        listener.wait_for_level(1, since=since)
        since = len(listener.heard)
        listener.desire(repository.desired(3, second, 0))
        listener.wait_for(Ota, is_refused, since=since)
        wait_for_answers(listener, 1)
        told = listener.wait_for(Telemetry, since=len(listener.heard))
        assert told.sent_at.startswith(f"{seen:%Y-%m}"), "the clock is the real one"

        repository.owner.places.refresh(signed_again)
        repository.come()
        if year is not None:  # here somebody asks again, which is sooner than by itself
            listener.desire(repository.desired(4, second, 0))
        listener.wait_for(
            Ota,
            lambda said: any(
                (each.state, each.level) == (UpdateState.SUCCEEDED, 0) for each in said.updates
            ),
            since=since,
            timeout_s=RECOVERY_S,
        )
        wait_for_answers(listener, 0)
        assert "Traceback" not in agent.log
    repository.go()
