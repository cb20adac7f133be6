"""Every command line that a page shows is one that the programs themselves take."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from secateur_agent import cli as agent_cli
from secateur_server.cli.app import app

ROOT = Path(__file__).parents[2]
PAGES = [
    path
    for folder in (".", "docs", "docs/adr", "examples", "examples/*", "deploy", "deploy/*")
    for path in sorted(ROOT.glob(f"{folder}/*.md"))
]
SHOWN = re.compile(r"^(?:\$ | {4})(secateur(?:-agent)? .+)$", re.MULTILINE)
SYNOPSIS = ("[", "|", "...")
"""What a line has that says what may be given, instead of giving it."""


def lines() -> Iterator[tuple[str, str]]:
    """Give page and line; continued lines are joined, and remarks at the end left out."""
    for path in PAGES:
        text = re.sub(r" \\\n *", " ", path.read_text(encoding="utf-8"))
        for line in SHOWN.findall(text):
            words = shlex.split(line, comments=True)
            if not any(word.startswith(SYNOPSIS) for word in words):
                yield path.relative_to(ROOT).as_posix(), shlex.join(words)


LINES = sorted(set(lines()))


def parse(words: list[str]) -> None:
    """Let the program parse a line, down to the values of its options; nothing is run."""
    if words[0] == "secateur-agent":
        agent_cli._parser().parse_args(words[1:])
        return
    command: Any = typer.main.get_command(app)
    context, name, arguments = None, "secateur", words[1:]
    while True:
        context = command.make_context(name, list(arguments), parent=context)
        if not getattr(command, "commands", None):
            return
        rest = [*context._protected_args, *context.args]
        name, command, arguments = command.resolve_command(context, rest)


@pytest.mark.parametrize(("page", "line"), LINES)
def test_a_line_shown_is_parsed_by_its_program(page: str, line: str) -> None:
    assert page
    code: object = 0
    try:
        parse(shlex.split(line))
    except SystemExit as end:  # how argparse ends: with 0 after --version
        code = end.code
    assert code == 0, line


def test_there_are_lines_to_parse() -> None:
    assert len(LINES) > 50


@pytest.mark.parametrize(
    "line",
    [
        "secateur prune model.tflite --out ladder",
        "secateur prune m.tflite --calibration c --evaluation e --out l --levels many",
        "secateur rollout begin model",
    ],
)
def test_a_line_that_no_program_takes_is_found(line: str) -> None:
    with pytest.raises(Exception, match=r"(?i)missing|valid integer|no such command"):
        parse(shlex.split(line))
