"""Dashboards and alerts: they ask for metrics that are served, and each alert is explained."""

import json
import re
import runpy
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.core import CollectorRegistry

from secateur_agent.core.report import DeviceReport
from secateur_agent.oip.metrics import render
from secateur_server.adapters.store import Store, sqlite_url
from secateur_server.coordinator.driver import Driver
from secateur_server.coordinator.metrics import FleetCollector
from secateur_server.registry.registry import Registry

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
ALERTS = DEPLOY / "prometheus" / "alerts.yml"
OPERATIONS = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
_NAME = re.compile(r"\bsecateur_[a-z_]+")


def rules() -> list[dict[str, Any]]:
    [group] = yaml.safe_load(ALERTS.read_text())["groups"]
    return list(group["rules"])


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Every name that a coordinator or an agent serves, with or without a sample."""
    folder = tmp_path_factory.mktemp("coordinator")
    driver = Driver(
        site="default",
        broker_url="mqtt://127.0.0.1:1",
        artifacts_url="",
        store=Store(sqlite_url(folder / "secateur.sqlite"), "default"),
        registry=Registry(folder / "registry"),
    )
    registry = CollectorRegistry()
    registry.register(FleetCollector(driver, dict))
    names = {
        metric.name + ("_total" if metric.type == "counter" else "")
        for metric in registry.collect()
    }
    text = render([], DeviceReport())
    return names | set(re.findall(r"# TYPE (\S+)", text)) | {"secateur_devices_hottest_celsius"}


def test_the_dashboards_are_those_that_their_script_writes() -> None:
    written = runpy.run_path(str(DEPLOY / "grafana/make_dashboards.py"))["written"]()
    for name, text in written.items():
        assert (DEPLOY / "grafana" / name).read_text() == text, "run make_dashboards.py"


@pytest.mark.parametrize("name", ["fleet.json", "device.json"])
def test_dashboards_ask_for_what_is_served(name: str, served: set[str]) -> None:
    board = json.loads((DEPLOY / "grafana" / name).read_text())
    asked = _NAME.findall(json.dumps(board["panels"]) + json.dumps(board["templating"]))
    assert asked
    assert set(asked) - served == set()


def test_alerts_ask_for_what_is_served(served: set[str]) -> None:
    asked = set(_NAME.findall(" ".join(rule["expr"] for rule in rules())))
    assert asked - served == set()


def test_each_metric_of_a_coordinator_is_described(served: set[str]) -> None:
    agents = set(_NAME.findall(render([], DeviceReport())))
    assert {name for name in served - agents if f"`{name}`" not in OPERATIONS} == set()


def test_for_each_alert_is_said_what_to_do() -> None:
    sections = set(re.findall(r"^### (Secateur\w+)$", OPERATIONS, re.MULTILINE))
    assert {rule["alert"] for rule in rules()} == sections


def test_prometheus_takes_the_alerts() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed: apt install prometheus")
    done = subprocess.run(
        [promtool, "check", "rules", str(ALERTS)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
