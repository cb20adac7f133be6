"""The example configuration and its documentation name every setting, and are right."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from secateur_agent.settings import (
    AgentSettings,
    HttpSettings,
    SimulationSettings,
    read_settings,
)

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "deploy" / "agent.example.toml"
REFERENCE = ROOT / "docs" / "agent-config.md"

OPTIONAL_LINE = re.compile(r"^# (?=\w+ = |\[)", re.MULTILINE)
"""A key or a table that the example shows commented out."""

ROW = re.compile(r"^\| `([\w.\[\]]+)` \| .+? \| (.+?) \| .+ \|$", re.MULTILINE)
"""A row of the reference: key, type, default, meaning."""


FREE = ("labels.", "options.")
"""Tables whose keys are the user's own."""


def settings() -> Iterator[tuple[str, FieldInfo]]:
    yield from fields_of("", AgentSettings)


def fields_of(prefix: str, section: type[BaseModel]) -> Iterator[tuple[str, FieldInfo]]:
    for name, field in section.model_fields.items():
        nested = sections_of(field)
        if not nested:
            yield prefix + name, field
        for each in nested:
            repeats = "[]" if field.annotation is not each and name == "models" else ""
            yield from fields_of(f"{prefix}{name}{repeats}.", each)


def sections_of(field: FieldInfo) -> list[type[BaseModel]]:
    """Find the tables that a setting may be, through optional, union and tuple."""
    waiting: list[object] = [field.annotation]
    sections = []
    while waiting:
        found = waiting.pop()
        if isinstance(found, type) and issubclass(found, BaseModel):
            sections.append(found)
        waiting.extend(getattr(found, "__args__", ()))
    return sections


def keys_of(prefix: str, value: object) -> Iterator[str]:
    if isinstance(value, dict) and not prefix.endswith(FREE):
        for name, inner in value.items():
            yield from keys_of(f"{prefix}{name}.", inner)
    elif isinstance(value, list) and isinstance(value[0], dict):
        for inner in value:
            repeats = "[]" if isinstance(inner, dict) else ""
            yield from keys_of(f"{prefix[:-1]}{repeats}.", inner)
    else:
        yield prefix[:-1]


@pytest.fixture
def uncommented(tmp_path: Path) -> Path:
    path = tmp_path / "agent.toml"
    path.write_text(OPTIONAL_LINE.sub("", EXAMPLE.read_text()))
    return path


def test_the_example_is_a_configuration_of_a_real_device() -> None:
    loaded = read_settings(EXAMPLE)
    assert loaded.device == "meter-7"
    assert loaded.simulation is None


def test_what_the_example_shows_commented_out_is_right_too(uncommented: Path) -> None:
    loaded = read_settings(uncommented)
    assert isinstance(loaded.simulation, SimulationSettings)
    assert loaded.broker.ca_file == Path("/etc/secateur/ca.pem")


def test_the_example_names_every_setting(uncommented: Path) -> None:
    document = tomllib.loads(uncommented.read_text())
    assert set(keys_of("", document)) == {name for name, _ in settings()}


def test_the_example_shows_the_defaults() -> None:
    loaded = AgentSettings.model_validate(tomllib.loads(EXAMPLE.read_text()))
    for section in ("broker", "telemetry", "engine"):
        assert getattr(loaded, section) == AgentSettings.model_fields[section].default
    assert loaded.http == HttpSettings()
    assert loaded.state_dir == AgentSettings.model_fields["state_dir"].default


def test_the_reference_has_every_setting_with_its_default() -> None:
    documented = dict(ROW.findall(REFERENCE.read_text()))
    assert documented == {name: described(field) for name, field in settings()}


def described(field: FieldInfo) -> str:
    """Say a default as the reference does."""
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value is None or value == {}:
        return "none"
    return f"`{value}`"
