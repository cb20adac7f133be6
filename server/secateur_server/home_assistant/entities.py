"""What Home Assistant is told that there is: one device with its sensors, select and update.

Source: Home Assistant, "MQTT", sections "Device discovery payload" and "Sensor", "Select" and
"Update"; https://www.home-assistant.io/integrations/mqtt/.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from secateur_protocols.ids import DeviceId, ModelName, SiteId
from secateur_protocols.info import Info

ROOT = "secateur-home-assistant"
"""The tree of what is said for Home Assistant alone; the protocol's own has one writer each."""

AUTOMATIC = "automatic"
"""The choice in which the planner decides."""

ORIGIN_URL = "https://pypi.org/project/secateur/"


@dataclass(frozen=True, slots=True)
class Topics:
    """Where everything of one site is said."""

    site: SiteId
    discovery_prefix: str = "homeassistant"

    def discovery(self, device: DeviceId) -> str:
        """Spell where a device is announced. Retained; emptied, the device goes."""
        return f"{self.discovery_prefix}/device/secateur-{self.site}-{device}/config"

    def status(self) -> str:
        """Spell where it is said whether a coordinator is there. Retained, with a last will."""
        return f"{ROOT}/{self.site}/status"

    def device(self, device: DeviceId) -> str:
        """Spell where a device's resources and presence are said. Retained."""
        return f"{ROOT}/{self.site}/{device}"

    def model(self, device: DeviceId, model: ModelName) -> str:
        """Spell where it is said how a model does on a device. Retained."""
        return f"{self.device(device)}/{model}"

    def update(self, device: DeviceId, model: ModelName) -> str:
        """Spell where it is said which version is there and which is to come. Retained."""
        return f"{self.model(device, model)}/update"

    def pin(self, device: DeviceId, model: ModelName) -> str:
        """Spell where Home Assistant says which level to hold."""
        return f"{self.model(device, model)}/pin"


def announcement(
    topics: Topics, device: DeviceId, info: Info, levels: Mapping[ModelName, int]
) -> dict[str, JsonValue]:
    """Describe one device to Home Assistant.

    Args:
        topics: Where everything is said.
        device: Its name.
        info: What it said of itself.
        levels: How many levels the ladder of each model has, where it is known.
    """
    components: dict[str, JsonValue] = {}
    for task in info.tasks:
        components |= _of_model(topics, device, task.model, levels.get(task.model, 0))
    components |= _of_device(topics, device)
    return {
        "device": {
            "identifiers": [f"secateur-{topics.site}-{device}"],
            "name": device,
            "model": info.hardware.hardware_class,
            "hw_version": info.hardware.cpu_model,
            "sw_version": info.agent_version,
        },
        "origin": {"name": "Secateur", "support_url": ORIGIN_URL},
        "availability": [
            {"topic": topics.status()},
            {"topic": topics.device(device), "value_template": "{{ value_json.presence }}"},
        ],
        "availability_mode": "all",
        "qos": 1,
        "components": components,
    }


def _of_model(
    topics: Topics, device: DeviceId, model: ModelName, levels: int
) -> dict[str, JsonValue]:
    said = topics.model(device, model)
    sensors: tuple[tuple[str, str, dict[str, JsonValue]], ...] = (
        ("level", "level", {"icon": "mdi:stairs"}),
        (
            "p95",
            "p95",
            {
                "device_class": "duration",
                "unit_of_measurement": "ms",
                "state_class": "measurement",
            },
        ),
        (
            "misses",
            "deadline misses",
            {"state_class": "total_increasing", "icon": "mdi:timer-alert-outline"},
        ),
    )
    found: dict[str, JsonValue] = {
        f"{model}-{key}": {
            "platform": "sensor",
            "unique_id": _unique(topics, device, f"{model}-{key}"),
            "name": f"{model} {name}",
            "state_topic": said,
            "value_template": f"{{{{ value_json.{key} }}}}",
            **more,
        }
        for key, name, more in sensors
    }
    found[f"{model}-update"] = {
        "platform": "update",
        "unique_id": _unique(topics, device, f"{model}-update"),
        "name": model,
        "state_topic": topics.update(device, model),
        "entity_category": "diagnostic",
    }
    if levels:
        found[f"{model}-pin"] = {
            "platform": "select",
            "unique_id": _unique(topics, device, f"{model}-pin"),
            "name": f"{model} level held",
            "state_topic": said,
            "value_template": "{{ value_json.pin }}",
            "command_topic": topics.pin(device, model),
            "options": [AUTOMATIC, *map(str, range(levels))],
            "entity_category": "config",
        }
    return found


def _of_device(topics: Topics, device: DeviceId) -> dict[str, JsonValue]:
    measured: dict[str, JsonValue] = {"state_class": "measurement"}
    return {
        "temperature": {
            "platform": "sensor",
            "unique_id": _unique(topics, device, "temperature"),
            "name": "temperature",
            "state_topic": topics.device(device),
            "value_template": "{{ value_json.temperature_c }}",
            "device_class": "temperature",
            "unit_of_measurement": "°C",
            "entity_category": "diagnostic",
            **measured,
        },
        "cpu": {
            "platform": "sensor",
            "unique_id": _unique(topics, device, "cpu"),
            "name": "CPU",
            "state_topic": topics.device(device),
            "value_template": "{{ value_json.cpu_percent }}",
            "unit_of_measurement": "%",
            "entity_category": "diagnostic",
            **measured,
        },
    }


def _unique(topics: Topics, device: DeviceId, key: str) -> str:
    return f"secateur-{topics.site}-{device}-{key}"
