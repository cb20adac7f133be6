"""What ``secateur`` says to a command line that it cannot take."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ([], "Missing command"),
        (["policy"], "Missing command"),
        (["prun"], "prun"),
        (["prune"], "MODEL"),
        (["devices", "--colour"], "--colour"),
        (["policy", "set", "--patience", "many"], "--patience"),
        (["prune", "m.tflite", "--levels", "few"], "--levels"),
        (["serve", "--http-host", "0.0.0.0"], "public_url"),
        (["serve", "--site", "Oslo East"], "site"),
        (["devices", "--broker", "http://localhost"], "broker"),
    ],
)
def test_a_command_line_that_makes_no_sense_is_refused_in_one_line(
    arguments: list[str], word: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "secateur_server", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("secateur: error: ")
    assert word in line
