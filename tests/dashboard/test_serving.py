"""The dashboard as programs start it: beside a coordinator, and alone."""

import http.client
import json
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from secateur_server.adapters.embedded_broker import EmbeddedBroker
from support.waiting import wait_until

pytestmark = pytest.mark.broker

PROGRAM = [sys.executable, "-m", "secateur_server"]


def read_page(url: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    connection.request("GET", "/login")
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


def answers(url: str) -> bool:
    try:
        read_page(url)
    except OSError:
        return False
    return True


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_serve_shows_the_fleet_and_takes_the_dashboard_with_it(
    mosquitto: EmbeddedBroker, tmp_path: Path, number: signal.Signals
) -> None:
    ready = tmp_path / "ready.json"
    command = [*PROGRAM, "serve", "--broker", mosquitto.url.replace("//", "//boss:s3cret@")]
    command += ["--data", str(tmp_path / "data"), "--http-port", "0"]
    command += ["--dashboard-port", "0", "--ready-file", str(ready)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        wait_until(lambda: ready.exists() or process.poll() is not None)
        url = json.loads(ready.read_text())["dashboard"]
        status, text = read_page(url)
        assert status == 200
        assert "This broker asks for no account" in text
        assert "s3cret" not in text
    finally:
        process.send_signal(number)
        process.wait(60.0)
    wait_until(lambda: not answers(url))


def test_a_port_that_is_taken_is_one_line(mosquitto: EmbeddedBroker) -> None:
    command = [*PROGRAM, "dashboard", "--broker", mosquitto.url]
    done = subprocess.run(
        [*command, "--port", str(mosquitto.port)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "use another port" in done.stderr


def test_an_address_that_is_none_is_one_line(mosquitto: EmbeddedBroker) -> None:
    command = [*PROGRAM, "dashboard", "--broker", mosquitto.url, "--port", "0"]
    done = subprocess.run(
        [*command, "--public-url", "fleet"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2
    assert "write https://host" in done.stderr
