"""Writes the Grafana dashboards beside this file: ``python deploy/grafana/make_dashboards.py``.

A dashboard is data; this says it without the repetition of Grafana's own form. A test sees
to it that what is committed is what this writes, and that each metric is one that we serve.

Source of the form: Grafana documentation, "Dashboard JSON model".
"""

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
WIDTH = 24
"""Columns of Grafana's grid."""

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}


def panel(
    title: str, *targets: tuple[str, str], kind: str = "timeseries", unit: str = "short"
) -> dict[str, Any]:
    """Describe a panel; each target is a query and how its lines are called."""
    defaults: dict[str, Any] = {"unit": unit, "min": 0}
    if kind == "timeseries":
        defaults["custom"] = {"fillOpacity": 10, "showPoints": "never"}
    return {
        "title": title,
        "type": kind,
        "datasource": DATASOURCE,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "targets": [
            {
                "refId": chr(65 + i),
                "datasource": DATASOURCE,
                "expr": query,
                "legendFormat": legend,
            }
            for i, (query, legend) in enumerate(targets)
        ],
    }


def stacked(of: dict[str, Any]) -> dict[str, Any]:
    """Let the lines of a panel lie on each other."""
    of["fieldConfig"]["defaults"]["custom"]["stacking"] = {"mode": "normal"}
    return of


def laid_out(rows: list[tuple[int, list[dict[str, Any]]]]) -> list[dict[str, Any]]:
    """Give each panel of each row its place; a row has a height in grid units."""
    panels, y = [], 0
    for height, row in rows:
        width = WIDTH // len(row)
        for i, each in enumerate(row):
            place = {"x": i * width, "y": y, "w": width, "h": height}
            panels.append({"id": len(panels) + 1, "gridPos": place, **each})
        y += height
    return panels


def variable(name: str, query: str) -> dict[str, Any]:
    """Describe a choice at the top of the page, filled from a label's values."""
    return {
        "name": name,
        "type": "query",
        "datasource": DATASOURCE,
        "query": {"query": query, "refId": name},
        "includeAll": True,
        "multi": True,
        "current": {"text": "All", "value": "$__all"},
        "refresh": 2,
    }


def dashboard(
    uid: str,
    title: str,
    variables: list[dict[str, Any]],
    rows: list[tuple[int, list[dict[str, Any]]]],
) -> dict[str, Any]:
    """Put a whole dashboard together."""
    source = {"name": "datasource", "type": "datasource", "query": "prometheus"}
    return {
        "uid": uid,
        "title": title,
        "tags": ["secateur"],
        "schemaVersion": 39,
        "timezone": "browser",
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": [source, *variables]},
        "panels": laid_out(rows),
    }


def fleet() -> dict[str, Any]:
    """How a fleet does, by what its coordinator serves."""
    by_model = '{model=~"$model"}'
    serving = f"sum by (model) (secateur_devices_serving{by_model})"
    return dashboard(
        "secateur-fleet",
        "Secateur: fleet",
        [variable("model", "label_values(secateur_devices_serving, model)")],
        [
            (
                4,
                [
                    panel("Online", ('secateur_devices{state="online"}', ""), kind="stat"),
                    panel("Offline", ('secateur_devices{state="offline"}', ""), kind="stat"),
                    panel(
                        "Late devices",
                        (f"sum(secateur_devices_late{by_model})", ""),
                        kind="stat",
                    ),
                    panel(
                        "No level fits",
                        (f"sum(secateur_devices_infeasible{by_model})", ""),
                        kind="stat",
                    ),
                    panel("Throttled", ("secateur_devices_throttled", ""), kind="stat"),
                    panel(
                        "Hottest",
                        ("secateur_devices_hottest_celsius", ""),
                        kind="stat",
                        unit="celsius",
                    ),
                ],
            ),
            (
                9,
                [
                    stacked(
                        panel(
                            "Devices by level",
                            (
                                f"sum by (model, level) (secateur_devices_serving{by_model})",
                                "{{model}} level {{level}}",
                            ),
                        )
                    ),
                    stacked(panel("Devices by presence", ("secateur_devices", "{{state}}"))),
                ],
            ),
            (
                9,
                [
                    panel(
                        "Share of devices whose p95 is late",
                        (f"secateur_devices_late{by_model} / on(model) {serving}", "{{model}}"),
                        unit="percentunit",
                    ),
                    panel(
                        "On their way, or narrower by themselves",
                        (f"secateur_devices_changing{by_model}", "{{model}} changing"),
                        (f"secateur_devices_stepped_down{by_model}", "{{model}} stepped down"),
                    ),
                    panel(
                        "Frames lost in 15 minutes",
                        (f"increase(secateur_frames_lost{by_model}[15m])", "{{model}}"),
                    ),
                ],
            ),
            (
                8,
                [
                    panel(
                        "Messages a second",
                        ("rate(secateur_messages_total[5m])", "{{what}}"),
                        unit="reqps",
                    ),
                    panel("Rollouts", ("secateur_rollouts > 0", "{{state}}")),
                    panel(
                        "The coordinator's CPU",
                        (
                            'rate(process_cpu_seconds_total{job="secateur-coordinator"}[5m])',
                            "cores",
                        ),
                    ),
                    panel(
                        "Days until metadata expires",
                        (
                            "(secateur_metadata_expires_timestamp_seconds - time()) / 86400",
                            "{{role}}",
                        ),
                        unit="d",
                    ),
                ],
            ),
        ],
    )


def device() -> dict[str, Any]:
    """How single devices do, where Prometheus reaches what their agents serve."""
    chosen = '{instance=~"$instance"}'
    named = "{{instance}} {{model}}"
    return dashboard(
        "secateur-device",
        "Secateur: device",
        [variable("instance", "label_values(secateur_level, instance)")],
        [
            (
                9,
                [
                    panel(
                        "Latency against the deadline",
                        (f"secateur_latency_seconds{chosen}", named + " q{{quantile}}"),
                        (f"secateur_deadline_seconds{chosen}", named + " deadline"),
                        unit="s",
                    ),
                    panel("Level", (f"secateur_level{chosen}", named)),
                ],
            ),
            (
                8,
                [
                    panel(
                        "Frames a second",
                        (
                            f"rate(secateur_frames_answered_total{chosen}[5m])",
                            named + " answered",
                        ),
                        (
                            f"rate(secateur_frames_dropped_total{chosen}[5m])",
                            named + " dropped",
                        ),
                        (f"rate(secateur_frames_lost_total{chosen}[5m])", named + " lost"),
                        (f"rate(secateur_deadline_misses_total{chosen}[5m])", named + " late"),
                    ),
                    panel(
                        "Switches an hour",
                        (f"increase(secateur_switches_total{chosen}[1h])", named),
                    ),
                ],
            ),
            (
                8,
                [
                    panel(
                        "CPU",
                        (f"secateur_device_cpu_share{chosen}", "{{instance}}"),
                        unit="percentunit",
                    ),
                    panel(
                        "Memory available",
                        (f"secateur_device_memory_available_bytes{chosen}", "{{instance}}"),
                        unit="bytes",
                    ),
                    panel(
                        "Temperature",
                        (f"secateur_device_temperature_celsius{chosen}", "{{instance}}"),
                        unit="celsius",
                    ),
                    panel(
                        "On the wire",
                        (
                            f"rate(secateur_wire_sent_bytes_total{chosen}[5m])",
                            "{{instance}} sent",
                        ),
                        (
                            f"rate(secateur_wire_received_bytes_total{chosen}[5m])",
                            "{{instance}} received",
                        ),
                        unit="Bps",
                    ),
                ],
            ),
        ],
    )


def written() -> dict[str, str]:
    """Give each dashboard's file as text, by its name."""
    boards = {"fleet.json": fleet(), "device.json": device()}
    return {name: json.dumps(board, indent=2) + "\n" for name, board in boards.items()}


if __name__ == "__main__":
    for name, text in written().items():
        (HERE / name).write_text(text, encoding="utf-8")
