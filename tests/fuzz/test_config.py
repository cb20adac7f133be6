"""Any agent.toml becomes settings, or one line that names the file."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from secateur_agent.errors import ConfigError
from secateur_agent.lanes import lane_spec
from secateur_agent.settings import AgentSettings, read_settings

EXAMPLE = Path(__file__).parents[2] / "deploy" / "agent.example.toml"
BYTES = EXAMPLE.read_bytes()

values: st.SearchStrategy[Any] = st.recursive(
    st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("config") / "agent.toml"


def assert_settings_or_one_line(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    try:
        loaded = read_settings(path)
    except ConfigError as error:
        problem = " ".join(str(error).split())
        assert str(path) in problem
        assert problem.isprintable()
        assert len(problem) < 1000
        return
    assert isinstance(loaded, AgentSettings)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_any_bytes(path: Path, content: bytes) -> None:
    assert_settings_or_one_line(path, content)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cut=st.integers(0, len(BYTES)),
    flips=st.lists(st.tuples(st.integers(0, len(BYTES) - 1), st.integers(1, 255)), max_size=4),
)
def test_the_example_with_bytes_cut_and_flipped(
    path: Path, cut: int, flips: list[tuple[int, int]]
) -> None:
    content = bytearray(BYTES)
    for index, bits in flips:
        content[index] ^= bits
    assert_settings_or_one_line(path, bytes(content[: max(cut, len(content) // 2)]))


def replace_one_value(document: Any, data: st.DataObject) -> None:  # noqa: ANN401 - any TOML
    holder = document
    while True:
        keys = list(holder) if isinstance(holder, dict) else range(len(holder))
        key = data.draw(st.sampled_from(keys))
        inner = holder[key]
        if not (isinstance(inner, dict | list) and inner) or data.draw(st.booleans()):
            holder[key] = data.draw(values)
            return
        holder = inner


@settings(deadline=None)
@given(data=st.data())
def test_the_example_with_one_value_replaced(data: st.DataObject) -> None:
    document = tomllib.loads(BYTES.decode())
    replace_one_value(document, data)
    try:
        loaded = AgentSettings.model_validate(document)
    except ValueError:
        return
    for model in loaded.models:
        lane_spec(model, loaded.limits)
