"""What the dashboard knows of a fleet is a fold over what the broker carries."""

from collections.abc import Callable, Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from secateur_protocols.codec import encode
from secateur_protocols.event import DeviceEvent, EventKind
from secateur_protocols.message import Message
from secateur_protocols.messages import MESSAGES
from secateur_protocols.ota import Ota, Update, UpdateState
from secateur_protocols.presence import CoordinatorStatus, Presence, PresenceState
from secateur_protocols.state import Desired, DesiredModel, LadderRef
from secateur_protocols.telemetry import Telemetry
from secateur_protocols.topics import Leaf, coordinator_status, device_topic, model_topic
from secateur_server.dashboard.device import MAX_HAPPENINGS, TREND
from secateur_server.dashboard.fleet import SHOWN, Fleet
from secateur_server.dashboard.recording import Recording
from secateur_server.dashboard.rows import Health, Row
from support.message_strategies import messages
from support.situations import make_info, make_ladder, make_measured, make_telemetry

NOW_S = 1000.0
LADDER = make_ladder()


def say(
    fleet: Fleet, leaf: Leaf, message: Message, *, device: str = "d-1", at_s: float = NOW_S
) -> None:
    fleet.apply(device_topic("home", device, leaf), encode(message), at_s)


def wish(level: int, *, revision: int = 1, infeasible: bool = False) -> Desired:
    ref = LadderRef(version="1", digest="0" * 64, size_bytes=1)
    model = DesiredModel(
        model="digits",
        ladder=ref,
        level=level,
        deadline_ms=10.0,
        infeasible=infeasible,
        reason=f"level {level} it is",
    )
    return Desired(revision=revision, artifacts_url="http://a", models=(model,))


def telemetry(
    *recent_ms: float, sequence: int = 0, boot: int = 1, level: int = 1, **more: int
) -> Telemetry:
    measured = make_measured(LADDER, level, recent_ms).model_copy(update=more)
    return make_telemetry(measured, boot=boot, sequence=sequence)


def only_row(fleet: Fleet) -> Row:
    (row,) = fleet.rows()
    return row


@pytest.fixture
def fleet() -> Fleet:
    return Fleet("home")


def online(fleet: Fleet) -> None:
    say(fleet, Leaf.PRESENCE, Presence(state=PresenceState.ONLINE, boot=1, session=1))
    say(fleet, Leaf.INFO, make_info(labels={"room": "kitchen"}))


def test_a_device_is_a_row_as_soon_as_it_says_anything(fleet: Fleet) -> None:
    online(fleet)
    row = only_row(fleet)
    assert (row.device, row.model, row.state) == ("d-1", "digits", "online")
    assert row.labels == {"class": "pi-4", "room": "kitchen"}
    assert row.health(NOW_S) is Health.WAITING


def test_telemetry_fills_its_row(fleet: Fleet) -> None:
    online(fleet)
    say(fleet, Leaf.TELEMETRY, telemetry(4.0, 5.0))
    row = only_row(fleet)
    assert (row.level, row.p95_ms, row.deadline_ms, row.share) == (1, 5.0, 10.0, 0.5)
    assert row.trend == (0.4, 0.5)
    assert row.health(NOW_S) is Health.GOOD


def test_a_trend_has_a_bound(fleet: Fleet) -> None:
    for sequence in range(3 * TREND):
        say(fleet, Leaf.TELEMETRY, telemetry(float(sequence), sequence=sequence))
    row = only_row(fleet)
    assert len(row.trend) == TREND
    assert row.trend[-1] == pytest.approx((3 * TREND - 1) / 10)


def test_misses_are_counted_from_message_to_message(fleet: Fleet) -> None:
    say(fleet, Leaf.TELEMETRY, telemetry(4.0, answered=100, deadline_misses=7))
    assert (only_row(fleet).answered, only_row(fleet).missed) == (0, 0)
    say(fleet, Leaf.TELEMETRY, telemetry(4.0, sequence=1, answered=150, deadline_misses=9))
    assert (only_row(fleet).answered, only_row(fleet).missed) == (50, 2)


def test_a_new_life_of_the_agent_does_not_count_backwards(fleet: Fleet) -> None:
    say(fleet, Leaf.TELEMETRY, telemetry(4.0, answered=100, deadline_misses=7))
    say(fleet, Leaf.TELEMETRY, telemetry(4.0, boot=2, answered=300, deadline_misses=9))
    assert (only_row(fleet).answered, only_row(fleet).missed) == (0, 0)


def test_a_late_message_changes_nothing(fleet: Fleet) -> None:
    say(fleet, Leaf.TELEMETRY, telemetry(5.0, sequence=3))
    version = fleet.version
    say(fleet, Leaf.TELEMETRY, telemetry(9.0, sequence=2))
    assert only_row(fleet).p95_ms == 5.0
    assert fleet.version == version


def test_a_late_last_will_changes_nothing(fleet: Fleet) -> None:
    say(fleet, Leaf.PRESENCE, Presence(state=PresenceState.ONLINE, boot=1, session=2))
    say(fleet, Leaf.PRESENCE, Presence(state=PresenceState.OFFLINE, boot=1, session=1))
    assert only_row(fleet).state == "online"
    say(fleet, Leaf.PRESENCE, Presence(state=PresenceState.OFFLINE, boot=1, session=2))
    assert only_row(fleet).health(NOW_S) is Health.OFFLINE


def test_who_says_nothing_for_too_long_is_silent(fleet: Fleet) -> None:
    online(fleet)
    say(fleet, Leaf.TELEMETRY, telemetry(5.0))
    assert only_row(fleet).health(NOW_S + 39.0) is Health.GOOD
    assert only_row(fleet).health(NOW_S + 41.0) is Health.SILENT


def test_who_announced_a_silence_is_not_silent_before_it_is_over(fleet: Fleet) -> None:
    online(fleet)
    said = telemetry(5.0).model_copy(update={"silence_s": 100.0})
    say(fleet, Leaf.TELEMETRY, said)
    assert only_row(fleet).health(NOW_S + 350.0) is Health.GOOD


@pytest.mark.parametrize(
    ("tell", "health"),
    [
        (lambda f: say(f, Leaf.TELEMETRY, telemetry(11.0)), Health.LATE),
        (lambda f: say(f, Leaf.DESIRED, wish(3, infeasible=True)), Health.INFEASIBLE),
        (
            lambda f: say(
                f,
                Leaf.OTA,
                Ota(
                    boot=1,
                    sequence=1,
                    updates=(Update(model="digits", level=0, state=UpdateState.ROLLED_BACK),),
                ),
            ),
            Health.UPDATE_FAILED,
        ),
        (
            lambda f: say(
                f,
                Leaf.OTA,
                Ota(
                    boot=1,
                    sequence=1,
                    updates=(Update(model="digits", level=0, state=UpdateState.DOWNLOADING),),
                ),
            ),
            Health.UPDATING,
        ),
    ],
)
def test_the_worst_that_is_true_is_its_health(
    fleet: Fleet, tell: Callable[[Fleet], None], health: Health
) -> None:
    online(fleet)
    tell(fleet)
    assert only_row(fleet).health(NOW_S) is health


def test_decisions_and_events_are_remembered_within_a_bound(fleet: Fleet) -> None:
    say(fleet, Leaf.DESIRED, wish(3))
    say(fleet, Leaf.EVENT, DeviceEvent(boot=1, sequence=1, kind=EventKind.SWITCHED, text="x"))
    happenings = fleet.devices["d-1"].happenings
    assert [(each.kind, each.level, each.text) for each in happenings] == [
        ("wish", 3, "level 3 it is"),
        ("switched", None, "x"),
    ]
    for revision in range(2, 3 * MAX_HAPPENINGS):
        say(fleet, Leaf.DESIRED, wish(revision % 4, revision=revision))
    assert len(happenings) == MAX_HAPPENINGS


def test_an_older_wish_changes_nothing(fleet: Fleet) -> None:
    say(fleet, Leaf.DESIRED, wish(3, revision=5))
    say(fleet, Leaf.DESIRED, wish(1, revision=4))
    desired = fleet.devices["d-1"].wish_for("digits")
    assert desired is not None
    assert desired.level == 3


def test_a_device_is_forgotten_when_its_birth_is_emptied(fleet: Fleet) -> None:
    online(fleet)
    say(fleet, Leaf.TELEMETRY, telemetry(5.0))
    fleet.apply(device_topic("home", "d-1", Leaf.INFO), b"", NOW_S)
    assert not fleet.devices
    assert fleet.recording.held_bytes == 0


def test_ladders_and_coordinators_are_known_by_their_topics(fleet: Fleet) -> None:
    assert Fleet("home").is_coordinated is None
    status = CoordinatorStatus(state=PresenceState.ONLINE, since="now")
    fleet.apply(coordinator_status("home"), encode(status), NOW_S)
    fleet.apply(coordinator_status("home", "b"), encode(status), NOW_S)
    assert fleet.is_coordinated
    assert set(fleet.coordinators) == {"", "b"}
    fleet.apply(model_topic("home", "digits"), encode(LADDER), NOW_S)
    assert fleet.ladders == {"digits": LADDER}
    fleet.apply(model_topic("home", "digits"), b"", NOW_S)
    assert not fleet.ladders


def test_another_site_and_other_trees_change_nothing(fleet: Fleet) -> None:
    for topic in ("secateur/v1/away/d-1/info", "secateur/v2/home/d-1/info", "x", ""):
        fleet.apply(topic, encode(make_info()), NOW_S)
    assert not fleet.devices
    assert fleet.ignored == 4


TOPICS = st.sampled_from(sorted(SHOWN)).flatmap(
    lambda leaf: st.tuples(
        st.just(device_topic("home", "d-1", leaf)), messages(MESSAGES[leaf]).map(encode)
    )
) | st.tuples(
    st.sampled_from([device_topic("home", "d-2", leaf) for leaf in Leaf])
    | st.text(max_size=30).map(lambda end: f"secateur/v1/home/{end}"),
    st.binary(max_size=50),
)


# How fast examples are made says something about the machine, not about the code.
patient = settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])


@patient
@given(st.lists(TOPICS, max_size=12))
def test_whatever_the_broker_carries_the_fold_goes_on(
    said: Sequence[tuple[str, bytes]],
) -> None:
    fleet = Fleet("home", Recording(max_bytes=2000))
    for place, (topic, payload) in enumerate(said):
        fleet.apply(topic, payload, NOW_S + place)
    for row in fleet.rows():
        assert isinstance(row.health(NOW_S + 50), Health)
    assert fleet.recording.held_bytes <= 2000


@patient
@given(st.lists(TOPICS, max_size=8))
def test_hearing_everything_twice_changes_no_row(said: Sequence[tuple[str, bytes]]) -> None:
    """At QoS 1 a message may arrive twice."""
    fleet = Fleet("home")
    for topic, payload in said:
        fleet.apply(topic, payload, NOW_S)
        before = list(fleet.rows())
        fleet.apply(topic, payload, NOW_S)
        assert list(fleet.rows()) == before
