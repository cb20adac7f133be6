"""The reference of the command line names what the programs' own --help names, and no more."""

import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from secateur_agent import cli as agent_cli
from secateur_agent import errors as agent_errors
from secateur_server import errors as server_errors
from secateur_server.cli import app as server_cli

ROOT = Path(__file__).parents[2]
REFERENCE = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
SHOWING = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
"""Documents whose command lines people will copy."""

SECTION = re.compile(r"^## (.+?)\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
COMMAND_LINE = re.compile(r"^(?:\$ | {4})(secateur(?:-agent)? .+)$", re.MULTILINE)
SUBCOMMAND = re.compile(r"^ {2,4}([a-z-]+)(?: {2,}|$)", re.MULTILINE)

Command = tuple[str, ...]
"""The program and the words that lead to one command."""

EVERYWHERE = {"--help"}
"""What the reference says once, for all commands."""


def help_text(command: Command, capsys: pytest.CaptureFixture[str]) -> str:
    program: Callable[[list[str]], int] = {
        "secateur": server_cli.run,
        "secateur-agent": agent_cli.main,
    }[command[0]]
    try:
        code = program([*command[1:], "--help"])
    except SystemExit as end:  # how argparse ends after its help
        code = int(end.code or 0)
    assert code == 0
    return capsys.readouterr().out


def read_commands(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> Iterator[tuple[Command, set[str]]]:
    """Walk a program's help, command by command, with the options of each."""
    text = help_text(command, capsys)
    yield command, set(OPTION.findall(text))
    listed = re.search(r"^(?:Commands|positional arguments):\n((?: .*\n)+)", text, re.MULTILINE)
    for name in SUBCOMMAND.findall(listed[1]) if listed else ():
        yield from read_commands((*command, name), capsys)


@pytest.fixture
def commands(capsys: pytest.CaptureFixture[str]) -> dict[Command, set[str]]:
    """Give every command of both programs with its options."""
    programs = ("secateur",), ("secateur-agent",)
    return {k: v for program in programs for k, v in read_commands(program, capsys)}


def shown(text: str) -> Iterator[list[str]]:
    """Give the words of every command line that a text shows."""
    joined = re.sub(r" \\\n *", " ", text)
    for line in COMMAND_LINE.findall(joined):
        yield shlex.split(line, comments=False)


def longest(words: list[str], commands: dict[Command, set[str]]) -> Command:
    """Find the command that a line of words calls."""
    return max(
        (known for known in commands if tuple(words[: len(known)]) == known),
        key=len,
    )


def leaves(commands: dict[Command, set[str]]) -> set[Command]:
    """Give the commands that have no commands below."""
    return set(commands) - {known[:-1] for known in commands}


def heading(command: Command) -> str:
    return " ".join(command if command[0] == "secateur-agent" else command[:2])


def test_the_help_is_understood(commands: dict[Command, set[str]]) -> None:
    assert {"--deadline-ms", "--clear"} <= commands["secateur", "policy", "set"]
    assert "--config" in commands["secateur-agent", "run"]
    assert all("--help" in options for options in commands.values())


def test_every_command_line_shown_is_one_that_exists(
    commands: dict[Command, set[str]],
) -> None:
    assert {longest(words, commands) for words in shown(REFERENCE)} >= leaves(commands)
    for words in (line for path in SHOWING for line in shown(path.read_text(encoding="utf-8"))):
        command = longest(words, commands)
        is_complete = command in leaves(commands) or words[len(command)].startswith("--")
        assert is_complete, f"no such command: {words}"
        named = {option for word in words for option in OPTION.findall(word)}
        assert named <= commands[command], f"no such option: {words}"


def test_every_option_has_its_place_in_the_section_of_its_command(
    commands: dict[Command, set[str]],
) -> None:
    sections = dict(SECTION.findall(REFERENCE))
    real: dict[str, set[str]] = {}
    for command, options in commands.items():
        name = "secateur-agent" if command[0] == "secateur-agent" else heading(command)
        real.setdefault(name, set()).update(options - EVERYWHERE)
    real["How the programs behave"] = set().union(*commands.values())
    general = real.pop("secateur")
    for name, options in real.items():
        said = set(OPTION.findall(sections[name])) - EVERYWHERE
        assert said <= options, f"{name} has no such option"
        if name != "How the programs behave":
            assert options <= said, f"{name} is not described in full"
    assert general <= set(OPTION.findall(sections["How the programs behave"]))


def test_the_exit_codes_are_those_of_the_programs() -> None:
    said = {int(code) for code in re.findall(r"^\| (\d) \|", REFERENCE, re.MULTILINE)}
    for module in (server_errors, agent_errors):
        codes = {value for name, value in vars(module).items() if name.startswith("EXIT_")}
        assert codes <= said
    assert said == {value for name, value in vars(server_errors).items() if "EXIT_" in name}
