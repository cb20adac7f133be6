"""A browser, a broker with accounts: who gets in, and what they see."""

import http.client
import json
from urllib.parse import urlsplit

import pytest

from support.browser import Browser
from support.dashboard_stage import Stage, log_in
from support.secured_broker import PASSWORD

pytestmark = [pytest.mark.browser, pytest.mark.broker]


def test_an_operator_sees_the_fleet_and_it_lives(operator: Browser) -> None:
    operator.wait_for("document.querySelectorAll('#rows tr').length === 12")
    operator.wait_for_text("12 online")
    first = operator.text("#rows")
    assert "sim-0" in first
    operator.wait_for(f"document.querySelector('#rows').innerText !== {json.dumps(first)}")


def test_a_viewer_is_told_that_he_may_only_look(viewer: Browser) -> None:
    viewer.wait_for("document.querySelectorAll('#rows tr').length === 12")


def test_a_wrong_password_gets_nobody_in_and_is_not_shown(browser: Browser) -> None:
    log_in(browser, "_operator", "not the password")
    browser.wait_for_text("refuses the connection")
    assert "not the password" not in browser.run("document.documentElement.outerHTML")


def test_search_filter_and_sort_are_answered_by_the_server(operator: Browser) -> None:
    operator.wait_for("document.querySelectorAll('#rows tr').length === 12")
    operator.fill("#choice-search", "sim-1")
    operator.wait_for("document.querySelectorAll('#rows tr').length === 3")
    operator.fill("#choice-search", "no such device")
    operator.wait_for_text("No device matches.")
    operator.fill("#choice-search", "")
    operator.wait_for("document.querySelectorAll('#rows tr').length === 12")
    operator.click("#sort-device")
    operator.wait_for("document.querySelector('#rows tr').innerText.startsWith('sim-11')")
    assert "sort=-device" in operator.run("location.search")


def test_the_table_can_be_used_with_the_keyboard_alone(operator: Browser) -> None:
    operator.wait_for("document.querySelectorAll('#rows tr').length === 12")
    operator.run("document.querySelector('#sort-device').focus()")
    operator.press("Enter", 13)
    operator.wait_for("document.querySelector('#rows tr').innerText.startsWith('sim-11')")
    assert operator.run("document.activeElement.id") == "sort-device"


def test_who_logs_out_is_out(operator: Browser, stage: Stage) -> None:
    operator.click("header form button")
    operator.wait_for_text("Log in with your account")
    operator.go(f"{stage.dashboard.url}/")
    operator.wait_for_text("Log in with your account")


class Visitor:
    """Speaks plain HTTP, as a program or another site's page would."""

    def __init__(self, url: str) -> None:
        self._place = urlsplit(url).netloc
        self.origin = url
        self.cookie = ""

    def ask(self, method: str, path: str, body: str = "", **headers: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection(self._place, timeout=60)
        fixed = {"Cookie": self.cookie, "Content-Type": "application/x-www-form-urlencoded"}
        connection.request(method, path, body, {**fixed, **headers})
        answer = connection.getresponse()
        if cookie := answer.getheader("Set-Cookie"):
            self.cookie = cookie.partition(";")[0]
            self.attributes = cookie.lower()
        self.headers = answer.headers
        content = answer.read().decode()
        connection.close()
        return answer.status, content

    def log_in(self, user: str) -> None:
        body = f"user={user}&password={PASSWORD.replace(' ', '+')}"
        status, _ = self.ask("POST", "/login", body, Origin=self.origin)
        assert status == 303


@pytest.fixture
def visitor(stage: Stage) -> Visitor:
    return Visitor(stage.dashboard.url)


@pytest.mark.parametrize("path", ["/", "/live"])
def test_nothing_is_shown_to_who_is_not_logged_in(visitor: Visitor, path: str) -> None:
    status, content = visitor.ask("GET", path)
    assert status in {303, 401}
    assert "sim-" not in content


def test_the_cookie_is_no_business_of_scripts_and_other_sites(visitor: Visitor) -> None:
    visitor.log_in("_operator")
    assert "httponly" in visitor.attributes
    assert "samesite=lax" in visitor.attributes
    assert visitor.ask("GET", "/")[0] == 200
    assert "script-src 'self'" in visitor.headers["Content-Security-Policy"]


@pytest.mark.parametrize("origin", ["http://evil.example", "null", ""])
def test_a_form_of_another_site_is_refused(visitor: Visitor, origin: str) -> None:
    visitor.log_in("_operator")
    assert visitor.ask("POST", "/logout", Origin=origin)[0] == 403
    assert visitor.ask("GET", "/")[0] == 200


def test_a_name_that_is_made_to_point_here_gets_nothing(visitor: Visitor) -> None:
    assert visitor.ask("GET", "/login", Host="evil.example")[0] == 403


def test_a_form_that_is_too_large_is_refused(visitor: Visitor) -> None:
    status, _ = visitor.ask("POST", "/login", "x" * 100_000, Origin=visitor.origin)
    assert status == 413
