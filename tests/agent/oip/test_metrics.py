"""What Prometheus scrapes: stable names, help texts, and the numbers of the last period."""

import re
from pathlib import Path

import pytest

from secateur_agent.core.report import DeviceReport
from secateur_agent.inference.commands import Collect, Collected, ReplaySpec
from secateur_agent.oip.metrics import render
from support.inference import DIGITS, Running, UnixConnection, call, configure, lane

HELP = re.compile(r"# HELP (secateur_[a-z_]+) [A-Z].+\.")
TYPE = re.compile(r"# TYPE (secateur_[a-z_]+) (counter|gauge)")
SAMPLE = re.compile(r'(secateur_[a-z_]+)(?:\{([a-z]+="[^"\\]*",?)+\})? -?\d+(\.\d+)?(e-?\d+)?')

NAMES = {
    "secateur_frames_offered_total",
    "secateur_frames_answered_total",
    "secateur_frames_dropped_total",
    "secateur_frames_lost_total",
    "secateur_deadline_misses_total",
    "secateur_switches_total",
    "secateur_level",
    "secateur_deadline_seconds",
    "secateur_latency_seconds",
    "secateur_device_cpu_share",
    "secateur_device_memory_bytes",
    "secateur_device_memory_available_bytes",
    "secateur_device_temperature_celsius",
    "secateur_device_throttled",
    "secateur_wire_sent_bytes_total",
    "secateur_wire_received_bytes_total",
}
"""Dashboards are built on these: add to them, change none."""


def families(text: str) -> dict[str, list[str]]:
    """Take the text format apart: every line is one that Prometheus knows, in its order."""
    found: dict[str, list[str]] = {}
    lines, name = iter(text.splitlines()), ""
    for line in lines:
        if (helped := HELP.fullmatch(line)) is not None:
            name = helped[1]
            typed = TYPE.fullmatch(next(lines))
            assert typed is not None
            assert typed[1] == name
            assert (typed[2] == "counter") == name.endswith("_total")
            assert name not in found
            found[name] = []
        else:
            sample = SAMPLE.fullmatch(line)
            assert sample is not None, line
            assert sample[1] == name
            found[name].append(line)
    return found


def test_every_metric_is_there_before_anything_serves() -> None:
    found = families(render((), DeviceReport()))
    assert set(found) == NAMES
    assert {name for name, samples in found.items() if samples} == {
        "secateur_wire_sent_bytes_total",
        "secateur_wire_received_bytes_total",
    }


def test_what_the_device_measures_is_there_and_a_missing_sensor_is_not() -> None:
    device = DeviceReport(
        cpu_share=0.25, memory_available_bytes=7, throttled=True, wire_sent_bytes=9
    )
    found = families(render((), device))
    assert found["secateur_device_cpu_share"] == ["secateur_device_cpu_share 0.25"]
    assert found["secateur_device_throttled"] == ["secateur_device_throttled 1"]
    assert found["secateur_wire_sent_bytes_total"] == ["secateur_wire_sent_bytes_total 9"]
    assert found["secateur_device_temperature_celsius"] == []


@pytest.mark.engine
def test_the_numbers_are_those_of_the_last_period(tmp_path: Path) -> None:
    source = ReplaySpec(path=str(DIGITS.parent / "evaluation.npz"), rate_hz=200)
    listen = f"unix:{tmp_path / 's'}"
    with Running(configure(lane(source=source), listen=listen)) as running:
        running.load(level=3)
        connection = UnixConnection(tmp_path / "s")
        answered = 0
        while answered < 20:
            running.process.send(Collect())
            (report,) = running.wait_for(Collected).reports
            answered = report.answered
        said = call(connection, "/metrics")
        connection.close()
    assert said.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    found = families(said.body.decode())
    assert set(found) == NAMES
    counted = f'secateur_frames_answered_total{{model="digits"}} {answered}'
    assert found["secateur_frames_answered_total"] == [counted]
    assert found["secateur_level"] == ['secateur_level{model="digits"} 3']
    assert len(found["secateur_latency_seconds"]) == 3
