"""Opens models that may be damaged in a child process, so that nothing else dies of them."""

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

CHECK_S = 60.0
"""How long one file may take, the child's start included, seconds."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of one file.

    Attributes:
        damage: Why it cannot be read at all; empty: it can.
        refusal: Why the engine does not run it; empty: it does.
        shapes: Of those tensors of the main subgraph that have, with a batch of one,
            another shape than the file says.
    """

    damage: str = ""
    refusal: str = ""
    shapes: dict[int, tuple[int, ...]] = field(default_factory=dict)


class Checker:
    """Checks files one after the other in a child, and starts another when that dies.

    The child's address space is limited by the operating system, its time by us.
    """

    def __init__(self, check_s: float = CHECK_S) -> None:
        self._check_s = check_s
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def check(self, path: Path) -> Verdict:
        """Parse a file and run it once, on zeros."""
        answer = self._ask(path)
        if answer is None:
            self._end()
            return Verdict(damage=f"it could not be read and run in {self._check_s:.0f} s")
        if not answer.endswith(b"\n"):
            code = self._end()
            return Verdict(damage=f"the engine crashed on it (exit code {code})")
        said = json.loads(answer)
        shapes = {int(index): tuple(shape) for index, shape in said.pop("shapes").items()}
        return Verdict(**said, shapes=shapes)

    def _ask(self, path: Path) -> bytes | None:
        """Give the line that comes back, or part of one if the child dies, or ``None``."""
        stdin, stdout = self._pipes()
        with contextlib.suppress(BrokenPipeError):
            os.write(stdin, json.dumps(str(path.absolute())).encode() + b"\n")
        deadline = time.monotonic() + self._check_s
        answer = b""
        while not answer.endswith(b"\n"):
            left = max(0.0, deadline - time.monotonic())
            if not select.select([stdout], [], [], left)[0]:
                return None
            part = os.read(stdout, 1 << 16)
            if not part:
                break
            answer += part
        return answer

    def _pipes(self) -> tuple[int, int]:
        if self._child is None:
            self._child = subprocess.Popen(
                [sys.executable, "-P", "-m", "secateur_server.pruning.trial"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        stdin, stdout = self._child.stdin, self._child.stdout
        if stdin is None or stdout is None:
            raise ValueError("the child has no pipes")
        return stdin.fileno(), stdout.fileno()

    def _end(self) -> int:
        child, self._child = self._child, None
        if child is None:
            return 0
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(0.2)  # dying of itself, it has a code to tell
        child.kill()
        child.communicate()
        return child.returncode


def check(path: Path) -> Verdict:
    """Check one file."""
    with Checker() as checker:
        return checker.check(path)
