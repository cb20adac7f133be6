"""Rollouts in a browser: started from a form, steered with buttons."""

from collections.abc import Iterator

import pytest

from secateur_protocols.control import ShowRollouts
from secateur_protocols.rollout import ENDED
from support.browser import Browser
from support.dashboard_stage import Stage

pytestmark = [pytest.mark.browser, pytest.mark.broker]


@pytest.fixture
def rollouts(operator: Browser, stage: Stage) -> Iterator[Browser]:
    """Give the page; what was started is halted at the end."""
    operator.go(f"{stage.dashboard.url}/rollouts")
    yield operator
    driver = stage.coordinator.driver
    assert driver is not None
    for each in driver.rollouts.describe_all(ShowRollouts()):
        assert each.state in ENDED


def test_a_rollout_is_started_paused_continued_and_halted(rollouts: Browser) -> None:
    rollouts.fill("#start-version", "2")
    rollouts.fill("#start-waves", "2, 50%, 100%")
    rollouts.fill("#start-baseline_s", "1")
    rollouts.click("form[action='/actions/start'] button.primary")
    rollouts.wait_for_text("has begun: resnet8 2", inside="#toasts")
    rollouts.wait_for_text("watching", inside="#current .pill")
    rollouts.wait_for_text("2 told", inside="#current .wave")
    rollouts.click("#current form button")
    rollouts.wait_for_text("paused", inside="#current .pill")
    rollouts.click("#current form button.primary")
    rollouts.wait_for_text("watching", inside="#current .pill")
    rollouts.click("#current form button.danger")
    rollouts.wait_for_text("is halted", inside="#toasts")
    rollouts.wait_for_text("No rollout is under way", inside="#current")
    rollouts.wait_for_text("halted", inside="#history")


def test_a_form_that_cannot_be_is_refused_in_words(rollouts: Browser) -> None:
    rollouts.fill("#start-waves", "many")
    rollouts.click("form[action='/actions/start'] button.primary")
    rollouts.wait_for_text("waves", inside="#toasts .bad")
    rollouts.fill("#start-waves", "1")
    rollouts.fill("#start-version", "77")
    rollouts.click("form[action='/actions/start'] button.primary")
    rollouts.wait_for_text("77", inside="#toasts .bad:last-child")


def test_the_ladder_is_drawn_with_the_rungs_in_use(operator: Browser, stage: Stage) -> None:
    operator.go(f"{stage.dashboard.url}/models")
    operator.wait_for("document.querySelectorAll('#ladders tbody tr').length === 6")
    operator.wait_for("document.querySelectorAll('#ladders circle.c0').length >= 1")
    operator.wait_for_text("pi-zero, p95", inside="#ladders .legend")
