"""The operator's commands against a real ``secateur serve``."""

import json
from collections.abc import Iterator

import pytest

from support.coordinators import Served
from support.scripted_device import ScriptedDevice, wait_until
from support.situations import make_info

pytestmark = [pytest.mark.broker, pytest.mark.slow]


@pytest.fixture
def device(served: Served) -> Iterator[ScriptedDevice]:
    speaker = ScriptedDevice(served.broker_url, "meter-7", make_info(deadline_ms=20.0))
    speaker.birth()
    assert speaker.next_desired().models[0].level == 3
    yield speaker
    speaker.close()


def test_an_operator_sees_pins_and_frees_a_device(
    served: Served, device: ScriptedDevice
) -> None:
    listed = json.loads(served.run("devices", "--json").stdout)
    assert [(row["device"], row["state"]) for row in listed] == [("meter-7", "online")]
    assert "meter-7" in served.run("devices").stdout

    assert served.run("pin", "meter-7", "digits", "1").returncode == 0
    pinned = device.next_desired().models[0]
    assert (pinned.level, pinned.reason) == (1, "pinned to level 1")
    pair = ("--device", "meter-7", "--model", "digits")
    assert served.run("policy", "set", *pair, "--patience", "5").returncode == 0
    assert served.run("pin", "meter-7", "digits", "none").returncode == 0
    (rule,) = json.loads(served.run("policy", "show", "--json").stdout)["rules"]
    assert (rule["patience"], "pinned_level" in rule) == (5, False)
    assert served.run("policy", "set", *pair, "--unset", "patience").returncode == 0
    assert json.loads(served.run("policy", "show", "--json").stdout)["rules"] == []
    unknown = served.run("policy", "set", *pair, "--unset", "pateince")
    assert unknown.returncode == 2
    assert "pateince" in unknown.stderr

    assert served.run("rebirth", "meter-7").returncode == 0
    wait_until(device.rebirths.qsize)


def test_an_operator_sets_shows_and_clears_policy(
    served: Served, device: ScriptedDevice
) -> None:
    done = served.run("policy", "set", "--device", "meter-7", "--deadline-ms", "5")
    assert done.returncode == 0, done.stderr
    assert device.next_desired().models[0].deadline_ms == 5.0
    assert "meter-7" in served.run("policy", "show").stdout
    refused = served.run("policy", "set", "--patience", "99")
    assert refused.returncode == 2
    assert "patience" in refused.stderr
    assert served.run("policy", "set", "--device", "meter-7", "--clear").returncode == 0
    assert device.next_desired().models[0].deadline_ms == 20.0


def test_forgetting_a_device_that_nobody_knows_says_so(served: Served) -> None:
    done = served.run("forget", "nobody")
    assert done.returncode == 1
    assert "no device nobody is known" in done.stderr


def test_a_broker_that_is_not_there_is_named() -> None:
    gone = Served("mqtt://127.0.0.1:1", "", None, None)  # type: ignore[arg-type] # only its address
    done = gone.run("devices")
    assert done.returncode == 2
    assert "127.0.0.1:1" in done.stderr
