"""Decides with a check in a child process what this device may install."""

import base64
import contextlib
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from secateur_agent.adapters.files import storage_error
from secateur_agent.errors import AgentError, PermanentError, TransientError
from secateur_agent.transfer.port import NotFoundError, Repository, TooLongError
from secateur_agent.trust.memory import TrustMemory
from secateur_agent.trust.words import Brought, CheckRequest, Line, Verdict, Wanted
from secateur_protocols.codec import decode_document
from secateur_protocols.errors import ProtocolError
from secateur_protocols.ids import Digest, ModelName, Words
from secateur_protocols.ota import ReasonCode
from secateur_protocols.state import LadderRef
from secateur_protocols.trust import ladder_path

TIMEOUT_S = 50.0
"""Longest check, its transfers included, seconds: below the timeout of the swap's phase, so
that a server that trickles is named as the reason and the child is gone."""

MAX_LINE_BYTES = 65_536
"""Of one line from the check: a verdict names at most 64 digests."""


def utc_now() -> datetime:
    """Read the device's clock."""
    return datetime.now(UTC)


class Trust:
    """What the device's owner has signed, and what the device has seen of it."""

    def __init__(
        self,
        folder: Path,
        root_path: Path | None,
        *,
        hardware_class: Words,
        accepts_unsigned: bool = False,
        timeout_s: float = TIMEOUT_S,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        """Remember who is trusted.

        Args:
            folder: Where what was verified is kept.
            root_path: The pinned root. ``None``: nobody is trusted.
            hardware_class: Of this device.
            accepts_unsigned: Let everything be installed.
            timeout_s: Longest check.
            clock: The device's, right or wrong.
        """
        self._memory = TrustMemory(folder)
        self._root_path = root_path
        self._hardware_class = hardware_class
        self._accepts_unsigned = accepts_unsigned
        self._timeout_s = timeout_s
        self._clock = clock
        self._lock = threading.Lock()

    def has_accepted(self, model: ModelName, ladder: LadderRef) -> bool:
        """Say whether a ladder was listed when it was last looked at."""
        return self._accepts_unsigned or ladder.digest in self._memory.accepted(model)

    def require(
        self,
        model: ModelName,
        ladder: LadderRef,
        repository: Repository,
        *,
        committed: Digest | None = None,
    ) -> None:
        """Make sure that current signed metadata lists a ladder for this device.

        Args:
            model: Whose ladder.
            ladder: Which one.
            repository: Where signed metadata comes from.
            committed: The ladder that runs: its levels may be gone to also when it is
                listed no longer.

        Raises:
            PermanentError: It may not be installed; the reason code says why. What runs is
                untouched, and later metadata may list it.
            TransientError: It could not be found out.
        """
        if self._accepts_unsigned:
            return
        if self._root_path is None:
            msg = (
                "no root is pinned: set trust.root to the file that 'secateur keys init' names"
            )
            raise PermanentError(msg, ReasonCode.SIGNATURE_INVALID)
        with self._lock:
            known = self._memory.accepted(model)
            clock, floor = self._clock(), self._memory.floor()
            request = CheckRequest(
                root_path=str(self._root_path),
                metadata_dir=str(self._memory.metadata_dir),
                now=max(clock, floor).isoformat(),
                is_clock_believed=clock >= floor,
                model=model,
                ladder=ladder,
                hardware_class=self._hardware_class,
                known=tuple((ladder_path(model, v), digest) for digest, v in known.items()),
            )
            verdict = _Check(repository, self._timeout_s).ask(request)
            if verdict.signed_at is not None:
                self._memory.raise_floor(datetime.fromisoformat(verdict.signed_at))
                kept = {d: v for d, v in known.items() if d in {*verdict.listed, committed}}
                if verdict.reason is None:
                    kept[ladder.digest] = ladder.version
                self._memory.keep_accepted(model, kept)
        if verdict.reason is not None:
            kind = TransientError if verdict.is_unreachable else PermanentError
            raise kind(verdict.detail, verdict.reason)


class _Check:
    """One question to one child."""

    def __init__(self, repository: Repository, timeout_s: float) -> None:
        self._repository = repository
        self._timeout_s = timeout_s
        self._problem: AgentError | None = None
        self._is_late = False

    def ask(self, request: CheckRequest) -> Verdict:
        """Start the child, bring it what it asks for, and take its verdict.

        Raises:
            AgentError: A file did not come, or the child did not end in time.
        """
        folder = Path(request.metadata_dir)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise storage_error(error, folder) from error
        with subprocess.Popen(
            [sys.executable, "-P", "-m", "secateur_agent.trust"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as child:
            timer = threading.Timer(self._timeout_s, self._end, [child])
            timer.start()
            try:
                verdict = self._converse(child, request)
            finally:
                timer.cancel()
                child.kill()
        if self._is_late:
            msg = f"signed metadata took longer than {self._timeout_s:g} s"
            raise TransientError(msg, ReasonCode.TIMEOUT)
        if verdict is None:
            msg = "signed metadata crashed its check"
            raise PermanentError(msg, ReasonCode.SIGNATURE_INVALID)
        if verdict.reason is ReasonCode.CONNECTION_LOST and self._problem is not None:
            raise self._problem
        return verdict

    def _end(self, child: "subprocess.Popen[bytes]") -> None:
        self._is_late = True
        child.kill()

    def _converse(
        self, child: "subprocess.Popen[bytes]", request: CheckRequest
    ) -> Verdict | None:
        if child.stdin is None or child.stdout is None:
            raise ValueError("the child has no pipes")
        with contextlib.suppress(BrokenPipeError):
            _say(child.stdin, request.model_dump_json())
            while content := child.stdout.readline(MAX_LINE_BYTES):
                try:
                    line = decode_document(Line, content)
                except ProtocolError:
                    return None
                if line.wanted is None:
                    return line.verdict
                _say(child.stdin, self._bring(line.wanted).model_dump_json())
        return None

    def _bring(self, wanted: Wanted) -> Brought:
        if self._is_late:
            return Brought()
        try:
            content = self._repository.read(wanted.path, max_bytes=wanted.max_bytes)
        except NotFoundError:
            return Brought(is_missing=True)
        except TooLongError:
            return Brought(is_too_long=True)
        except AgentError as error:
            self._problem = error
            return Brought()
        return Brought(content=base64.b64encode(content).decode())


def _say(pipe: IO[bytes], text: str) -> None:
    pipe.write(text.encode() + b"\n")
    pipe.flush()
