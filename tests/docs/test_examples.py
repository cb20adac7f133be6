"""What the documentation tells people to run and to write is run, and read, here."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
import tomllib
from pathlib import Path
from typing import Any

import pytest

from secateur_agent.settings import AgentSettings

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
COMMAND = re.compile(r"^\$ (.+)$", re.MULTILINE)
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
RUN_S = 300.0

REFERENCE = {
    "commands": ("secateur rollout start", "--rewrite", "secateur-agent install", "--enroll"),
    "settings": ("probe_memory_bytes", "at most 65535", "public_url"),
    "messages": ("ota/blocks/request", "deadline_misses", "superseded"),
    "manifest": ("compressed_bytes", "Its 95 % interval"),
    "python": ("Agent.infer", "NoAnswerError", "Source.run", "Pruned"),
}
"""What the pages made from the code have to have on them."""


def blocks(name: str, language: str) -> list[str]:
    text = (DOCS / name).read_text(encoding="utf-8")
    return [body for kind, body in BLOCK.findall(text) if kind == language]


@pytest.mark.slow
def test_the_tutorial_runs_as_it_stands(tmp_path: Path) -> None:
    """In a copy of the repository's folder as a reader has it: the examples are there."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    (tmp_path / "first").mkdir()
    bin_dir = Path(sys.executable).parent
    environment = {
        **os.environ,
        "PATH": f"{bin_dir}:{os.environ['PATH']}",
        "SECATEUR_PASSPHRASE": "a passphrase of tests",
    }
    commands = [
        each for body in blocks("tutorial.md", "console") for each in COMMAND.findall(body)
    ]
    assert len(commands) > 4
    for command in commands:
        done = subprocess.run(
            shlex.split(command),
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=RUN_S,
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"
    assert (tmp_path / "first" / "ladder.html").exists()


@pytest.mark.parametrize("body", blocks("how-to-sources.md", "toml"))
def test_sources_shown_are_settings_of_the_agent(body: str) -> None:
    shown: dict[str, Any] = tomllib.loads(body)
    if "models" in shown and isinstance(shown["models"], dict):
        # Part of a model's table, as the text says.
        shown = {"models": [{"name": "shown", "deadline_ms": 1.0, **shown["models"]}]}
    AgentSettings.model_validate({"device": "meter-7", **shown})


def test_the_source_shown_offers_frames_until_it_is_stopped() -> None:
    [code] = blocks("how-to-plugins.md", "python")
    space: dict[str, Any] = {}
    exec(compile(code, "counter.py", "exec"), space)  # noqa: S102 - what the page shows
    source = space["Counter"](rate_hz=1000.0)
    stopping, offered = threading.Event(), []

    def offer(sample: Any, **_: object) -> None:  # noqa: ANN401 - an array
        offered.append(float(sample[0]))
        if len(offered) == 3:
            stopping.set()

    source.run(offer, stopping)
    assert offered == [0.0, 1.0, 2.0]


def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=RUN_S,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "tutorial.html").exists()
    said = {path.stem: path.read_text() for path in (tmp_path / "reference").glob("*.html")}
    for page, words in REFERENCE.items():
        assert [word for word in words if word not in said[page]] == []
