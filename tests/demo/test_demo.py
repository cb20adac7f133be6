"""``secateur demo``: the main job, end to end, on real parts."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import psutil
import pytest

from secateur_server.adapters.embedded_broker import find_mosquitto

ROOT = Path(__file__).resolve().parents[2]
DIGITS = ROOT / "examples" / "digits"
DEMO = [sys.executable, "-m", "secateur_server", "demo", "--headless"]

pytestmark = [pytest.mark.slow, pytest.mark.engine, pytest.mark.timeout(480)]


@pytest.mark.parametrize("broker", ["mosquitto", "amqtt"])
def test_disturbed_devices_adapt_and_come_back_and_nothing_is_lost(
    tmp_path: Path, broker: str
) -> None:
    if broker == "mosquitto" and find_mosquitto() is None:
        pytest.skip("mosquitto is not installed: apt install mosquitto")
    summary_path = tmp_path / "summary.json"
    more = ["--seconds", "5", "--json", str(summary_path)]
    more += ["--amqtt"] if broker == "amqtt" else []
    done = subprocess.run(
        [*DEMO, *more], cwd=ROOT, capture_output=True, text=True, timeout=420, check=False
    )
    assert done.returncode == 0, done.stderr
    devices = json.loads(summary_path.read_text())["devices"]
    assert len(devices) == 3
    assert sum(device["is_disturbed"] for device in devices.values()) == 2
    for device in devices.values():
        assert device["lost_inferences"] == 0
        assert device["answered"] > 0
        assert not device["is_disturbed"] or device["switches"] >= 2
        assert not device["is_disturbed"] or len(device["frames_by_level"]) >= 2


def test_one_command_shows_three_devices_in_a_browser() -> None:
    process = subprocess.Popen(
        [*DEMO, "--dashboard"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        line = next(line for line in process.stdout if line.startswith("dashboard "))
        with urlopen(f"{line.split()[1]}/login", timeout=60) as answer:  # noqa: S310 - our own
            assert "Open the dashboard" in answer.read().decode()
        assert any("starting" in line for line in process.stdout)
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=120)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_every_process_of_the_demo(
    tmp_path: Path, number: signal.Signals
) -> None:
    with (tmp_path / "said.txt").open("w+") as said:
        demo = subprocess.Popen(
            DEMO, cwd=ROOT, stdout=said, stderr=subprocess.STDOUT, start_new_session=True
        )
        until = time.monotonic() + 120
        while "settling" not in (tmp_path / "said.txt").read_text():
            assert demo.poll() is None
            assert time.monotonic() < until
            time.sleep(0.1)
        children = psutil.Process(demo.pid).children(recursive=True)
        assert len(children) >= 8  # keepers, broker, coordinator, agents, inference
        os.killpg(demo.pid, number)  # as a terminal and `timeout` do: all of the group
        assert demo.wait(60) != 0
    _, alive = psutil.wait_procs(children, timeout=30)
    assert alive == []
    assert "Traceback" not in (tmp_path / "said.txt").read_text()


def test_too_few_rows_to_split_are_refused(tmp_path: Path) -> None:
    data = tmp_path / "few.npz"
    np.savez(data, x=np.zeros((10, 8, 8, 1), np.float32))
    done = subprocess.run(
        [*DEMO, "--model", str(DIGITS / "digits.tflite"), "--data", str(data)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1].startswith("secateur: error: ")
    assert str(data) in done.stderr
