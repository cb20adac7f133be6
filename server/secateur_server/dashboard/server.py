"""The dashboard's server: the application on a socket of its own, until it is stopped."""

from dataclasses import dataclass
from urllib.parse import urlsplit

import uvicorn

from secateur_server.adapters.http_thread import HttpThread, listen
from secateur_server.dashboard.guard import LOOPBACK
from secateur_server.dashboard.sessions import Sessions
from secateur_server.dashboard.web import Web
from secateur_server.errors import InputError

STOP_S = 5.0

MAX_CONNECTIONS = 400
"""More are answered 503. MQTT clients in this process wait with select(), which breaks
silently at 1,024 file descriptors."""

WILDCARDS = frozenset({"0.0.0.0", "::"})  # noqa: S104 - to know it when we see it


@dataclass(frozen=True, slots=True, kw_only=True)
class DashboardSettings:
    """Where it is and what it shows.

    Attributes:
        broker_url: Whose credentials are taken out: users bring theirs.
        port: 0 takes a free one.
        public_url: How browsers reach it through a proxy. ``None``: by host and port.
    """

    broker_url: str
    site: str = "default"
    host: str = "127.0.0.1"
    port: int = 8009
    public_url: str | None = None


class DashboardServer:
    """One running dashboard."""

    def __init__(self, settings: DashboardSettings) -> None:
        """Listen; nothing is answered yet.

        Raises:
            InputError: The public address is none.
            ServerError: The address is taken or not ours.
        """
        hosts, host = _names(settings), settings.host
        listening = listen(host, settings.port, instead="port")
        shown = f"[{host}]" if ":" in host else host
        self.url = settings.public_url or f"http://{shown}:{listening.getsockname()[1]}"
        self._web = Web(
            Sessions(settings.broker_url, settings.site),
            settings.broker_url,
            is_https=self.url.startswith("https:"),
        )
        config = uvicorn.Config(
            self._web.application(hosts),
            log_level="error",
            access_log=False,
            lifespan="on",
            limit_concurrency=MAX_CONNECTIONS,
            timeout_graceful_shutdown=int(STOP_S),
        )
        self._thread = HttpThread(config, listening, name="dashboard", stop_s=2 * STOP_S)

    def start(self) -> None:
        """Answer from now on.

        Raises:
            ServerError: It did not start in time.
        """
        self._thread.start()

    @property
    def is_running(self) -> bool:
        """Whether it answers still."""
        return self._thread.is_running

    def stop(self) -> None:
        """Tell live pages that it is over, and end."""
        self._web.is_closing = True
        self._thread.stop()


def _names(settings: DashboardSettings) -> tuple[str, ...]:
    """Give the names that we answer to; none: any, where others than this machine can come."""
    names: list[str] = []
    if settings.public_url is not None:
        parts = urlsplit(settings.public_url)
        if (
            parts.scheme not in {"http", "https"}
            or not parts.hostname
            or parts.path not in {"", "/"}
        ):
            raise InputError(
                f"{settings.public_url!r} is no address: write https://host[:port]"
            )
        names.append(parts.hostname)
    elif settings.host in WILDCARDS:
        return ()
    return (*names, settings.host, *(LOOPBACK if settings.host in LOOPBACK else ()))
