"""A real inference process with the digit model, for tests; no broker, no control process."""

import hashlib
import http.client
import json
import queue
import socket
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from secateur_agent.adapters.inference import InferenceDied, InferenceProcess
from secateur_agent.inference.commands import (
    Configure,
    HttpSpec,
    LaneSpec,
    Load,
    Ready,
    Reply,
    Serving,
    SourceSpec,
)
from secateur_agent.installed import EngineName

DIGITS = Path(__file__).resolve().parents[2] / "examples" / "digits" / "digits.tflite"
WAIT_S = 60.0

R = TypeVar("R")


def free_port() -> int:
    """Find a TCP port on loopback that nobody uses now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def lane(model: str = "digits", source: SourceSpec | None = None, queue_: int = 64) -> LaneSpec:
    """Describe a lane whose deadline is never missed."""
    return LaneSpec(model=model, deadline_ms=60_000.0, source=source, queue=queue_)


def configure(*lanes: LaneSpec, listen: str | None = None, size: int = 1 << 20) -> Configure:
    """Describe a process; ``size`` is the longest request."""
    http_ = HttpSpec(listen=listen or "", max_request_bytes=size, max_connections=8)
    return Configure(
        engine=EngineName.AUTO,
        threads=1,
        lanes=lanes or (lane(),),
        slowdown=1.0,
        http=http_ if listen is not None else None,
    )


class Running:
    """One inference process; ends with the ``with`` block."""

    def __init__(self, configuration: Configure) -> None:
        self._replies: queue.Queue[Reply | InferenceDied] = queue.Queue()
        self.process = InferenceProcess(configuration, self._replies.put)
        self._tickets = 0
        self.wait_for(Ready)

    def wait_for(self, kind: type[R]) -> R:
        """Wait for a reply of a kind; others before it are forgotten."""
        while True:
            reply = self._replies.get(timeout=WAIT_S)
            if isinstance(reply, kind):
                return reply

    def load(self, path: Path = DIGITS, model: str = "digits", level: int = 0) -> Load:
        """Let an artifact answer."""
        self._tickets += 1
        command = Load(
            ticket=self._tickets,
            model=model,
            version="1",
            level=level,
            precision="float32",
            digest=hashlib.sha256(path.read_bytes()).hexdigest(),
            path=str(path),
        )
        self.process.send(command)
        serving = self.wait_for(Serving)
        assert serving.ticket == self._tickets
        return command

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.process.stop()


class UnixConnection(http.client.HTTPConnection):
    """HTTP to a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=WAIT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(WAIT_S)
        self.sock.connect(str(self._path))


@dataclass(frozen=True, slots=True)
class Said:
    """A response."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:  # noqa: ANN401 - any JSON
        """The body, or its JSON part."""
        length = self.headers.get("Inference-Header-Content-Length")
        return json.loads(self.body[: int(length)] if length else self.body)


def call(
    connection: http.client.HTTPConnection,
    path: str,
    body: bytes | dict[str, Any] | None = None,
    headers: dict[str, str] | None = None,
) -> Said:
    """GET a path, or POST a body there."""
    content = json.dumps(body).encode() if isinstance(body, dict) else body
    connection.request("GET" if body is None else "POST", path, content, headers or {})
    response = connection.getresponse()
    return Said(response.status, response.headers, response.read())
