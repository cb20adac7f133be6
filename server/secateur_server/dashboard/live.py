"""What has changed on a page, as server-sent events: only that, and not too often."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from secateur_server.dashboard.page import Fragments, Rows

LEAST_S = 0.25
"""Between two events of one page: faster than anybody reads, and a bound."""

LOOK_S = 1.0
"""A page is drawn so often at least: time alone makes a device silent."""

HELLO = "retry: 1000\n\n"
"""How soon a browser asks again when the stream breaks, milliseconds."""


class Differ:
    """Remembers what a browser has, and gives what it has not."""

    def __init__(self) -> None:
        self._html: dict[str, str] = {}
        self._lines: dict[str, Mapping[str, str]] = {}

    def take(self, seen: Fragments) -> dict[str, Any]:
        """Give what is new as what the script understands; empty: nothing."""
        html: dict[str, str] = {}
        rows: dict[str, Any] = {}
        for name, fragment in seen.items():
            if isinstance(fragment, Rows):
                if news := self._take_rows(name, fragment):
                    rows[name] = news
            elif self._html.get(name) != fragment:
                self._html[name] = html[name] = fragment
        news = {"html": html, "rows": rows}
        return {name: value for name, value in news.items() if value}

    def _take_rows(self, name: str, fragment: Rows) -> dict[str, Any]:
        before, now = self._lines.get(name), fragment.lines
        self._lines[name] = now
        known = before or {}
        changed = {key: html for key, html in now.items() if known.get(key) != html}
        is_same_order = before is not None and list(before) == list(now)
        if is_same_order and not changed:
            return {}
        return {"order": list(now), "html": changed}


async def stream(
    look: Callable[[], Fragments],
    version: Callable[[], int],
    is_over: Callable[[], bool],
) -> AsyncIterator[str]:
    """Give the events of one page for as long as somebody watches.

    Args:
        look: Draws the page's fragments.
        version: Grows when there may be something new.
        is_over: Whether to end: the session has, or the server does.
    """
    differ, loop = Differ(), asyncio.get_running_loop()
    yield HELLO
    while not is_over():
        version_drawn, drawn_s = version(), loop.time()
        if news := differ.take(look()):
            yield f"data: {json.dumps(news, separators=(',', ':'))}\n\n"
        await asyncio.sleep(LEAST_S)
        while version() == version_drawn and loop.time() < drawn_s + LOOK_S:
            if is_over():
                return
            await asyncio.sleep(0.05)
    yield "event: over\ndata: {}\n\n"
