"""Each attack on what a device may install is refused, with the reason that tells it apart.

All metadata is signed by the code that operators run; an attacker has keys of its own, made
the same way, or old ones, and serves the device whatever it likes.
"""

import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from secateur_agent.errors import AgentError, PermanentError, TransientError
from secateur_agent.transfer.transfers import Transfers
from secateur_agent.transfer.watch import Patience
from secateur_agent.trust.memory import RELEASED_AT, TrustMemory
from secateur_agent.trust.trust import Trust, utc_now
from secateur_protocols.ota import ReasonCode
from secateur_protocols.trust import MAX_METADATA_BYTES
from secateur_server.core.context import Published
from secateur_server.signing import ceremony
from secateur_server.signing.ceremony import Replacement
from secateur_server.signing.listing import Lister
from secateur_server.signing.roles import Role
from support.folder_repository import FolderRepository
from support.signed import KNOWN, PASSPHRASE, SignedRegistry
from support.situations import make_ladder, write_ladder_dir
from support.trickle import trickling

CLASS = "pi-4"
NEW = Replacement(passphrase=lambda: PASSPHRASE)


class Bench:
    """An owner's registry, what an attacker serves of it, and a device."""

    def __init__(self, folder: Path, owner: SignedRegistry) -> None:
        self.folder = folder
        self.owner = owner
        self.served = FolderRepository(folder / "served")
        self.state_dir = folder / "device"
        self.trust = self.make_trust()

    def make_trust(self, clock: Callable[[], datetime] = utc_now) -> Trust:
        root = self.owner.root_path
        return Trust(self.state_dir, root, hardware_class=CLASS, clock=clock)

    def publish(
        self, version: str, *, by: SignedRegistry | None = None, hardware: tuple[str, ...] = ()
    ) -> Published:
        registry = by or self.owner
        folder = registry.folder / f"ladder-{version}"
        write_ladder_dir(folder, make_ladder(version=version))
        return registry.publish(folder, hardware=hardware)

    def serve(self, registry: SignedRegistry | None = None) -> None:
        """Serve a registry as it is now."""
        shutil.rmtree(self.served.folder, ignore_errors=True)
        shutil.copytree((registry or self.owner).metadata_dir, self.metadata_dir)

    @property
    def metadata_dir(self) -> Path:
        return self.served.folder / "metadata"

    def require(self, published: Published, *, trust: Trust | None = None) -> None:
        (trust or self.trust).require("digits", published.ref, self.served)

    def refused(self, published: Published, *, trust: Trust | None = None) -> ReasonCode:
        """Ask, and give why it was refused; what was accepted before is so still."""
        with pytest.raises(AgentError) as caught:
            self.require(published, trust=trust)
        assert not self.trust.has_accepted("digits", published.ref)
        return caught.value.reason


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the owner's keys once."""
    folder = tmp_path_factory.mktemp("keys")
    SignedRegistry(folder / "owner")
    return folder / "owner"


@pytest.fixture
def bench(tmp_path: Path, keys: Path) -> Bench:
    shutil.copytree(keys, tmp_path / "owner")
    return Bench(tmp_path, SignedRegistry(tmp_path / "owner"))


@pytest.fixture
def evil(tmp_path: Path) -> SignedRegistry:
    return SignedRegistry(tmp_path / "evil")


def test_what_the_owner_signed_is_accepted_and_remembered(bench: Bench) -> None:
    first = bench.publish("1")
    bench.serve()
    bench.require(first)
    assert bench.trust.has_accepted("digits", first.ref)
    assert bench.make_trust().has_accepted("digits", first.ref)  # after a restart
    second = bench.publish("2")
    bench.serve()
    bench.require(second)
    assert bench.trust.has_accepted("digits", first.ref)  # still listed: a way back


def test_a_device_without_a_root_installs_nothing(bench: Bench) -> None:
    first = bench.publish("1")
    bench.serve()
    nobody = Trust(bench.state_dir, None, hardware_class=CLASS)
    assert bench.refused(first, trust=nobody) is ReasonCode.SIGNATURE_INVALID
    Trust(bench.state_dir, None, hardware_class=CLASS, accepts_unsigned=True).require(
        "digits", first.ref, bench.served
    )


@pytest.mark.parametrize("name", ["timestamp.json", "2.snapshot.json", "2.targets.json"])
def test_one_changed_byte_of_metadata_is_refused(bench: Bench, name: str) -> None:
    first = bench.publish("1")
    bench.serve()
    path = bench.metadata_dir / name
    content = bytearray(path.read_bytes())
    content[content.index(b'"version":') + 11] ^= 1
    path.write_bytes(content)
    assert bench.refused(first) is ReasonCode.SIGNATURE_INVALID


@pytest.mark.parametrize("junk", [b"", b"{", b"[]", b"{}", b"[" * 5000, b'{"signed": 1e999}'])
def test_metadata_that_is_no_metadata_is_refused(bench: Bench, junk: bytes) -> None:
    first = bench.publish("1")
    bench.serve()
    (bench.metadata_dir / "timestamp.json").write_bytes(junk)
    assert bench.refused(first) is ReasonCode.SIGNATURE_INVALID


def test_a_repository_signed_by_unknown_keys_is_refused(
    bench: Bench, evil: SignedRegistry
) -> None:
    theirs = bench.publish("1", by=evil)
    bench.serve(evil)
    assert bench.refused(theirs) is ReasonCode.SIGNATURE_INVALID


def test_a_next_root_signed_by_unknown_keys_is_refused(
    bench: Bench, evil: SignedRegistry
) -> None:
    theirs = bench.publish("1", by=evil)
    ceremony.renew(evil.places, KNOWN, evil.now)  # their version 2
    bench.serve(evil)
    assert bench.refused(theirs) is ReasonCode.SIGNATURE_INVALID


def test_older_metadata_than_was_seen_is_refused(bench: Bench) -> None:
    first = bench.publish("1")
    bench.serve()
    shutil.copytree(bench.metadata_dir, bench.folder / "old")
    second = bench.publish("2")
    bench.serve()
    bench.require(second)
    shutil.rmtree(bench.metadata_dir)
    (bench.folder / "old").rename(bench.metadata_dir)
    with pytest.raises(PermanentError) as caught:
        bench.require(first)
    assert caught.value.reason is ReasonCode.VERSION_FLOOR


def test_a_version_that_was_withdrawn_is_refused_but_what_runs_may_step_down(
    bench: Bench,
) -> None:
    first, second = bench.publish("1"), bench.publish("2")
    bench.serve()
    bench.require(first)
    Lister(bench.owner.places, KNOWN).withdraw("digits", "1", bench.owner.now)
    bench.serve()
    bench.trust.require("digits", second.ref, bench.served, committed=first.ref.digest)
    assert bench.trust.has_accepted("digits", first.ref)  # it runs: its levels are a way down
    bench.trust.require("digits", second.ref, bench.served, committed=second.ref.digest)
    assert bench.refused(first) is ReasonCode.VERSION_FLOOR


def test_a_repository_that_is_frozen_is_refused_once_its_timestamp_expires(
    bench: Bench,
) -> None:
    first = bench.publish("1")
    bench.serve()
    later = bench.make_trust(clock=lambda: datetime.now(UTC) + timedelta(days=2))
    assert bench.refused(first, trust=later) is ReasonCode.METADATA_EXPIRED


def test_pieces_of_different_times_are_refused(bench: Bench) -> None:
    bench.publish("1")
    bench.serve()
    shutil.copy(bench.metadata_dir / "2.targets.json", bench.folder / "old.json")
    second = bench.publish("2")
    bench.serve()
    shutil.copy(bench.folder / "old.json", bench.metadata_dir / "3.targets.json")
    assert bench.refused(second) is ReasonCode.SIGNATURE_INVALID


@pytest.mark.parametrize("name", ["timestamp.json", "2.snapshot.json", "2.root.json"])
def test_metadata_without_end_is_not_read_to_its_end(bench: Bench, name: str) -> None:
    first = bench.publish("1")
    bench.serve()
    with (bench.metadata_dir / name).open("ab") as file:
        file.truncate(1 << 24)
    assert bench.refused(first) is ReasonCode.SIGNATURE_INVALID


def test_metadata_that_trickles_is_given_up(bench: Bench) -> None:
    first = bench.publish("1")
    patience = Patience(slow_bytes_per_s=500.0, slow_s=1.0)
    with trickling() as url:
        slow = Transfers(patience).open(f"{url}/blobs")
        with pytest.raises(TransientError) as caught:
            bench.trust.require("digits", first.ref, slow)
    assert caught.value.reason is ReasonCode.TIMEOUT


def test_a_ladder_for_other_hardware_is_refused(bench: Bench) -> None:
    first = bench.publish("1", hardware=("jetson",))
    second = bench.publish("2", hardware=("jetson", CLASS))
    bench.serve()
    assert bench.refused(first) is ReasonCode.UNSUPPORTED_HARDWARE
    bench.require(second)


def test_another_ladder_under_a_signed_name_is_refused(bench: Bench) -> None:
    first, second = bench.publish("1"), bench.publish("2")
    bench.serve()
    crossed = Published(
        first.ref.model_copy(update={"digest": second.ref.digest}), first.ladder
    )
    assert bench.refused(crossed) is ReasonCode.SIGNATURE_INVALID
    with pytest.raises(PermanentError) as caught:
        bench.trust.require("another-model", first.ref, bench.served)
    assert caught.value.reason is ReasonCode.VERSION_FLOOR


def test_what_a_revoked_key_signs_is_refused(bench: Bench) -> None:
    bench.publish("1")
    shutil.copytree(bench.owner.folder, bench.folder / "stolen")
    thief = SignedRegistry(bench.folder / "stolen")  # with the coordinator's keys as well
    ceremony.rotate(bench.owner.places, Role.TARGETS, NEW, KNOWN, bench.owner.now)
    theirs = bench.publish("2", by=thief)
    theirs = bench.publish("3", by=thief)
    bench.serve(thief)
    shutil.copy(bench.owner.metadata_dir / "2.root.json", bench.metadata_dir)
    assert bench.refused(theirs) is ReasonCode.SIGNATURE_INVALID
    ours = bench.publish("4")
    bench.serve()
    with pytest.raises(PermanentError):  # the thief's timestamp was seen: its number is higher
        bench.require(ours)
    for role in (Role.TIMESTAMP, Role.SNAPSHOT):
        ceremony.rotate(bench.owner.places, role, NEW, KNOWN, bench.owner.now)
    bench.serve()
    bench.require(ours)  # other online keys count, and what theirs had said is forgotten


def test_a_device_follows_several_rotations_from_the_root_it_was_given(bench: Bench) -> None:
    for role in (Role.TARGETS, Role.TIMESTAMP, Role.ROOT, Role.SNAPSHOT):
        ceremony.rotate(bench.owner.places, role, NEW, KNOWN, bench.owner.now)
    first = bench.publish("1")
    bench.serve()
    bench.require(first)


@pytest.mark.parametrize("year", [1970, 2020])
def test_a_clock_that_is_behind_does_not_let_expired_metadata_in(
    bench: Bench, year: int
) -> None:
    first = bench.publish("1")
    bench.serve()
    seen_at = datetime.now(UTC) + timedelta(days=3)
    TrustMemory(bench.state_dir).raise_floor(seen_at)
    behind = bench.make_trust(clock=lambda: datetime(year, 1, 1, tzinfo=UTC))
    assert bench.refused(first, trust=behind) is ReasonCode.METADATA_EXPIRED
    bench.owner.places.refresh(seen_at)
    bench.serve()
    bench.require(first, trust=behind)  # fresh by the floor: it recovers by itself
    assert TrustMemory(bench.state_dir).floor() >= seen_at.replace(microsecond=0)


def test_a_floor_that_cannot_be_read_is_the_day_of_the_release(bench: Bench) -> None:
    memory = TrustMemory(bench.state_dir)
    assert memory.floor() == RELEASED_AT
    bench.state_dir.mkdir()
    (bench.state_dir / "clock").write_text("yesterday")
    (bench.state_dir / "accepted.json").write_text("[")
    assert memory.floor() == RELEASED_AT
    assert memory.accepted("digits") == {}


def test_without_network_expired_metadata_is_named_and_fresh_metadata_is_not(
    bench: Bench,
) -> None:
    first = bench.publish("1")
    second = bench.publish("2")
    bench.serve()
    bench.require(first)
    bench.served.is_down = True
    assert bench.refused(second) is ReasonCode.CONNECTION_LOST
    later = bench.make_trust(clock=lambda: datetime.now(UTC) + timedelta(days=90))
    assert bench.refused(second, trust=later) is ReasonCode.METADATA_EXPIRED
    behind = bench.make_trust(clock=lambda: datetime(1970, 1, 1, tzinfo=UTC))
    assert bench.refused(second, trust=behind) is ReasonCode.METADATA_EXPIRED
    bench.served.is_down = False
    bench.require(second, trust=behind)


def test_a_power_cut_that_damages_what_was_kept_is_mended_from_the_network(
    bench: Bench,
) -> None:
    first = bench.publish("1")
    bench.serve()
    bench.require(first)
    for path in (bench.state_dir / "metadata").rglob("*.json"):
        path.unlink()
        path.write_bytes(b"")
    bench.require(first)


def test_a_check_asks_for_no_more_than_the_bounds_of_each_role(bench: Bench) -> None:
    first = bench.publish("1")
    bench.serve()
    bench.require(first)
    assert bench.served.asked == [
        "metadata/2.root.json",
        "metadata/timestamp.json",
        "metadata/2.snapshot.json",
        "metadata/2.targets.json",
    ]
    assert max(MAX_METADATA_BYTES.values()) <= 1 << 20
