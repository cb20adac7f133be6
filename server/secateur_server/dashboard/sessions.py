"""Who is logged in: a cookie, a session, a connection that sessions of one user share.

Everything is in memory and bounded; a restart logs everybody out.
"""

import hmac
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from secateur_server.dashboard.link import Link
from secateur_server.errors import InputError, ServerError

IDLE_S = 3600.0
"""A session that no page asks for so long is over."""

LONGEST_S = 12 * 3600.0
"""And every one is after so long: log in again."""

MAX_SESSIONS = 64
MAX_LINKS = 8
"""Different users at once: each has a copy of the fleet."""

MAX_FAILURES = 10
"""Failed logins in `FAILURES_S`; more have to wait: passwords are not for guessing here."""

FAILURES_S = 60.0

OPEN_S = 10.0
"""How long it is remembered whether a broker asks for an account."""

Clock = Callable[[], float]


@dataclass(slots=True)
class Session:
    """One browser of one user.

    Attributes:
        token: What its cookie holds. Never logged.
        streams: Live pages that are open.
    """

    token: str
    user: str
    link: Link
    began_s: float
    used_s: float
    streams: int = 0


@dataclass(slots=True)
class _Shared:
    """One user's connection, and the key that shows who may share it."""

    link: Link
    proof: bytes
    tokens: set[str] = field(default_factory=set)


class Sessions:
    """All of them. Methods may be called from any thread."""

    def __init__(self, broker_url: str, site: str, clock: Clock = time.monotonic) -> None:
        self._broker_url = broker_url
        self._site = site
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._by_token: dict[str, Session] = {}
        self._shared: dict[str, _Shared] = {}
        self._failures_s: list[float] = []
        self._is_open = False
        self._open_until_s = 0.0
        self._lock = threading.RLock()

    def log_in(self, user: str, password: str) -> Session:
        """Connect with these credentials, which the broker judges.

        Raises:
            InputError: It refuses them, or there is no broker.
            ServerError: Too many are logged in, or too many have failed just now.
        """
        self._refuse_guessing()
        proof = hmac.digest(self._key, f"{user}\0{password}".encode(), "sha256")
        with self._lock:
            self.expire()
            shared = self._shared.get(user)
            if shared is not None and hmac.compare_digest(shared.proof, proof):
                return self._open(user, shared)
            if len(self._shared) >= MAX_LINKS and user not in self._shared:
                raise ServerError(f"{MAX_LINKS} users are logged in: one has to log out first")
        link = Link(self._broker_url, self._site, user, password)
        try:
            link.start()
        except InputError:
            self._failures_s.append(self._clock())
            raise
        return self._adopt(user, link, proof)

    def is_open(self) -> bool:
        """Say whether the broker lets everybody in, as found a short while ago at most."""
        if self._clock() >= self._open_until_s:
            link = Link(self._broker_url, self._site, "", "")
            try:
                link.start()
                link.stop()
                self._is_open = True
            except InputError:
                self._is_open = False
            self._open_until_s = self._clock() + OPEN_S
        return self._is_open

    def find(self, token: str | None) -> Session | None:
        """Give the session of a cookie, used now; ``None``: none, or it is over."""
        with self._lock:
            session = self._by_token.get(token or "")
            if session is None:
                return None
            if self._is_over(session):
                self.log_out(session)
                return None
            session.used_s = self._clock()
            return session

    def log_out(self, session: Session) -> None:
        """End a session, and its connection if it was the last of it."""
        with self._lock:
            self._by_token.pop(session.token, None)
            shared = self._shared.get(session.user)
            if shared is None or session.token not in shared.tokens:
                return
            shared.tokens.discard(session.token)
            if not shared.tokens:
                del self._shared[session.user]
                shared.link.stop()

    def expire(self) -> None:
        """End every session that is over."""
        with self._lock:
            for session in list(self._by_token.values()):
                if self._is_over(session):
                    self.log_out(session)

    def links(self) -> list[Link]:
        """List the connections."""
        with self._lock:
            return [shared.link for shared in self._shared.values()]

    def close(self) -> None:
        """Log everybody out."""
        with self._lock:
            for session in list(self._by_token.values()):
                self.log_out(session)

    def _adopt(self, user: str, link: Link, proof: bytes) -> Session:
        """Let a new connection be the user's: a changed password ends the sessions before."""
        with self._lock:
            for session in list(self._by_token.values()):
                if session.user == user:
                    self.log_out(session)
            self._shared[user] = _Shared(link, proof)
            return self._open(user, self._shared[user])

    def _open(self, user: str, shared: _Shared) -> Session:
        now_s = self._clock()
        session = Session(secrets.token_urlsafe(32), user, shared.link, now_s, now_s)
        others = sorted(self._by_token.values(), key=lambda each: each.used_s)
        self._by_token[session.token] = session
        shared.tokens.add(session.token)
        for longest_idle in others[: max(0, len(self._by_token) - MAX_SESSIONS)]:
            self.log_out(longest_idle)
        return session

    def _is_over(self, session: Session) -> bool:
        now_s = self._clock()
        is_idle = session.streams == 0 and now_s - session.used_s > IDLE_S
        return is_idle or now_s - session.began_s > LONGEST_S

    def _refuse_guessing(self) -> None:
        with self._lock:
            since_s = self._clock() - FAILURES_S
            self._failures_s = [at_s for at_s in self._failures_s if at_s > since_s]
            if len(self._failures_s) >= MAX_FAILURES:
                raise ServerError(f"too many failed logins: wait {FAILURES_S:.0f} s")
