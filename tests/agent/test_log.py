"""What an agent's log says of its work, and what it must never say."""

import json
from pathlib import Path

import pytest

from secateur_server.adapters.embedded_broker import EmbeddedBroker
from support.agent_process import EVALUATION, AgentProcess, begin_at
from support.listener import Listener
from support.published import PublishedLadder
from support.waiting import wait_until

pytestmark = [pytest.mark.broker, pytest.mark.engine]

LOGIN = "meter:word-7391"


@pytest.fixture
def lines(
    mosquitto: EmbeddedBroker, listener: Listener, published: PublishedLadder, tmp_path: Path
) -> list[str]:
    """What an agent wrote that logged in, switched once, and lost its broker."""
    url = mosquitto.url.replace("mqtt://", f"mqtt://{LOGIN}@")
    with AgentProcess(tmp_path / "agent", url, EVALUATION) as agent:
        config = agent.config_path.read_text()
        agent.config_path.write_text(f'log_format = "json"\n{config}')
        begin_at(agent, listener, published, 1)
        mosquitto.stop()
        wait_until(lambda: '"disconnected"' in agent.log)
        agent.stop()
        return [line for line in agent.log.splitlines() if not line.startswith("INFO: ")]


def test_each_line_is_an_object_that_names_its_event_and_no_secret(lines: list[str]) -> None:
    said = [json.loads(line) for line in lines]
    events = [each["event"] for each in said]
    assert {"connected", "inference_ready", "switched", "disconnected"} <= set(events)
    (switched,) = [each for each in said if each["event"] == "switched"]
    assert (switched["model"], switched["text"]) == ("digits", "digits: level 1")
    assert not any(LOGIN.split(":")[1] in line for line in lines)
