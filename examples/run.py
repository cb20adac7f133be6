"""Play one example from end to end on this machine.

    .venv/bin/python examples/run.py vibration [--seconds 10] [--keep FOLDER]

Prunes the example's model into a ladder, makes keys, publishes, starts a coordinator with its
own broker and one agent, and lets the agent infer on the frames that the example's command
writes. Ends by itself and says how many answers came, of which class, from which level.

An example is a folder with ``prepare.py OUT``, which writes into OUT:

    model.tflite, calibration.npz, evaluation.npz     as `secateur prune` takes them
    prune.txt                                         how far to prune: options of it
    model.toml                                        the model's table in ``agent.toml``
    labels.txt                                        what each output stands for, a line each

The last line is one JSON object: example, answers, levels, labels.

Exit codes: 0 it answered; 1 it did not; 2 wrong use; 3 data that it needs is not here.
"""

import argparse
import collections
import contextlib
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from secateur_server.demo.fleet import Process
from secateur_server.errors import ServerError

HERE = Path(__file__).resolve().parent
EXAMPLES = sorted(path.parent.name for path in HERE.glob("*/prepare.py"))

NOT_HERE = 3
STEP_S = 300.0
"""Longest that preparing, pruning or publishing may take, seconds."""
START_S = 60.0

AGENT_TOML = """\
site = "example"
device = "example-1"
state_dir = {state_dir}

[trust]
root = {root}

[broker]
url = "{broker}"

[transfer]
spread_s = 0.0

[telemetry]
period_s = 1.0

{model}
[models.results]
lines = {lines}
lines_max_bytes = 1000000000
"""


class ExampleError(Exception):
    """Something the example needs did not work; the message is for people.

    Attributes:
        code: What to exit with.
    """

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


def run(folder: Path, *command: str | Path, passphrase: str = "") -> None:
    """Run one step in a folder, and show what it was.

    Raises:
        ExampleError: It failed; holds its last words and, of `NOT_HERE`, its code.
    """
    python, *arguments = map(str, command)
    shown = " ".join(arguments).replace("-m secateur_server", "secateur")
    print("$", shown.replace(f"{HERE.parent}/", ""), flush=True)
    done = subprocess.run(
        [python, *arguments],
        cwd=folder,
        env={**os.environ, "SECATEUR_PASSPHRASE": passphrase},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        check=False,
        timeout=STEP_S,
    )
    if done.returncode != 0:
        words = (done.stderr.strip().splitlines() or ["no word"])[-1]
        raise ExampleError(words, NOT_HERE if done.returncode == NOT_HERE else 1)


def publish(name: str, folder: Path) -> None:
    """Prepare, prune, make keys, publish."""
    secateur = (sys.executable, "-m", "secateur_server")
    passphrase = secrets.token_hex(16)
    run(folder, sys.executable, HERE / name / "prepare.py", ".")
    size = (folder / "prune.txt").read_text().split()
    samples = ("--calibration", "calibration.npz", "--evaluation", "evaluation.npz")
    out = ("--model", name, "--out", "ladder")
    run(folder, *secateur, "prune", "model.tflite", *samples, *size, *out)
    places = ("--keys", "keys", "--data", "server")
    one = ("--root-keys", "1", "--root-threshold", "1")
    run(folder, *secateur, "keys", "init", *places, *one, passphrase=passphrase)
    run(folder, *secateur, "publish", "ladder", *places, passphrase=passphrase)


@contextlib.contextmanager
def fleet(folder: Path) -> Iterator[list[Process]]:
    """Run a coordinator with its broker, and one agent; both end on leaving."""
    ready, lines = folder / "ready.json", folder / "answers.jsonl"
    processes: list[Process] = []

    def start(name: str, *arguments: str | Path) -> None:
        told = [str(each) for each in arguments]
        processes.append(Process(name, told, folder / f"{name}.log"))

    try:
        start("coordinator", "secateur_server", "serve", "--site", "example",
              "--data", folder / "server", "--ready-file", ready,
              "--http-port", "0", "--broker-port", "0")  # fmt: skip
        wait_for(ready.exists, "the coordinator", processes)
        config = folder / "agent.toml"
        config.write_text(
            AGENT_TOML.format(
                state_dir=json.dumps(str(folder / "device")),
                root=json.dumps(str(folder / "server/registry/metadata/1.root.json")),
                broker=json.loads(ready.read_text())["broker"],
                model=(folder / "model.toml").read_text(),
                lines=json.dumps(str(lines)),
            )
        )
        start("agent", "secateur_agent", "run", "--config", config)
        wait_for(lines.exists, "the first answer", processes)
        yield processes
    finally:
        for process in reversed(processes):
            process.close()
            process.wait()


def wait_for(condition: Callable[[], bool], what: str, processes: list[Process]) -> None:
    """Wait until something is true, as long as all processes live."""
    deadline_s = time.monotonic() + START_S
    while not condition():
        for process in processes:
            process.check()
        if time.monotonic() > deadline_s:
            raise ExampleError(f"{what} did not come in {START_S:.0f} s")
        time.sleep(0.05)


def summary(name: str, folder: Path) -> dict[str, Any]:
    """Count the answers by label and by level."""
    labels = (folder / "labels.txt").read_text().split()
    told, levels = collections.Counter[str](), collections.Counter[int]()
    for line in (folder / "answers.jsonl").read_text().splitlines():
        answer = json.loads(line)
        scores = answer["outputs"][0]["data"]
        told[labels[scores.index(max(scores))]] += 1
        levels[answer["level"]] += 1
    return {
        "example": name,
        "answers": told.total(),
        "levels": {str(level): count for level, count in sorted(levels.items())},
        "labels": {label: told[label] for label in labels},
    }


def play(name: str, folder: Path, seconds: float) -> None:
    """Play one example in a folder, and print what came of it."""
    publish(name, folder)
    print(f"a coordinator, a broker and an agent, for {seconds:g} s", flush=True)
    with fleet(folder) as processes:
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            for process in processes:
                process.check()
            time.sleep(0.1)
    found = summary(name, folder)
    for label, count in found["labels"].items():
        print(f"{label:>14} {count:5}")
    print(json.dumps(found))


def main() -> int:
    """Play the example that is named."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("example", choices=EXAMPLES)
    parser.add_argument("--seconds", type=float, default=10.0, help="how long it infers")
    parser.add_argument("--keep", type=Path, help="a new folder for all that is made")
    options = parser.parse_args()
    try:
        with contextlib.ExitStack() as stack:
            if options.keep is None:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            else:
                folder = options.keep.resolve()
                folder.mkdir(parents=True)
            play(options.example, folder, options.seconds)
    except FileExistsError:
        sys.stderr.write(f"run.py: error: {options.keep} is there already: name a new folder\n")
        return 2
    except (ExampleError, ServerError) as error:
        sys.stderr.write(f"run.py: error: {error}\n")
        return error.code if isinstance(error, ExampleError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
