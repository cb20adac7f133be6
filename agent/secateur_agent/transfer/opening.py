"""Opening an address: redirects, proxies and status, all under one watch."""

import email.message
import http.client
import io
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import IO
from urllib.parse import urlsplit

from secateur_agent.errors import TransientError
from secateur_agent.transfer.patient import (
    CONNECT_S,
    PatientConnection,
    PatientTlsConnection,
)
from secateur_agent.transfer.port import CanceledError
from secateur_agent.transfer.watch import Watch
from secateur_protocols.ota import ReasonCode

IDENTITY = "identity"
"""The encoding of what comes as it is."""

LONGEST_RETRY_AFTER_S = 600.0
"""A server that asks for more patience than this is not given it."""


class StatusError(Exception):
    """A server answered with a status that is no success."""

    def __init__(self, url: str, status: int, retry_after_s: float) -> None:
        super().__init__(f"{url}: HTTP {status}")
        self.status = status
        self.retry_after_s = retry_after_s


class UnreachableError(TransientError):
    """There is no answer at all: no connection, or nobody who speaks HTTP behind it."""


class WatchedOpener:
    """Opens http and https addresses and nothing else."""

    def __init__(self, watch: Watch) -> None:
        self._director = urllib.request.OpenerDirector()
        for handler in (
            urllib.request.ProxyHandler(),
            urllib.request.UnknownHandler(),
            _Handler(watch),
            _TlsHandler(watch),
            urllib.request.HTTPDefaultErrorHandler(),
            _Redirects(),
            urllib.request.HTTPErrorProcessor(),
        ):
            self._director.add_handler(handler)

    def open(
        self, url: str, *, start: int = 0, encoding: str = IDENTITY
    ) -> http.client.HTTPResponse:
        """Ask for a file from byte ``start``.

        Args:
            url: Where it is.
            start: Ranges count the bytes as they are: only from 0 may it come packed.
            encoding: In which it may come.

        Raises:
            StatusError: The server's answer is no success.
            UnreachableError: There is no connection, or no answer.
            CanceledError: The watch says so.
        """
        headers = {"Accept-Encoding": encoding}
        if start:
            headers["Range"] = f"bytes={start}-"
        request = urllib.request.Request(url, headers=headers)  # noqa: S310 - see the handlers
        try:
            with translated(url):
                response: http.client.HTTPResponse = self._director.open(
                    request, timeout=CONNECT_S
                )
        except urllib.error.HTTPError as error:
            error.close()  # it is the response: its connection would stay open as long as it
            raise StatusError(url, error.code, _retry_after_s(error.headers)) from error
        except CanceledError:
            raise
        except TransientError as error:
            raise UnreachableError(str(error), error.reason) from error
        return response


def is_http(url: str) -> bool:
    """Say whether an address is one that we open."""
    return urlsplit(url).scheme in {"http", "https"}


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Say whatever the network did in our own words; a status is no fault of the network."""
    try:
        yield
    except urllib.error.HTTPError:
        raise
    except TimeoutError as error:
        raise TransientError(f"{what}: {error}", ReasonCode.TIMEOUT) from error
    except (http.client.HTTPException, OSError) as error:
        raise TransientError(f"{what}: {error}", ReasonCode.CONNECTION_LOST) from error


class _Handler(urllib.request.HTTPHandler):
    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self._watch = watch

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(PatientConnection, req, watch=self._watch)  # type: ignore[arg-type] # takes options


class _TlsHandler(urllib.request.HTTPSHandler):
    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self._watch = watch

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        context = ssl.create_default_context()
        return self.do_open(PatientTlsConnection, req, watch=self._watch, context=context)  # type: ignore[arg-type] # takes options


class _Redirects(urllib.request.HTTPRedirectHandler):
    max_redirections = 5
    max_repeats = 2

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        fp.close()  # its body may never end, and the base class would read it all
        if not is_http(newurl):
            raise urllib.error.HTTPError(req.full_url, code, msg, headers, io.BytesIO())
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _retry_after_s(headers: email.message.Message) -> float:
    """Read how long the server asks us to wait; its own clock says from when."""
    wanted = headers.get("Retry-After", "")
    if wanted.isascii() and wanted.isdigit():
        seconds = float(wanted[:9])
    else:
        until, now = _instant(wanted), _instant(headers.get("Date", ""))
        seconds = (until - now).total_seconds() if until and now else 0.0
    return min(LONGEST_RETRY_AFTER_S, max(0.0, seconds))


def _instant(text: str) -> datetime | None:
    try:
        return parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
