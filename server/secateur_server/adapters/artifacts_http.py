"""Blobs by HTTP with ranges, from a folder, in a thread; metrics, where they are offered."""

import re
import threading
import time
from collections.abc import Callable
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from secateur_server.adapters.http_thread import HttpThread, listen

STOP_S = 10.0

BACKLOG = 1024
"""Connections that may wait to be accepted: a fleet fetches a new model at once."""

METRICS_S = 1.0
"""Metrics are as old as this at most, seconds: who asks more often costs nothing more."""

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_DIGEST = re.compile(r"[0-9a-f]{64}\Z")

_METADATA = re.compile(r"(?:timestamp|[1-9][0-9]*\.(?:root|snapshot|targets))\.json\Z")


MAX_CONNECTIONS = 500
"""More are answered 503, which agents try again later. The process also hosts an MQTT client
that waits with select(), which breaks silently at 1,024 file descriptors."""


class ArtifactsServer:
    """``GET /blobs/{digest}`` and ``/metadata/{name}`` beside it, as a static server would."""

    def __init__(self, blobs_dir: Path, *, host: str, port: int) -> None:
        """Listen; port 0 takes a free one.

        Raises:
            ServerError: The address is taken or not ours.
        """
        self._blobs_dir = blobs_dir
        self._render: Callable[[], bytes] | None = None
        self._rendered = b""
        self._rendered_at_s = float("-inf")
        self._rendering = threading.Lock()
        routes = [
            Route("/blobs/{digest}", self._blob, methods=["GET", "HEAD"]),
            Route("/metadata/{name}", self._metadata, methods=["GET", "HEAD"]),
            Route("/metrics", self._metrics, methods=["GET"]),
        ]
        app = Starlette(routes=routes)
        config = uvicorn.Config(
            app,
            log_level="error",
            access_log=False,
            lifespan="off",
            limit_concurrency=MAX_CONNECTIONS,
        )
        listening = listen(host, port, instead="--http-port", backlog=BACKLOG)
        self.port: int = listening.getsockname()[1]
        self._thread = HttpThread(config, listening, name="artifacts server", stop_s=STOP_S)

    def offer_metrics(self, render: Callable[[], bytes]) -> None:
        """Answer ``GET /metrics`` with what it gives; it is asked once a second at most."""
        self._render = render

    def start(self) -> None:
        """Answer requests from now on.

        Raises:
            ServerError: It did not start in time.
        """
        self._thread.start()

    def stop(self) -> None:
        """Finish the requests under way and end."""
        self._thread.stop()

    async def _blob(self, request: Request) -> FileResponse:
        digest = request.path_params["digest"]
        path = self._blobs_dir / digest
        if not _DIGEST.match(digest) or not path.is_file():
            raise HTTPException(404)
        # Named by its content, so it never changes.
        headers = {"Cache-Control": "public, max-age=31536000, immutable"}
        headers["Vary"] = "Accept-Encoding"
        packed = path.with_name(f"{digest}.gz")
        if _takes_gzip(request) and packed.is_file():
            path, headers["Content-Encoding"] = packed, "gzip"
        return FileResponse(path, media_type="application/octet-stream", headers=headers)

    async def _metadata(self, request: Request) -> FileResponse:
        name = request.path_params["name"]
        path = self._blobs_dir.parent / "metadata" / name
        if not _METADATA.match(name) or not path.is_file():
            raise HTTPException(404)
        # The timestamp is what tells of anything new; the others never change.
        return FileResponse(
            path, media_type="application/json", headers={"Cache-Control": "no-cache"}
        )

    def _metrics(self, _request: Request) -> Response:
        # No coroutine: adding up a large fleet must not hold up devices that fetch.
        if self._render is None:
            raise HTTPException(404)
        with self._rendering:
            now_s = time.monotonic()
            if now_s > self._rendered_at_s + METRICS_S:
                self._rendered, self._rendered_at_s = self._render(), now_s
        return Response(self._rendered, media_type=METRICS_TYPE)


def _takes_gzip(request: Request) -> bool:
    """Say whether the whole file may come packed. Ranges count bytes as they are."""
    accepted = request.headers.get("accept-encoding", "").split(",")
    return "range" not in request.headers and "gzip" in {each.strip() for each in accepted}
