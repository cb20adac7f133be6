"""What the device keeps, on real files: damaged, cut, and swept."""

import hashlib
import os
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from secateur_agent.adapters.store import Store
from secateur_agent.core.swap import Artifact, Target
from secateur_agent.errors import AgentError, TransientError
from secateur_protocols.ids import Digest
from secateur_protocols.ota import ReasonCode
from support import ladders

BLOB = b"artifact" * 1000
on_disk = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    opened = Store(tmp_path / "state")
    opened.open()
    return opened


def put(store: Store, content: bytes) -> Digest:
    digest = hashlib.sha256(content).hexdigest()
    store.staging_path(digest).write_bytes(content)
    store.admit(digest)
    return digest


def committed(store: Store, content: bytes = BLOB) -> Artifact:
    manifest = ladders.manifest(1).model_copy(update={"digest": put(store, content)})
    artifact = Artifact(Target(ladders.reference(), 1), manifest)
    store.commit("digits", artifact)
    return artifact


def test_every_boot_has_a_larger_number_than_all_before(tmp_path: Path) -> None:
    boots = [Store(tmp_path / "state").open().boot for _ in range(5)]
    assert boots == sorted(set(boots))
    assert boots[0] == 1


@on_disk
@given(shift_s=st.integers(-(10**9), 10**9))
def test_a_clock_that_jumps_by_years_never_makes_a_boot_number_smaller(
    tmp_path: Path, shift_s: int
) -> None:
    """The last boot seems to be that long ago, or to lie in the future."""
    store = Store(tmp_path / "state")
    before = store.open().boot
    written_s = max(0.0, time.time() - shift_s)
    os.utime(tmp_path / "state" / "boot", (written_s, written_s))
    assert store.open().boot > before


def test_a_folder_that_cannot_be_made_is_an_agent_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(AgentError):
        Store(tmp_path / "file").open()


def test_what_was_committed_is_recalled_after_a_restart(store: Store, tmp_path: Path) -> None:
    artifact = committed(store)
    store.refuse("digits", ladders.digest_of("bad"), 2)
    kept = Store(tmp_path / "state").recall("digits")
    assert kept.incumbent == artifact
    assert kept.refusals == {ladders.digest_of("bad"): 2}


def test_a_commit_keeps_refusals_and_a_pardon_forgets_one(store: Store) -> None:
    bad, worse = ladders.digest_of("bad"), ladders.digest_of("worse")
    store.refuse("digits", bad, 1)
    store.refuse("digits", worse, 3)
    committed(store)
    store.refuse("digits", bad, 0)
    assert store.recall("digits").refusals == {worse: 3}


def test_a_commit_forgives_the_artifact_in_the_same_write(store: Store) -> None:
    digest = put(store, BLOB)
    store.refuse("digits", digest, 1)
    committed(store)
    assert store.recall("digits").refusals == {}


@on_disk
@given(place=st.integers(0, len(BLOB) - 1), bit=st.integers(0, 7))
def test_a_flipped_bit_is_found_and_the_blob_is_deleted(
    store: Store, place: int, bit: int
) -> None:
    artifact = committed(store)
    path = store.blob_path(artifact.digest)
    damaged = bytearray(BLOB)
    damaged[place] ^= 1 << bit
    path.write_bytes(damaged)
    with pytest.raises(TransientError) as caught:
        store.read(artifact.digest)
    assert caught.value.reason is ReasonCode.DIGEST_MISMATCH
    kept = store.recall("digits")
    assert kept.incumbent is None
    assert kept.problem is not None
    assert artifact.digest[:12] in kept.problem
    assert not path.exists()


def test_what_was_committed_before_takes_the_place_of_what_is_damaged(store: Store) -> None:
    before = committed(store, b"before")
    now = committed(store, b"now")
    store.sweep([now.digest])
    store.blob_path(now.digest).write_bytes(b"not")
    kept = store.recall("digits")
    assert kept.incumbent == before
    assert kept.problem is not None


@on_disk
@given(length=st.integers(0, len(BLOB) - 1))
def test_a_blob_that_was_cut_is_not_held(store: Store, length: int) -> None:
    digest = put(store, BLOB)
    store.blob_path(digest).write_bytes(BLOB[:length])
    assert not store.holds(digest)
    assert not store.blob_path(digest).exists()


def test_only_what_hashes_to_its_name_is_admitted(store: Store) -> None:
    digest = ladders.digest_of("something else")
    store.staging_path(digest).write_bytes(BLOB)
    with pytest.raises(TransientError) as caught:
        store.admit(digest)
    assert caught.value.reason is ReasonCode.DIGEST_MISMATCH
    assert not store.staging_path(digest).exists()
    assert store.held() == ()


@on_disk
@given(garbage=st.binary(max_size=300))
def test_a_record_that_is_garbage_is_none_and_can_be_written_again(
    store: Store, tmp_path: Path, garbage: bytes
) -> None:
    (tmp_path / "state" / "models" / "digits.json").write_bytes(garbage)
    assert store.recall("digits").incumbent is None
    artifact = committed(store)
    assert store.recall("digits").incumbent == artifact


@pytest.mark.parametrize("garbage", [b"", b"-", b"\xff", b"x" * 100])
def test_a_boot_counter_that_is_garbage_begins_again(tmp_path: Path, garbage: bytes) -> None:
    store = Store(tmp_path / "state")
    store.open()
    (tmp_path / "state" / "boot").write_bytes(garbage)
    assert store.open().boot == 1


def test_a_sweep_keeps_what_it_is_told_and_nothing_else(store: Store) -> None:
    kept, gone = put(store, b"kept"), put(store, b"gone")
    store.staging_path(ladders.digest_of("cut")).write_bytes(b"cu")
    store.sweep([kept])
    assert store.held() == (kept,)
    assert not store.holds(gone)
    assert not store.staging_path(ladders.digest_of("cut")).exists()


def test_a_ladder_document_is_read_as_it_was_published(store: Store) -> None:
    ladder = ladders.ladder()
    document = ladder.model_dump_json().encode()
    digest = put(store, document)
    ref = ladders.reference().model_copy(update={"digest": digest, "size_bytes": len(document)})
    assert store.read_ladder(ref) == ladder


@pytest.mark.parametrize("name", ["lost+found", "a" * 64 + ".zst", "A" * 64])
def test_what_others_leave_among_the_blobs_is_not_told(store: Store, name: str) -> None:
    kept = put(store, b"kept")
    store.blob_path(name).write_bytes(b"not ours")
    assert store.held() == (kept,)
