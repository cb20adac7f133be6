"""Tells results to whoever else wants them: JSON lines, and the control process for MQTT.

Off the hot loop: a lane only puts an answer on a bounded queue, a thread of its own does the
rest. Where it cannot keep up results are left out, never frames.
"""

import contextlib
import json
import queue
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from secateur_agent.adapters.clock import utc_now
from secateur_agent.inference.commands import Fault, LaneSpec, Reply, ResultReady, ResultSpec
from secateur_agent.inference.frame import Answered
from secateur_protocols.plain import MAX_NUMBERS, MAX_OUTPUTS

STDOUT = "-"

MAX_WAITING = 256
"""Results that may wait; more are left out."""

RETRY_S = 30.0
"""After a line could not be written, a full disk say, the next is tried so much later."""


class Results(threading.Thread):
    """One model's results."""

    def __init__(
        self,
        spec: ResultSpec,
        *,
        publish: Callable[[dict[str, Any]], None],
        complain: Callable[[str], None],
    ) -> None:
        super().__init__(name="results", daemon=True)
        self._spec = spec
        self._publish = publish
        self._complain = complain
        self._waiting: queue.SimpleQueue[tuple[Answered, int | None] | None] = (
            queue.SimpleQueue()
        )
        self._publish_due_s = 0.0
        self._lines = _Lines(spec.lines, spec.lines_max_bytes) if spec.lines else None
        self._lines_due_s = 0.0

    def tell(self, answered: Answered, label: int | None) -> None:
        """Take one answer; never blocks."""
        if self._waiting.qsize() < MAX_WAITING:
            self._waiting.put((answered, label))

    def stop(self) -> None:
        """Tell what waits, and end."""
        self._waiting.put(None)
        self.join(timeout=10.0)

    def run(self) -> None:
        """Tell answers until stopped."""
        while (waiting := self._waiting.get()) is not None:
            answered, label = waiting
            now_s = time.monotonic()
            publishes = self._spec.mqtt_rate_hz > 0 and now_s >= self._publish_due_s
            writes = self._lines is not None and now_s >= self._lines_due_s
            if not (publishes or writes):
                continue
            if publishes:
                self._publish_due_s = now_s + 1.0 / self._spec.mqtt_rate_hz
                self._publish(describe(answered, label, max_numbers=MAX_NUMBERS))
            if writes:
                self._write(describe(answered, label, max_numbers=None))
        if self._lines is not None:
            self._lines.close()

    def _write(self, result: dict[str, Any]) -> None:
        if self._lines is None:
            return
        try:
            self._lines.write(json.dumps(result, separators=(",", ":")))
        except OSError as error:
            self._lines_due_s = time.monotonic() + RETRY_S
            self._complain(f"cannot write results to {self._spec.lines}: {error.strerror}")


def open_results(spec: LaneSpec, reply: Callable[[Reply], None]) -> Results | None:
    """Make what a lane's configuration asks for; ``None``: nobody else is told."""
    if spec.results is None:
        return None
    return Results(
        spec.results,
        publish=lambda result: reply(ResultReady(spec.model, result)),
        complain=lambda text: reply(Fault(spec.model, text)),
    )


def describe(
    answered: Answered, label: int | None, *, max_numbers: int | None
) -> dict[str, Any]:
    """Give a result's members but those that order messages.

    Args:
        answered: The result.
        label: The right answer, where it is known.
        max_numbers: Of all outputs together; an output that has no room is only named.
            ``None``: no bound.
    """
    load, room = answered.load, max_numbers
    outputs = []
    for info, codes in zip(answered.model.outputs, answered.outputs, strict=True):
        one: dict[str, Any] = {"name": _one_line(info.name), "shape": codes.shape}
        if room is None or codes.size <= room:
            one["data"] = info.decode(codes).ravel().tolist()
            room = None if room is None else room - codes.size
        outputs.append(one)
    result = {
        "sent_at": utc_now(),
        "model": load.model,
        "version": load.version,
        "level": load.level,
        "digest": load.digest,
        "latency_ms": round(answered.latency_ms, 4),
        "outputs": outputs if max_numbers is None else outputs[:MAX_OUTPUTS],
    }
    return result if label is None else {**result, "label": label}


def _one_line(name: str) -> str:
    """Keep of a tensor's name what a message takes."""
    return "".join(letter if letter.isprintable() else "?" for letter in name[:200])


class _Lines:
    """A file of lines, or standard output. A full file becomes ``.1``, and that one goes."""

    def __init__(self, name: str, max_bytes: int) -> None:
        self._path = None if name == STDOUT else Path(name)
        self._max_bytes = max_bytes
        self._file: IO[str] | None = None

    def write(self, line: str) -> None:
        """Add one line.

        Raises:
            OSError: It was not written, or not all of it; the next call opens the file anew.
        """
        try:
            file = self._open()
            file.write(line + "\n")
            file.flush()
            if self._path is not None and file.tell() >= self._max_bytes:
                self._turn(self._path)
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the file; the next line opens it again."""
        # What could not be written before cannot be now, either.
        with contextlib.suppress(OSError):
            if self._file is not None:
                self._file.close()
        self._file = None

    def _open(self) -> IO[str]:
        if self._path is None:
            return sys.stdout
        if self._file is None:
            self._file = self._path.open("a", encoding="utf-8")
        return self._file

    def _turn(self, path: Path) -> None:
        self.close()
        path.replace(path.with_name(path.name + ".1"))
