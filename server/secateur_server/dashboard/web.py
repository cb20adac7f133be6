"""Addresses and what answers them. Thin: pages draw, `actions` read forms, `link` asks."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from importlib import resources
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import (
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Route

from secateur_protocols.control import Action, ShowPolicy
from secateur_server.dashboard import layout
from secateur_server.dashboard.actions import ACTIONS, read_policy, result_of
from secateur_server.dashboard.guard import Guard
from secateur_server.dashboard.link import Link, Role
from secateur_server.dashboard.live import stream
from secateur_server.dashboard.page import Fragments, Page, View
from secateur_server.dashboard.pages.device import DevicePage
from secateur_server.dashboard.pages.fleet import FleetPage
from secateur_server.dashboard.pages.models import ModelsPage
from secateur_server.dashboard.pages.rollouts import RolloutsPage
from secateur_server.dashboard.pages.what_if import WhatIfPage, draw_outcome
from secateur_server.dashboard.rehearsal import foresee
from secateur_server.dashboard.sessions import Session, Sessions
from secateur_server.errors import ServerError

log = logging.getLogger("secateur.dashboard")

COOKIE = "secateur"

MAX_STREAMS = 12
"""Live pages of one session; further tabs show what they showed when they were opened."""

HOUSEKEEPING_S = 0.5

STATIC = {
    "dashboard.css": "text/css",
    "dashboard.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}

MAX_FIELDS = 200

ANSWER_S = 8.0
"""How long the coordinator may take to answer."""

MakePage = Callable[[Mapping[str, str]], Page]

PAGES: Mapping[str, MakePage] = {
    "/": FleetPage,
    "/devices/{device}": DevicePage,
    "/models": ModelsPage,
    "/models/{model}": ModelsPage,
    "/rollouts": RolloutsPage,
    "/what-if": WhatIfPage,
}
"""By the address, in Starlette's form; each gets what is in the address and in its query."""


class Web:
    """The application, and what it holds."""

    def __init__(self, sessions: Sessions, broker: str, *, is_https: bool = False) -> None:
        """Make it.

        Args:
            sessions: Who is logged in.
            broker: Its address, of which no credentials are shown.
            is_https: Whether browsers reach us by TLS, so that the cookie stays on it.
        """
        self._sessions = sessions
        self._broker = shown_address(broker)
        self._is_https = is_https
        self.is_closing = False
        self._replaying = asyncio.Semaphore(1)

    def application(self, hosts: tuple[str, ...]) -> Guard:
        """Give what a server runs."""
        routes = [
            Route("/login", self._login_page, methods=["GET"]),
            Route("/login", self._log_in, methods=["POST"]),
            Route("/logout", self._log_out, methods=["POST"]),
            Route("/actions/{name}", self._act, methods=["POST"]),
            Route("/what-if", self._what_if, methods=["POST"]),
            Route("/health", self._health, methods=["GET"]),
            Route("/static/{name}", self._static, methods=["GET"]),
        ]
        for address, make in PAGES.items():
            routes.append(Route(address, self._page(make), methods=["GET"]))
            live = f"/live{address}".rstrip("/")
            routes.append(Route(live, self._live(make), methods=["GET"]))
        return Guard(Starlette(routes=routes, lifespan=self._lifespan), hosts)

    @asynccontextmanager
    async def _lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        keeping = asyncio.create_task(self._keep_house())
        yield
        keeping.cancel()
        await run_in_threadpool(self._sessions.close)

    async def _keep_house(self) -> None:
        """End what is over, and learn what users may do."""
        while True:
            await asyncio.sleep(HOUSEKEEPING_S)
            try:
                await run_in_threadpool(self._sessions.expire)
                for link in self._sessions.links():
                    link.probe()
            except Exception:  # the house has to be kept whatever happens in one round
                log.exception("housekeeping")

    def _page(self, make: MakePage) -> Callable[[Request], object]:
        async def answer(request: Request) -> Response:
            session = self._session(request)
            if session is None:
                return RedirectResponse("/login", status_code=303)
            page = make({**request.query_params, **request.path_params})
            seen, view = self._look(session, page)
            query = f"?{request.url.query}" if request.url.query else ""
            path = "" if request.url.path == "/" else request.url.path
            return HTMLResponse(layout.shell(page, view, seen, f"/live{path}{query}"))

        return answer

    def _live(self, make: MakePage) -> Callable[[Request], object]:
        async def answer(request: Request) -> Response:
            session = self._session(request)
            if session is None:
                return PlainTextResponse("log in first\n", status_code=401)
            if session.streams >= MAX_STREAMS:
                return PlainTextResponse("too many live pages\n", status_code=429)
            page = make({**request.query_params, **request.path_params})
            events = self._events(session, page)
            return StreamingResponse(events, media_type="text/event-stream")

        return answer

    async def _events(self, session: Session, page: Page) -> AsyncIterator[str]:
        token = session.token
        link = session.link

        def is_over() -> bool:
            return self.is_closing or self._sessions.find(token) is None

        session.streams += 1
        try:
            async for event in stream(
                lambda: self._look(session, page)[0],
                lambda: 2 * link.fleet.version + link.is_connected,
                is_over,
            ):
                yield event
        finally:
            session.streams -= 1

    @staticmethod
    def _look(session: Session, page: Page) -> tuple[Fragments, View]:
        link = session.link
        view = View(
            fleet=link.fleet,
            site=link.site,
            user=session.user,
            role=link.role,
            is_connected=link.is_connected,
            now_s=time.time(),
        )
        with link.lock:
            seen = page.look(view)
        return {**seen, "connection": layout.connection(view)}, view

    def _session(self, request: Request) -> Session | None:
        return self._sessions.find(request.cookies.get(COOKIE))

    async def _login_page(self, request: Request) -> Response:
        if self._session(request) is not None:
            return RedirectResponse("/", status_code=303)
        is_open = await run_in_threadpool(self._sessions.is_open)
        return HTMLResponse(layout.login_page(broker=self._broker, is_open=is_open))

    async def _log_in(self, request: Request) -> Response:
        form = await read_form(request)
        user, password = form.get("user", "").strip(), form.get("password", "")
        try:
            session = await run_in_threadpool(self._sessions.log_in, user, password)
        except ServerError as error:
            page = layout.login_page(broker=self._broker, user=user, error=str(error))
            return HTMLResponse(page, status_code=401)
        answer = RedirectResponse("/", status_code=303)
        answer.set_cookie(
            COOKIE, session.token, httponly=True, samesite="lax", secure=self._is_https
        )
        return answer

    async def _log_out(self, request: Request) -> Response:
        session = self._session(request)
        if session is not None:
            await run_in_threadpool(self._sessions.log_out, session)
        answer = RedirectResponse("/login", status_code=303)
        answer.delete_cookie(COOKIE)
        return answer

    async def _act(self, request: Request) -> Response:
        session = self._session(request)
        if session is None:
            return RedirectResponse("/login", status_code=303)
        act = ACTIONS.get(request.path_params["name"])
        if act is None:
            return PlainTextResponse("there is no such action\n", status_code=404)
        link = session.link
        try:
            words = await act(lambda action: _ask(link, action), await read_form(request))
        except ServerError as error:
            return JSONResponse({"ok": False, "words": str(error)})
        return JSONResponse({"ok": True, "words": words})

    async def _what_if(self, request: Request) -> Response:
        session = self._session(request)
        if session is None:
            return RedirectResponse("/login", status_code=303)
        fields, link = await read_form(request), session.link
        try:
            action = read_policy(fields)
            shown = await _ask(link, ShowPolicy())
            async with self._replaying:
                outcome = await run_in_threadpool(foresee, link, action, shown)
        except ServerError as error:
            return JSONResponse({"ok": False, "words": str(error)})
        html = draw_outcome(outcome, action, fields, shown["version"])
        return JSONResponse({"ok": True, "html": html})

    async def _health(self, _request: Request) -> Response:
        return JSONResponse({"links": len(self._sessions.links())})

    async def _static(self, request: Request) -> Response:
        name = request.path_params["name"]
        kind = STATIC.get(name)
        if kind is None:
            return PlainTextResponse("there is no such file\n", status_code=404)
        file = resources.files("secateur_server.dashboard").joinpath("static", name)
        headers = {"Cache-Control": "no-cache"}
        return Response(file.read_bytes(), media_type=kind, headers=headers)


async def read_form(request: Request) -> dict[str, str]:
    """Read the fields of a form; of a name given twice, the last. Far too many: none."""
    text = (await request.body()).decode("utf-8", "replace")
    try:
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_FIELDS))
    except ValueError:
        return {}


async def _ask(link: Link, action: Action) -> Any:  # noqa: ANN401 - JSON
    """Ask the coordinator and give its result.

    Raises:
        ServerError: It refuses, or does not answer in time.
    """
    if not link.is_connected:
        raise ServerError("the broker is lost: nothing was asked")
    try:
        response = await asyncio.wait_for(asyncio.wrap_future(link.ask(action)), ANSWER_S)
    except TimeoutError:
        why = "your account may only look" if link.role is Role.VIEWER else "is it running?"
        raise ServerError(f"no answer from the coordinator: {why}") from None
    return result_of(response)


def shown_address(broker_url: str) -> str:
    """Give a broker's address without credentials and files."""
    parts = urlsplit(broker_url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
