"""What every request and every answer goes through: whose page may send us what.

A cookie travels with requests that other sites' pages make. So what changes anything must come
from a page of our own (`Origin`), and we answer to our own names alone (`Host`): a page whose
name is made to point at this machine gets nothing.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY_BYTES = 65_536
"""Of a form."""

LOOPBACK = ("127.0.0.1", "localhost", "::1")

SAFE_METHODS = frozenset({"GET", "HEAD"})

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""Only what we ship runs, nobody frames us, and addresses stay here."""


class Guard:
    """Middleware. Refuses with 403 or 413; adds `HEADERS` to every answer."""

    def __init__(self, app: "ASGIApp", hosts: Sequence[str]) -> None:
        """Guard an application.

        Args:
            app: What answers.
            hosts: Our names, without a port. None: any.
        """
        self._app = app
        self._hosts = frozenset(hosts)

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Answer, or refuse."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)

    async def _answer(self, scope: "Scope", receive: "Receive", send: "Send") -> None:

        async def send_guarded(message: "Message") -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        if (problem := self._problem(scope["method"], Headers(scope=scope))) is not None:
            status, words = problem
            answer = PlainTextResponse(words, status_code=status)
            await answer(scope, receive, send_guarded)
            return
        await self._app(scope, receive, send_guarded)

    def _problem(self, method: str, headers: Headers) -> tuple[int, str] | None:
        host = headers.get("host", "")
        if self._hosts and _name_of(host) not in self._hosts:
            return 403, "this is not one of the dashboard's names: see --public-url\n"
        if method in SAFE_METHODS:
            return None
        if urlsplit(headers.get("origin", "")).netloc != host:
            return 403, "this did not come from a page of the dashboard\n"
        length = headers.get("content-length", "")
        if not length.isdecimal() or int(length) > MAX_BODY_BYTES:
            return 413, "a form of known and small size is expected\n"
        return None


def _name_of(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
