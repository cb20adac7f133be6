"""Every command of ``secateur``, walked: what all of them promise."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from secateur_server.cli.app import app, run
from support.coordinators import Served
from support.scripted_device import ScriptedDevice
from support.situations import make_info

GONE = "mqtt://127.0.0.1:1"

PRINTS_NO_DATA = {
    "withdraw",
    "serve",
    "rebirth",
    "forget",
    "pin",
    "dashboard",
    "home-assistant",
    "policy set",
    "certificate serve",
    "protocol export",
}
"""They do something, or run until stopped; all others print data."""

NEEDED = {
    "forget": ["meter-7"],
    "pin": ["meter-7", "digits", "1"],
    "policy set": ["--patience", "2"],
    "rollout start": ["digits"],
    **{f"rollout {word}": ["r-1"] for word in ("pause", "resume", "halt", "approve", "forget")},
}
"""Arguments that a command cannot do without."""

ELSEWHERE = {"doctor", "simulate", "dashboard"}
"""A missing broker is a finding of the first, none is needed by the second alone, and the third
waits for it."""

READ = ["devices", "status", "policy show", "rollout status", "doctor"]


MISSING = "missing/file"

WITH_FILE = {
    "inspect": [MISSING],
    "bench": [MISSING],
    "prune": [MISSING, "--calibration", MISSING, "--evaluation", MISSING, "--out", "new"],
    "publish": [MISSING, "--unsigned", "--data", "new"],
    "withdraw": ["digits", "2", "--data", MISSING],
    "serve": ["--config", MISSING],
    "backup": ["new", "--data", MISSING],
    "restore": [MISSING, "--data", "new"],
    "revoke": ["meter-7", "--data", MISSING],
    "simulate": ["--scenario", MISSING],
    "keys status": ["--data", MISSING],
    "keys rotate": ["targets", "--data", MISSING],
    "keys revoke": ["ab12", "--data", MISSING],
    "keys renew": ["--data", MISSING],
}
"""What reads a file or a folder, with one that is not there."""


def walk(command: Any, name: str = "") -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - click's
    yield name, command
    for word, each in getattr(command, "commands", {}).items():
        yield from walk(each, f"{name} {word}".strip())


TREE = dict(walk(typer.main.get_command(app)))
COMMANDS = {
    name: {option for parameter in each.params for option in parameter.opts}
    for name, each in TREE.items()
    if not hasattr(each, "commands")
}
WITH_BROKER = sorted(name for name, options in COMMANDS.items() if "--broker" in options)


def test_every_command_and_all_that_it_takes_is_explained() -> None:
    bare = [name for name, each in TREE.items() if not each.help]
    bare += [
        f"{name} {parameter.name}"
        for name, each in TREE.items()
        for parameter in each.params
        if not getattr(parameter, "help", None)
    ]
    assert bare == []


def test_what_prints_data_prints_it_as_json_when_asked() -> None:
    without = {name for name, options in COMMANDS.items() if "--json" not in options}
    assert without == PRINTS_NO_DATA


@pytest.mark.parametrize("name", [each for each in WITH_BROKER if each not in ELSEWHERE])
def test_a_broker_that_is_not_there_is_one_line_and_exit_code_2(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run([*name.split(), *NEEDED.get(name, []), "--broker", GONE])
    said = capsys.readouterr()
    assert code == 2
    (line,) = said.err.strip().splitlines()
    assert line.startswith("secateur: error: no broker at 127.0.0.1:1")
    assert said.out == ""


@pytest.mark.parametrize(
    "name", sorted(name for name, options in COMMANDS.items() if "--site" in options)
)
@pytest.mark.parametrize("site", ["Oslo", "oslo/+", ""])
def test_a_site_of_no_such_name_is_one_line_and_exit_code_2(
    name: str,
    site: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    needed = {**NEEDED, "simulate": WITH_FILE["simulate"]}.get(name, [])
    code = run([*name.split(), *needed, "--site", site])
    said = capsys.readouterr()
    assert code == 2
    (line,) = said.err.strip().splitlines()
    assert line.startswith("secateur: error: ")
    assert "site" in line
    assert said.out == ""
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.parametrize("name", sorted(WITH_FILE))
def test_a_file_that_is_not_there_is_one_line_and_exit_code_2_and_nothing_is_written(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    code = run([*name.split(), *WITH_FILE[name]])
    said = capsys.readouterr()
    assert code == 2
    (line,) = said.err.strip().splitlines()
    assert line.startswith("secateur: error: ")
    assert "missing" in line
    assert said.out == ""
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.parametrize(
    ("written", "offered"),
    [("ro", {"rollout"}), ("policy s", {"set", "show"}), ("serve --broker", {"--broker-port"})],
)
def test_the_shell_is_told_how_a_word_can_go_on(written: str, offered: set[str]) -> None:
    words = f"secateur {written}"
    asked = {
        "_SECATEUR_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
    }
    done = subprocess.run(
        [sys.executable, "-c", "from secateur_server.cli.app import main; main()"],
        env={**os.environ, **asked},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert set(done.stdout.split()) >= offered


@pytest.fixture
def device(served: Served) -> Iterator[ScriptedDevice]:
    speaker = ScriptedDevice(served.broker_url, "meter-7", make_info(deadline_ms=20.0))
    speaker.birth()
    yield speaker
    speaker.close()


@pytest.mark.broker
def test_what_reads_prints_one_json_document_and_nothing_else(
    served: Served, device: ScriptedDevice, capsys: pytest.CaptureFixture[str]
) -> None:
    device.next_desired()
    for name in READ:
        assert run([*name.split(), "--broker", served.broker_url, "--json"]) == 0, name
        json.loads(capsys.readouterr().out)


@pytest.mark.broker
def test_no_color_is_respected(served: Served, device: ScriptedDevice) -> None:
    device.next_desired()
    command = [sys.executable, "-m", "secateur_server", "doctor", "--broker", served.broker_url]

    def colors(**environment: str) -> list[str]:
        done = subprocess.run(
            command,
            env={**os.environ, "FORCE_COLOR": "1", **environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return re.findall(r"\x1b\[[0-9;]*3[0-9][0-9;]*m", done.stdout)

    assert colors()
    assert colors(NO_COLOR="1") == []
