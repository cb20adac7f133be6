"""Keys are made once, replaced, revoked; who signs and how often is what the root says."""

import stat
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tuf.api.metadata import Metadata, Root

from secateur_protocols.trust import LadderTerms
from secateur_server.errors import InputError, ServerError
from secateur_server.signing import ceremony
from secateur_server.signing.ceremony import Plan, Replacement
from secateur_server.signing.listing import Lister
from secateur_server.signing.places import Places
from secateur_server.signing.refresher import Refresher
from secateur_server.signing.repository import Repository, is_valid
from secateur_server.signing.roles import Role
from secateur_server.signing.sealed import Passphrases
from secateur_server.signing.standing import status
from support.signed import KNOWN, PASSPHRASE, SignedRegistry
from support.situations import make_ladder, write_ladder_dir

NEW = Replacement(passphrase=lambda: PASSPHRASE)


@pytest.fixture
def signed(tmp_path: Path) -> SignedRegistry:
    return SignedRegistry(tmp_path)


def keys_of(signed: SignedRegistry, role: Role) -> list[str]:
    found: list[str] = status(signed.places, signed.now)["roles"][role]["keys"]
    return found


def test_private_keys_are_closed_and_apart_from_what_is_served(signed: SignedRegistry) -> None:
    offline, online = signed.places.offline[0], signed.places.online_dir
    assert {path.name for path in offline.iterdir()} == {
        "keyring.json",
        "root-1.key",
        "targets-1.key",
    }
    for path in (*offline.iterdir(), *online.iterdir()):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert all(b"OPENSSH PRIVATE" in path.read_bytes() for path in offline.glob("*.key"))
    served = b"".join(p.read_bytes() for p in signed.metadata_dir.iterdir() if p.is_file())
    assert b"PRIVATE" not in served
    for path in online.glob("*.pem"):
        assert path.read_bytes() not in served


def test_what_is_signed_at_first_is_whole(signed: SignedRegistry) -> None:
    stands = status(signed.places, signed.now)
    assert stands["ladders"] == []
    assert {role: facts["version"] for role, facts in stands["roles"].items()} == dict.fromkeys(
        ("root", "targets", "snapshot", "timestamp"), 1
    )
    assert not any(facts["expired"] for facts in stands["roles"].values())


def test_keys_are_not_made_twice(signed: SignedRegistry) -> None:
    before = {path: path.read_bytes() for path in signed.folder.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match="made once"):
        ceremony.initialize(signed.places, Plan(), PASSPHRASE, signed.now)
    assert before == {p: p.read_bytes() for p in signed.folder.rglob("*") if p.is_file()}


def test_a_failure_while_keys_are_made_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "registry").write_text("a file where a folder has to be")
    places = Places(tmp_path / "data", (tmp_path / "keys",))
    plan = Plan(root_keys=1, root_threshold=1)
    with pytest.raises((ServerError, OSError)):
        ceremony.initialize(places, plan, PASSPHRASE, datetime.now(UTC))
    assert not (tmp_path / "keys").exists()
    assert not places.online_dir.exists()


@pytest.mark.parametrize(("keys", "threshold"), [(1, 2), (0, 0), (3, 0), (17, 2)])
def test_a_threshold_that_cannot_be_met_is_refused(keys: int, threshold: int) -> None:
    with pytest.raises(InputError, match="--root-threshold"):
        Plan(root_keys=keys, root_threshold=threshold).check()


@pytest.mark.parametrize("role", [Role.TARGETS, Role.TIMESTAMP, Role.SNAPSHOT])
def test_a_rotated_key_counts_no_longer_and_all_is_signed_by_those_that_do(
    signed: SignedRegistry, role: Role
) -> None:
    (before,) = keys_of(signed, role)
    done = ceremony.rotate(signed.places, role, NEW, KNOWN, signed.now)
    assert (done["removed"], done["root_version"]) == (before, 2)
    assert keys_of(signed, role) == [done["added"]]
    first = Metadata[Root].from_file(str(signed.root_path)).signed
    second = signed.places.repository.root()
    assert is_valid(second, Role.ROOT, first)
    facts = status(signed.places, signed.now)["roles"]
    assert not any(each["expired"] for each in facts.values())
    signed.publish(write_ladder_dir(signed.folder / "ladder", make_ladder()))
    assert status(signed.places, signed.now)["ladders"] == ["ladders/digits/1.json"]


def test_the_next_root_is_signed_by_enough_keys_of_both(tmp_path: Path) -> None:
    signed = SignedRegistry(tmp_path, plan=Plan(root_keys=2, root_threshold=2))
    first = signed.places.repository.root()
    gone = keys_of(signed, Role.ROOT)[0]
    with pytest.raises(InputError, match="say which one"):
        ceremony.rotate(signed.places, Role.ROOT, NEW, KNOWN, signed.now)
    ceremony.rotate(signed.places, Role.ROOT, NEW, KNOWN, signed.now, key=gone[:12])
    second = signed.places.repository.root()
    assert is_valid(second, Role.ROOT, first.signed)
    assert is_valid(second, Role.ROOT, second.signed)
    assert gone not in second.signed.roles[Role.ROOT].keyids


def test_too_few_keys_at_hand_sign_nothing(tmp_path: Path) -> None:
    signed = SignedRegistry(tmp_path, plan=Plan(root_keys=2, root_threshold=2))
    (signed.places.offline[0] / "root-2.key").unlink()
    before = sorted(path.name for path in signed.metadata_dir.iterdir())
    with pytest.raises(InputError, match=r"root-2\.key"):
        ceremony.renew(signed.places, KNOWN, signed.now)
    with pytest.raises(InputError, match="--keys"):
        ceremony.renew(Places(signed.places.data), KNOWN, signed.now)
    with pytest.raises(InputError, match="no passphrase opens"):
        ceremony.renew(signed.places, Passphrases(["something else"]), signed.now)
    assert before == sorted(path.name for path in signed.metadata_dir.iterdir())


def test_a_key_is_revoked_unless_its_role_could_not_sign_without_it(tmp_path: Path) -> None:
    signed = SignedRegistry(tmp_path, plan=Plan(root_keys=2, root_threshold=1))
    gone, stays = keys_of(signed, Role.ROOT)
    ceremony.revoke(signed.places, gone[:8], KNOWN, signed.now)
    assert keys_of(signed, Role.ROOT) == [stays]
    for key in (stays, keys_of(signed, Role.TARGETS)[0]):
        with pytest.raises(InputError, match="rotate"):
            ceremony.revoke(signed.places, key, KNOWN, signed.now)
    with pytest.raises(InputError, match="no role has"):
        ceremony.revoke(signed.places, gone, KNOWN, signed.now)


def test_snapshot_and_timestamp_are_signed_anew_when_half_of_their_time_is_over(
    signed: SignedRegistry,
) -> None:
    assert signed.places.refresh(signed.now) == ()
    assert signed.places.refresh(signed.now + timedelta(hours=11)) == ()
    assert signed.places.refresh(signed.now + timedelta(hours=13)) == (Role.TIMESTAMP,)
    assert signed.places.refresh(signed.now + timedelta(days=4)) == (
        Role.SNAPSHOT,
        Role.TIMESTAMP,
    )


def test_the_coordinator_takes_up_what_was_signed_elsewhere(
    signed: SignedRegistry, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "workstation"
    (elsewhere / "registry").mkdir(parents=True)
    signed.metadata_dir.rename(elsewhere / "registry" / "metadata")
    published = signed.registry.publish(write_ladder_dir(tmp_path / "ladder", make_ladder()))
    terms = LadderTerms(model="digits", version="1")
    Lister(Places(elsewhere, signed.places.offline), KNOWN).allow(
        published.ref, terms, signed.now
    )
    snapshot = Repository(elsewhere / "registry" / "metadata").snapshot()
    assert snapshot is not None
    assert snapshot.signed.version == 1  # the coordinator's key is not there
    (elsewhere / "registry" / "metadata").rename(signed.metadata_dir)
    Refresher(signed.places).look(signed.now)
    current = signed.places.repository.snapshot()
    assert current is not None
    assert current.signed.meta["targets.json"].version == 2


def test_only_so_many_old_versions_are_kept_but_every_root(signed: SignedRegistry) -> None:
    for days in range(0, 60, 4):
        signed.places.refresh(signed.now + timedelta(days=days))
    assert len(list(signed.metadata_dir.glob("*.snapshot.json"))) == 8
    ceremony.renew(signed.places, KNOWN, signed.now)
    assert {p.name for p in signed.metadata_dir.glob("*.root.json")} == {
        "1.root.json",
        "2.root.json",
    }


def test_a_version_that_is_withdrawn_is_listed_no_longer(signed: SignedRegistry) -> None:
    signed.publish(write_ladder_dir(signed.folder / "ladder", make_ladder()))
    lister = Lister(signed.places, KNOWN)
    lister.withdraw("digits", "1", signed.now)
    assert status(signed.places, signed.now)["ladders"] == []
    with pytest.raises(InputError, match="not listed"):
        lister.withdraw("digits", "1", signed.now)


def test_ssh_keygen_changes_a_passphrase(signed: SignedRegistry) -> None:
    path = signed.places.offline[0] / "targets-1.key"
    command = [
        "ssh-keygen",
        "-p",
        "-P",
        PASSPHRASE,
        "-N",
        "another passphrase",
        "-f",
        str(path),
    ]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("ssh-keygen is not installed")
    with pytest.raises(InputError, match="no passphrase opens"):
        Lister(signed.places, KNOWN)
    Lister(signed.places, Passphrases([PASSPHRASE, "another passphrase"]))


def test_a_key_that_is_not_ed25519_is_refused(signed: SignedRegistry, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415 - here alone
    from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415 - the same
        Encoding,
        PublicFormat,
    )

    public = ec.generate_private_key(ec.SECP256R1()).public_key()
    path = tmp_path / "public.pem"
    path.write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    foreign = Replacement(uri="hashivault:targets", public=path)
    with pytest.raises(InputError, match="Ed25519"):
        ceremony.rotate(signed.places, Role.TARGETS, foreign, KNOWN, signed.now)
    assert signed.places.repository.root().signed.version == 1
