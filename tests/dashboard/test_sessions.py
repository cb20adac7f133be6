"""Sessions are bounded in number and time, and share what is one user's."""

from collections.abc import Iterator

import pytest

from secateur_server.adapters.embedded_broker import EmbeddedBroker
from secateur_server.dashboard import sessions as module
from secateur_server.dashboard.link import with_credentials
from secateur_server.dashboard.sessions import IDLE_S, LONGEST_S, MAX_FAILURES, Sessions
from secateur_server.errors import InputError, ServerError


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sessions(mosquitto: EmbeddedBroker, clock: Clock) -> Iterator[Sessions]:
    made = Sessions(mosquitto.url, "default", clock)
    yield made
    made.close()


def test_a_user_has_one_connection_however_many_browsers(sessions: Sessions) -> None:
    first, second = sessions.log_in("ann", "secret"), sessions.log_in("ann", "secret")
    assert first.link is second.link
    assert first.token != second.token
    sessions.log_out(first)
    assert second.link.is_connected
    sessions.log_out(second)
    assert sessions.links() == []


def test_another_password_does_not_open_the_same_connection(sessions: Sessions) -> None:
    """Whether it is right is the broker's to say; who came with the old one is out."""
    first = sessions.log_in("ann", "secret")
    second = sessions.log_in("ann", "changed")
    assert first.link is not second.link
    assert sessions.find(first.token) is None
    assert sessions.find(second.token) is second


def test_a_session_that_nobody_uses_is_over(sessions: Sessions, clock: Clock) -> None:
    session = sessions.log_in("ann", "secret")
    clock.now_s = IDLE_S - 1
    assert sessions.find(session.token) is session
    clock.now_s = 2 * IDLE_S
    assert sessions.find(session.token) is None
    assert sessions.links() == []


def test_no_session_lasts_for_ever(sessions: Sessions, clock: Clock) -> None:
    session = sessions.log_in("ann", "secret")
    session.streams = 1
    clock.now_s = LONGEST_S - 1
    assert sessions.find(session.token) is session
    clock.now_s = LONGEST_S + 1
    sessions.expire()
    assert sessions.find(session.token) is None


def test_of_too_many_sessions_the_longest_idle_ends(
    sessions: Sessions, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_SESSIONS", 2)
    opened = []
    for _ in range(3):
        clock.now_s += 1
        opened.append(sessions.log_in("ann", "secret"))
    assert [sessions.find(each.token) is each for each in opened] == [False, True, True]


def test_of_too_many_users_the_last_is_refused(
    sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_LINKS", 1)
    sessions.log_in("ann", "secret")
    with pytest.raises(ServerError, match="users are logged in"):
        sessions.log_in("bob", "secret")
    sessions.log_in("ann", "secret")


def test_who_guesses_passwords_has_to_wait(clock: Clock) -> None:
    nobody = Sessions("mqtt://127.0.0.1:1", "default", clock)
    for _ in range(MAX_FAILURES):
        with pytest.raises(InputError):
            nobody.log_in("ann", "wrong")
    with pytest.raises(ServerError, match="too many failed logins"):
        nobody.log_in("ann", "right")
    clock.now_s += 61
    with pytest.raises(InputError):
        nobody.log_in("ann", "wrong")


def test_a_broker_that_asks_for_no_account_is_known(sessions: Sessions) -> None:
    assert sessions.is_open()
    assert not Sessions("mqtt://127.0.0.1:1", "default").is_open()


def test_an_unknown_cookie_is_nobodys(sessions: Sessions) -> None:
    assert sessions.find(None) is None
    assert sessions.find("") is None
    assert sessions.find("guess") is None


def test_the_coordinators_own_credentials_are_not_for_users() -> None:
    address = "mqtts://boss:s3cret@host:8884?ca=/a.crt&cert=/b.crt&key=/b.key"
    assert with_credentials(address, "", "") == "mqtts://host:8884?ca=%2Fa.crt"
    named = with_credentials(address, "a@b", "p:w/d")
    assert named == "mqtts://a%40b:p%3Aw%2Fd@host:8884?ca=%2Fa.crt"
