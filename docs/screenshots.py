"""Takes the pictures of the dashboard that the documents show.

    python docs/screenshots.py

Each page, light, dark and on a phone, into ``docs/images``: from a simulated fleet on a
secured broker, and the pages of one device and of models from the demo's real agents. Needs
Chromium and Mosquitto; takes some minutes.
"""

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from support.browser import Browser  # noqa: E402 - the path comes first
from support.dashboard_stage import Stage, log_in  # noqa: E402 - likewise

IMAGES = ROOT / "docs" / "images"
DEVICES = 60
DESKTOP, PHONE = (1280, 860), (390, 844)


def main() -> None:
    """Take all of them."""
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, Browser() as browser:
        with Stage(Path(folder)) as stage:
            stage.play(DEVICES)
            of_a_simulated_fleet(browser, stage.dashboard.url)
        with demo() as url:
            of_real_agents(browser, url)


def of_a_simulated_fleet(browser: Browser, url: str) -> None:
    """Take the login, the fleet, rollouts and what if."""
    browser.go(url)
    take(browser, "login")
    log_in(browser, "_operator")
    browser.wait_for_text("operator", inside="#connection")
    time.sleep(30.0)  # until there is something to see
    browser.go(f"{url}/?sort=-share")
    take(browser, "fleet", down_to=".filters")
    browser.go(f"{url}/rollouts")
    browser.fill("#start-version", "2")
    browser.fill("#start-waves", "2, 25%, 100%")
    browser.fill("#start-baseline_s", "2")
    browser.click("form[action='/actions/start'] button.primary")
    browser.wait_for_text("told", inside="#current .wave")
    time.sleep(6.0)  # until the word about it has gone
    take(browser, "rollouts")
    browser.go(f"{url}/what-if")
    take(browser, "what-if", before=ask_what_if, down_to="#outcome")


def ask_what_if(browser: Browser) -> None:
    """Fill in the form, ask, and go down to the answer."""
    browser.fill("#if-selector", "class=pi-4")
    browser.fill("#if-temperature_limit_c", "35")
    browser.click("main form button.primary")
    browser.wait_for_text("would be told", inside="#outcome")


def of_real_agents(browser: Browser, url: str) -> None:
    """Take one device and the models."""
    browser.go(url)
    browser.click("button.primary")
    browser.wait_for("document.querySelectorAll('#rows .spark polyline').length === 3")
    browser.wait_for_text("good", inside="#rows")
    time.sleep(50.0)  # the demo's first acts
    browser.go(f"{url}/devices/demo-pi-4")
    time.sleep(3.0)
    take(browser, "device")
    browser.go(f"{url}/models")
    take(browser, "models")


def take(
    browser: Browser,
    name: str,
    *,
    before: Callable[[Browser], None] = lambda _: None,
    down_to: str = "body",
) -> None:
    """Photograph the page that is open, three times; on a phone from an element on."""
    for kind, size in (("light", DESKTOP), ("dark", DESKTOP), ("phone", PHONE)):
        browser.prefer("dark" if kind == "dark" else "light")
        browser.resize(*size, is_phone=kind == "phone")
        before(browser)
        time.sleep(1.5)
        if kind == "phone":
            browser.run(f"document.querySelector('{down_to}').scrollIntoView()")
            time.sleep(0.5)
        browser.photograph(IMAGES / f"dashboard-{name}-{kind}.png", is_whole=False)
    browser.prefer("light")
    browser.resize(*DESKTOP)


@contextmanager
def demo() -> Iterator[str]:
    """Run the demo with its dashboard, and give the address."""
    command = [sys.executable, "-m", "secateur_server", "demo", "--dashboard", "--headless"]
    process = subprocess.Popen(  # noqa: S603 - our own program
        command, stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    try:
        assert process.stdout is not None  # noqa: S101 - a pipe was asked for
        for line in process.stdout:
            if found := re.search(r"dashboard (http\S+)", line):
                break
        else:
            raise SystemExit("the demo ended")
        yield found[1]
    finally:
        process.terminate()
        process.wait(60.0)


if __name__ == "__main__":
    main()
