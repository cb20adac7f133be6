"""A stage with real parts, and a browser in front of it."""

from collections.abc import Iterator

import pytest

from secateur_server.adapters.embedded_broker import find_mosquitto
from support.browser import Browser, find_chromium
from support.dashboard_stage import Stage, log_in


@pytest.fixture(scope="package")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Set the stage once: twelve simulated devices on it."""
    if find_mosquitto() is None:
        pytest.skip("mosquitto is not installed: apt install mosquitto")
    with Stage(tmp_path_factory.mktemp("stage")) as running:
        running.play(12)
        yield running


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    """Start one Chromium for all tests."""
    if find_chromium() is None:
        pytest.skip("chromium is not installed: apt install chromium")
    with Browser() as running:
        yield running


@pytest.fixture
def browser(chromium: Browser, stage: Stage) -> Iterator[Browser]:
    """Give the browser with nobody logged in, and find no script error at the end."""
    chromium.call("Network.clearBrowserCookies")
    chromium.errors.clear()
    chromium.go(stage.dashboard.url)
    yield chromium
    assert chromium.errors == []


@pytest.fixture
def operator(browser: Browser) -> Browser:
    """Give the browser with an operator logged in."""
    log_in(browser, "_operator")
    browser.wait_for_text("operator", inside="#connection")
    browser.wait_for("document.readyState === 'complete'")
    return browser


@pytest.fixture
def viewer(browser: Browser) -> Browser:
    """Give the browser with somebody logged in who may only look."""
    log_in(browser, "_viewer")
    browser.wait_for_text("read only", inside="#connection")
    browser.wait_for("document.readyState === 'complete'")
    return browser
