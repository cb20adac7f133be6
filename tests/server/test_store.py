"""What was saved is there, on both databases."""

import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from secateur_protocols.control import PolicyChange
from secateur_protocols.info import Info
from secateur_protocols.presence import Presence
from secateur_protocols.state import Desired, Reported
from secateur_protocols.telemetry import Telemetry
from secateur_server.adapters.files import hold_folder
from secateur_server.adapters.store import Store, sqlite_url
from secateur_server.core.experience import Compared, Experience
from secateur_server.core.fleet import DeviceState, hear
from secateur_server.core.policy import Policies, Scope, change_policy
from secateur_server.errors import InputError, PolicyConflictError
from support.message_strategies import messages
from support.situations import make_info, make_ladder, make_measured, make_telemetry

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    opened = Store(database_url, "default")
    yield opened
    opened.close()


def wish(device: str, revision: int) -> DeviceState:
    desired = Desired(revision=revision, artifacts_url=f"http://{device}", models=())
    return DeviceState(device, desired=desired)


def test_what_devices_said_and_what_is_desired_of_them_survive_a_restart(
    database_url: str, store: Store
) -> None:
    ladder = make_ladder()
    state = hear(DeviceState("d"), make_info())
    state = hear(state, make_telemetry(make_measured(ladder, 2, [4.0] * 3)))
    state = state._replace(desired=wish("d", 7).desired)
    store.save_devices([state])
    assert store.save_desired([state]) == {"d"}
    store.close()
    again = Store(database_url, "default")
    assert again.load_devices() == {"d": state}
    again.close()


states = st.builds(
    DeviceState,
    device=st.just("d"),
    info=st.none(),
    fingerprint=st.just(""),
    labels=st.just({}),
    presence=st.none() | messages(Presence),
    telemetry=st.none() | messages(Telemetry),
    reported=st.none() | messages(Reported),
    desired=st.none() | messages(Desired).filter(lambda desired: desired.revision > 0),
    experiences=st.dictionaries(
        st.sampled_from(["m", "n"]),
        st.builds(
            Experience,
            digest=st.just("d" * 64),
            level=st.integers(0, 7),
            boot=st.integers(0, 9),
            sequence=st.integers(0, 9),
            typical_ms=st.floats(0.01, 1e6),
            periods=st.integers(1, 16),
            climb=st.none(),
            has_climbed=st.booleans(),
            setbacks=st.integers(0, 7),
            compared=st.dictionaries(
                st.tuples(st.just("a" * 64), st.just("b" * 64)),
                st.builds(
                    Compared,
                    log_ratio=st.floats(-3, 3),
                    count=st.integers(1, 9),
                    boot=st.integers(0, 9),
                    sequence=st.integers(0, 9),
                ),
            ),
        ),
    ),
)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(states, st.none() | messages(Info))
def test_any_state_comes_back_as_it_was(
    store: Store, state: DeviceState, info: Info | None
) -> None:
    state = state if info is None else hear(state, info)
    store.forget_device("d")
    store.save_devices([state])
    store.save_desired([state])
    assert store.load_device("d") == state


def test_w4_a_decision_is_never_taken_back_by_a_write(store: Store) -> None:
    assert store.save_desired([wish("a", 3), wish("b", 3)]) == {"a", "b"}
    # Another replica is late with "a", and first with "b".
    assert store.save_desired([wish("a", 3), wish("b", 4)]) == {"b"}
    assert store.save_desired([wish("a", 2)]) == frozenset()
    revisions = {
        name: state.desired.revision
        for name, state in store.load_devices().items()
        if state.desired
    }
    assert revisions == {"a": 3, "b": 4}


def test_saving_what_a_device_said_leaves_what_is_desired_alone(store: Store) -> None:
    store.save_desired([wish("d", 5)])
    store.save_devices([hear(DeviceState("d"), make_info())])
    stored = store.load_device("d")
    assert stored is not None
    assert stored.info == make_info()
    assert stored.desired == wish("d", 5).desired


def test_w6_a_forgotten_device_is_gone(store: Store) -> None:
    store.save_desired([wish("a", 1), wish("b", 1)])
    store.forget_device("a")
    assert set(store.load_devices()) == {"b"}


def test_sites_do_not_see_each_other(database_url: str, store: Store) -> None:
    store.save_desired([wish("d", 1)])
    other = Store(database_url, "oslo")
    assert other.load_devices() == {}
    assert other.policy_version() == 0
    other.close()


def test_policy_survives_and_its_version_only_grows(database_url: str, store: Store) -> None:
    policies = Policies()
    for scope in (Scope(), Scope("d"), Scope(None, "m"), Scope(selector="hw=pi4,site=oslo")):
        change = PolicyChange(patience=7, quiet_hours="22:00-06:00")
        policies = change_policy(policies, scope, change, is_cleared=False)
        store.save_policies(policies)
    assert store.load_policies() == policies
    cleared = change_policy(policies, Scope("d"), PolicyChange(), is_cleared=True)
    store.save_policies(cleared)
    again = Store(database_url, "default")
    assert again.load_policies() == cleared
    assert again.policy_version() == 5
    with pytest.raises(PolicyConflictError):
        again.save_policies(policies)
    assert again.load_policies() == cleared
    again.close()


@pytest.mark.parametrize("url", ["mysql://h/n", "nonsense", "sqlite:////proc/no/such.sqlite"])
def test_what_is_no_database_is_refused_in_one_line(url: str) -> None:
    with pytest.raises(InputError) as refused:
        Store(url, "default")
    assert "\n" not in str(refused.value)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    path.write_text("this is not a database, and long enough to be looked at" * 20)
    with pytest.raises(InputError, match=r"a\.sqlite"):
        Store(sqlite_url(path), "default")


def test_a_postgresql_that_is_not_there_is_named_without_its_password() -> None:
    with pytest.raises(InputError, match=r"127\.0\.0\.1") as refused:
        Store("postgresql://me:secret@127.0.0.1:1/db?connect_timeout=5", "default")
    assert "secret" not in str(refused.value)


def test_a_database_of_the_first_release_keeps_devices_and_rules(tmp_path: Path) -> None:
    path = tmp_path / "old.sqlite"
    with sqlite3.connect(path) as old:
        old.executescript(
            """
            CREATE TABLE devices (site VARCHAR(64) NOT NULL, device VARCHAR(64) NOT NULL,
                presence TEXT, info TEXT, telemetry TEXT, reported TEXT, desired TEXT,
                PRIMARY KEY (site, device));
            CREATE TABLE policies (site VARCHAR(64) NOT NULL, device VARCHAR(64) NOT NULL,
                model VARCHAR(64) NOT NULL, change TEXT NOT NULL,
                PRIMARY KEY (site, device, model));
            """
        )
        desired = wish("d", 9).desired
        assert desired is not None
        row = ("default", "d", desired.model_dump_json())
        old.execute("INSERT INTO devices (site, device, desired) VALUES (?, ?, ?)", row)
        old.execute("INSERT INTO policies VALUES ('default', 'd', '', '{\"patience\": 4}')")
    old.close()
    store = Store(sqlite_url(path), "default")
    assert store.load_devices() == {"d": wish("d", 9)}
    assert store.save_desired([wish("d", 9)]) == frozenset()
    policies = store.load_policies()
    assert policies.rules[Scope("d")].change.patience == 4
    assert policies.version == 1
    store.close()


def test_a_row_of_a_newer_program_counts_as_empty_and_stops_nobody(store: Store) -> None:
    store.save_devices([hear(DeviceState("d"), make_info())])
    with store._engine.begin() as connection:
        connection.execute(sa.text("UPDATE devices SET info = '{}', experiences = '7'"))
    assert store.load_devices() == {"d": DeviceState("d")}


def test_two_processes_do_not_share_a_folder(tmp_path: Path) -> None:
    with (
        hold_folder(tmp_path),
        pytest.raises(InputError, match="--replica"),
        hold_folder(tmp_path),
    ):
        pass
    with hold_folder(tmp_path):
        pass  # who has ended lets go of it


WRITER = """
import sys
from secateur_protocols.state import Desired
from secateur_server.adapters.store import Store
from secateur_server.core.fleet import DeviceState
store = Store(sys.argv[1], "default")
revision = 0
while True:
    revision += 1
    desired = Desired(revision=revision, artifacts_url="u", models=())
    store.save_desired(DeviceState(f"d-{n}", desired=desired) for n in range(50))
    print(revision, flush=True)  # only now may it be published
"""


def test_a_process_killed_while_writing_leaves_whole_batches_and_all_it_has_told(
    database_url: str,
) -> None:
    for _ in range(3):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, database_url], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        told = int(writer.stdout.readline())
        time.sleep(0.3)
        writer.kill()
        told = max([told, *(int(line) for line in writer.stdout if line.strip())])
        writer.stdout.close()
        writer.wait()
        store = Store(database_url, "default")
        revisions = {
            state.desired.revision for state in store.load_devices().values() if state.desired
        }
        for device in store.load_devices():
            store.forget_device(device)
        store.close()
        assert len(revisions) == 1, "a batch was written in part"
        assert told <= revisions.pop() <= told + 1
