"""Every block of code on a page is code: it parses, and settings are settings."""

import ast
import configparser
import json
import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from secateur_agent.settings import AgentSettings
from secateur_server.coordinator.settings import ServeSettings

ROOT = Path(__file__).parents[2]
PAGES = [
    path
    for folder in (".", "docs", "docs/adr", "examples", "examples/*", "deploy", "deploy/*")
    for path in sorted(ROOT.glob(f"{folder}/*.md"))
]
BLOCK = re.compile(r"^```(\w+)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHORTEST = {"device": "shown", "models": [{"name": "shown", "deadline_ms": 1.0}]}
"""What a configuration needs that a page shows a part of."""


def blocks() -> Iterator[tuple[str, str, str]]:
    """Give place, language and text of each block."""
    for path in PAGES:
        for number, (language, text) in enumerate(BLOCK.findall(path.read_text("utf-8"))):
            yield f"{path.relative_to(ROOT)}#{number}", language, text


def read_toml(text: str) -> None:
    """Parse, and let whose settings they are judge them."""
    found: dict[str, Any] = tomllib.loads(text)
    if "project" in found:  # of a distribution that extends ours
        return
    if set(found) <= set(ServeSettings.model_fields) and set(found) - {"broker", "site"}:
        ServeSettings.model_validate(found)
        return
    if isinstance(found.get("models"), dict):  # part of a model's table
        found["models"] = [{"name": "shown", "deadline_ms": 1.0, **found["models"]}]
    AgentSettings.model_validate({**SHORTEST, **found})


def read_ini(text: str) -> None:
    """Parse a unit or a drop-in; keys may be there several times."""
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.read_string(text)
    assert parser.sections()


READERS: dict[str, Callable[[str], Any]] = {
    "toml": read_toml,
    "json": json.loads,
    "python": ast.parse,
    "yaml": lambda text: list(yaml.safe_load_all(text)),
    "ini": read_ini,
}
OTHERS = {"console", "text", "mermaid", "sh", "bash"}
"""Commands are parsed elsewhere; the rest is for people."""

BLOCKS = list(blocks())


@pytest.mark.parametrize(
    ("language", "text"),
    [pytest.param(language, text, id=place) for place, language, text in BLOCKS],
)
def test_a_block_is_what_it_says_it_is(language: str, text: str) -> None:
    assert language in READERS or language in OTHERS, f"{language}: nobody checks such blocks"
    if language in READERS:
        READERS[language](text)


def test_there_are_blocks_of_each_common_language() -> None:
    assert {"toml", "json", "python", "console", "ini"} <= {
        language for _, language, _ in BLOCKS
    }


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("toml", "[broker]\nadress = 'mqtt://here'\n"),
        ("toml", "[[models]]\nname = 'a'\n"),
        ("json", "{'a': 1}"),
        ("python", "with Agent() as agent"),
    ],
)
def test_a_block_that_is_wrong_is_found(language: str, text: str) -> None:
    with pytest.raises((ValueError, SyntaxError)):
        READERS[language](text)
