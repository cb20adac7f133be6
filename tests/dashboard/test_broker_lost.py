"""The broker goes and comes back: the page says so, and goes on by itself."""

import json

import pytest

from support.browser import Browser
from support.dashboard_stage import Stage

pytestmark = [pytest.mark.browser, pytest.mark.broker]


def test_a_page_outlives_its_broker(operator: Browser, stage: Stage) -> None:
    operator.wait_for("document.querySelectorAll('#rows tr').length === 12")
    stage.broker.stop()
    try:
        operator.wait_for_text("broker lost", inside="#connection")
        assert operator.run("document.querySelectorAll('#rows tr').length") == 12
        script = (
            "fetch('/actions/rebirth', {method: 'POST', body: new URLSearchParams("
            "{device: 'sim-1'})}).then(answer => answer.json()).then(result => result.words)"
        )
        assert "the broker is lost" in operator.run(script)
    finally:
        stage.broker.start()
    operator.wait_for("document.querySelector('#connection .words').innerText === 'connected'")
    before = operator.text("#rows")
    operator.wait_for(f"document.querySelector('#rows').innerText !== {json.dumps(before)}")
    operator.wait_for_text("12 online")
