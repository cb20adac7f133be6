"""One device in a browser: it lives, it obeys, and its words stay words."""

import json
from collections.abc import Callable, Iterator

import pytest

from secateur_protocols.control import Forget, PolicyChange
from secateur_protocols.event import DeviceEvent, EventKind
from secateur_protocols.ota import Ota, OtaProgress, Update, UpdateState
from secateur_protocols.state import Reported, ReportedModel
from secateur_protocols.telemetry import Resources
from secateur_protocols.topics import Leaf
from secateur_server.adapters.operator import OperatorClient
from secateur_server.core.policy import Scope, change_policy
from support.browser import Browser
from support.dashboard_stage import Stage
from support.scripted_device import ScriptedDevice
from support.situations import make_info, make_measured, make_telemetry

pytestmark = [pytest.mark.browser, pytest.mark.broker]

HOSTILE = (
    "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
)


@pytest.fixture
def scripted(stage: Stage) -> Iterator[Callable[..., ScriptedDevice]]:
    """Connect devices that say what the test tells them to; they are forgotten at its end."""
    devices: list[ScriptedDevice] = []

    def make(name: str, **info: object) -> ScriptedDevice:
        told = make_info(models=[stage.ladder.model], deadline_ms=50.0).model_copy(update=info)
        devices.append(ScriptedDevice(stage.url_of("_coordinator"), name, told))
        devices[-1].birth()
        return devices[-1]

    yield make
    client = OperatorClient(stage.url_of("_operator"), "default")
    for device in devices:
        device.close()
        client.request(Forget(device=device.device), timeout_s=60.0)
    client.close()


def speak(stage: Stage, device: ScriptedDevice, level: int, sequence: int) -> None:
    measured = make_measured(stage.ladder, level, [20.0, 21.0], deadline_ms=50.0)
    resources = Resources(
        cpu_share=0.4,
        temperature_c=51.0,
        memory_total_bytes=10**9,
        memory_available_bytes=6 * 10**8,
    )
    said = make_telemetry(measured, sequence=sequence, resources=resources)
    device.say(Leaf.TELEMETRY, said)


def level_of(name: str) -> str:
    return (
        "[...document.querySelectorAll('#rows tr')]"
        f".find(r => r.innerText.startsWith('{name}\\n'))"
        "?.querySelector('.level')?.innerText"
    )


def test_a_pinned_device_obeys_and_is_let_go_again(operator: Browser, stage: Stage) -> None:
    operator.go(f"{stage.dashboard.url}/devices/sim-3")
    operator.wait_for("document.querySelectorAll('#pin-resnet8 option').length === 7")
    operator.wait_for("!!document.querySelector('#models polyline.c0')")
    before = operator.wait_for("document.querySelector('#models .level').innerText")
    other = str((int(before) + 3) % 6)
    operator.fill("#pin-resnet8", other)
    operator.click("form.pins button.primary")
    operator.wait_for_text(f"pinned to level {other}", inside="#toasts")
    operator.wait_for(f"document.querySelector('#models .level').innerText === '{other}'")
    operator.wait_for_text(f"pinned to level {other}", inside="#timeline")
    operator.wait_for_text(f"level {other}", inside="#models figure")
    operator.go(f"{stage.dashboard.url}/")
    operator.wait_for(f"{level_of('sim-3')} === '{other}'")
    operator.go(f"{stage.dashboard.url}/devices/sim-3")
    operator.click("form.pins button[formaction]")
    operator.wait_for_text("The planner decides", inside="#toasts")
    assert stage.coordinator.driver is not None
    assert not any(s.device == "sim-3" for s in stage.coordinator.driver.policies.rules)


def test_letting_the_planner_decide_takes_nothing_else_back(
    operator: Browser, stage: Stage
) -> None:
    driver = stage.coordinator.driver
    assert driver is not None
    operator.go(f"{stage.dashboard.url}/devices/sim-4")
    operator.wait_for("!!document.querySelector('form.pins')")
    change = PolicyChange(deadline_ms=77.0, pinned_level=4)
    scope = Scope(device="sim-4", model="resnet8")
    driver.set_policies(change_policy(driver.policies, scope, change, is_cleared=True))
    operator.click("form.pins button[formaction]")
    operator.wait_for_text("The planner decides", inside="#toasts")
    (rule,) = (r.change for s, r in driver.policies.rules.items() if s.device == "sim-4")
    assert (rule.deadline_ms, rule.pinned_level) == (77.0, None)


def test_a_level_change_arrives_by_itself(
    operator: Browser, stage: Stage, scripted: Callable[..., ScriptedDevice]
) -> None:
    device = scripted("lone-1")
    speak(stage, device, 3, 1)
    operator.go(f"{stage.dashboard.url}/devices/lone-1")
    operator.wait_for("document.querySelector('#models .level').innerText === '3'")
    operator.wait_for_text("40", inside="#resources")
    speak(stage, device, 1, 2)
    operator.wait_for("document.querySelector('#models .level').innerText === '1'")


def test_what_a_device_says_of_itself_is_never_markup(
    operator: Browser, stage: Stage, scripted: Callable[..., ScriptedDevice]
) -> None:
    device = scripted("enemy-1", labels={"room": HOSTILE[:190], "<b>": "\"'>"})
    speak(stage, device, 3, 1)
    event = DeviceEvent(boot=1, sequence=1, kind=EventKind.FAULT, text=HOSTILE)
    operator.go(f"{stage.dashboard.url}/devices/enemy-1")
    operator.wait_for("!!document.querySelector('#models .level')")
    device.say(Leaf.EVENT, event)
    operator.wait_for_text(HOSTILE, inside="#timeline")
    operator.go(f"{stage.dashboard.url}/?search=enemy")
    operator.wait_for("document.querySelectorAll('#rows tr').length === 1")
    operator.wait_for(
        "document.querySelector('#rows .chip[title^=room]').title.includes('<script>')"
    )
    assert operator.run("document.title") == "Fleet · Secateur"
    assert operator.run("document.querySelectorAll('main script, main img').length") == 0


def test_an_update_shows_its_progress_and_can_be_aborted(
    operator: Browser, stage: Stage, scripted: Callable[..., ScriptedDevice]
) -> None:
    device = scripted("lone-2")
    speak(stage, device, 4, 1)
    wanted = device.next_desired()
    manifest = stage.ladder.levels[1]
    update = Update(model=stage.ladder.model, level=1, state=UpdateState.DOWNLOADING)
    device.say(Leaf.OTA, Ota(boot=1, sequence=2, updates=(update,)))
    operator.go(f"{stage.dashboard.url}/devices/lone-2")
    operator.wait_for_text("downloading", inside="#models .steps .now")
    progress = OtaProgress(
        model=stage.ladder.model,
        digest=manifest.digest,
        received_bytes=250_000,
        total_bytes=1_000_000,
        rate_bytes_per_s=50_000,
        remaining_s=15.0,
    )
    device.say(Leaf.OTA_PROGRESS, progress)
    operator.wait_for_text("25 %", inside="#models .progress")
    # In probation the candidate answers already; what is kept is what is committed.
    committed = ReportedModel(
        model=stage.ladder.model,
        version="1",
        level=4,
        digest=stage.ladder.levels[4].digest,
    )
    device.say(Leaf.REPORTED, Reported(boot=1, sequence=3, revision=1, models=(committed,)))
    speak(stage, device, 1, 2)
    operator.wait_for("document.querySelector('#models .level').innerText === '1'")
    operator.click("#models button.danger")
    operator.wait_for_text("Aborted", inside="#toasts")
    while wanted.models[0].reason != "pinned to level 4":
        wanted = device.next_desired()
    assert wanted.models[0].level == 4


def test_a_failed_update_says_why(
    operator: Browser, stage: Stage, scripted: Callable[..., ScriptedDevice]
) -> None:
    device = scripted("lone-3")
    speak(stage, device, 4, 1)
    update = Update(
        model=stage.ladder.model, level=1, state=UpdateState.ROLLED_BACK, detail="too slow here"
    )
    device.say(Leaf.OTA, Ota(boot=1, sequence=2, updates=(update,)))
    operator.go(f"{stage.dashboard.url}/devices/lone-3")
    operator.wait_for_text("rolled back: too slow here", inside="#models")


def test_a_viewer_is_offered_nothing_to_do(viewer: Browser, stage: Stage) -> None:
    viewer.go(f"{stage.dashboard.url}/devices/sim-5")
    viewer.wait_for("!!document.querySelector('#models .level')")
    assert viewer.run("document.querySelectorAll('main form').length") == 0


def test_a_viewer_who_asks_all_the_same_is_not_heard(viewer: Browser, stage: Stage) -> None:
    form = {"device": "sim-5", "model": "resnet8", "level": "5"}
    script = (
        "fetch('/actions/pin', {method: 'POST', body: new URLSearchParams("
        f"{json.dumps(form)})}}).then(answer => answer.json()).then(result => result.words)"
    )
    assert "may only look" in viewer.run(script)
    assert stage.coordinator.driver is not None
    assert not any(s.device == "sim-5" for s in stage.coordinator.driver.policies.rules)


def test_an_unknown_device_is_said_to_be_unknown(operator: Browser, stage: Stage) -> None:
    operator.go(f"{stage.dashboard.url}/devices/nobody")
    operator.wait_for_text("has not been heard of")
