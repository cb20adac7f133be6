"""Ladders are published whole, and what was published never changes."""

import gzip
from pathlib import Path

import pytest

from secateur_server.errors import InputError
from secateur_server.registry.registry import Registry
from support.situations import make_ladder, write_ladder_dir


def test_a_published_ladder_is_found_with_all_of_its_blobs(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "registry")
    ladder = make_ladder()
    published = registry.publish(write_ladder_dir(tmp_path / "out", ladder))
    assert registry.latest() == {ladder.model: published}
    assert published.ladder == ladder
    held = {path.name for path in registry.blobs_dir.iterdir()}
    packed = {name for name in held if name.endswith(".gz")}
    assert held - packed == {
        published.ref.digest,
        *(manifest.digest for manifest in ladder.levels),
        *(manifest.golden.digest for manifest in ladder.levels),
    }


def test_what_is_smaller_in_gzip_is_kept_so_beside_itself(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "registry")
    digest = registry.publish(write_ladder_dir(tmp_path / "out", make_ladder())).ref.digest
    plain, packed = registry.blobs_dir / digest, registry.blobs_dir / f"{digest}.gz"
    assert packed.stat().st_size < plain.stat().st_size
    assert gzip.decompress(packed.read_bytes()) == plain.read_bytes()
    for path in registry.blobs_dir.iterdir():
        assert path.suffix != ".gz" or path.stat().st_size < path.with_suffix("").stat().st_size


def test_another_version_is_given_to_a_ladder_as_it_is_published(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "registry")
    folder = write_ladder_dir(tmp_path / "out", make_ladder(version="1"))
    published = registry.publish(folder, version="2026.11")
    assert published.ladder == make_ladder(version="1").model_copy(
        update={"version": "2026.11"}
    )
    with pytest.raises(InputError, match="--version"):
        registry.publish(folder, version="no version!")


def test_publishing_twice_changes_nothing(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "registry")
    folder = write_ladder_dir(tmp_path / "out", make_ladder())
    assert registry.publish(folder) == registry.publish(folder)


def test_the_version_published_last_is_the_latest(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "registry")
    first = write_ladder_dir(tmp_path / "1", make_ladder(version="1"))
    second = write_ladder_dir(tmp_path / "2", make_ladder(version="2"))
    for folder, version in ((first, "1"), (second, "2"), (first, "1")):
        registry.publish(folder)
        assert registry.latest()["digits"].ladder.version == version


def test_a_version_with_other_content_is_refused_and_the_old_one_stays(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "registry")
    published = registry.publish(write_ladder_dir(tmp_path / "a", make_ladder()))
    other = make_ladder(accuracies=(0.9, 0.8, 0.7, 0.6))
    with pytest.raises(InputError, match="prune with another --version"):
        registry.publish(write_ladder_dir(tmp_path / "b", other))
    assert registry.latest() == {"digits": published}


@pytest.mark.parametrize("name", ["ladder.json", "level-1.tflite", "level-2.golden.npz"])
def test_a_folder_that_is_not_whole_is_refused_and_nothing_is_published(
    tmp_path: Path, name: str
) -> None:
    registry = Registry(tmp_path / "registry")
    folder = write_ladder_dir(tmp_path / "out", make_ladder())
    (folder / name).unlink()
    with pytest.raises(InputError, match=name):
        registry.publish(folder)
    assert registry.latest() == {}
    assert not registry.blobs_dir.exists()


def test_an_artifact_that_was_changed_after_pruning_is_refused(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "registry")
    folder = write_ladder_dir(tmp_path / "out", make_ladder())
    (folder / "level-3.tflite").write_bytes(b"something else")
    with pytest.raises(InputError, match=r"level-3\.tflite"):
        registry.publish(folder)
    assert registry.latest() == {}


def test_a_ladder_document_that_is_damaged_on_disk_is_left_out(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "registry")
    registry.publish(write_ladder_dir(tmp_path / "out", make_ladder()))
    registry.publish(write_ladder_dir(tmp_path / "kws", make_ladder(model="kws")))
    (tmp_path / "registry" / "models" / "kws" / "1.json").write_bytes(b"{")
    assert set(registry.latest()) == {"digits"}


def test_the_first_version_is_the_stable_one_until_another_is_noted(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "registry")
    first, second = (
        registry.publish(write_ladder_dir(tmp_path / version, make_ladder(version=version)))
        for version in "12"
    )
    assert registry.latest() == {"digits": second}
    assert registry.stable() == {"digits": first}
    assert registry.find("digits", "1") == first
    assert registry.find("digits", "3") is None
    registry.note_stable("digits", "2")
    assert registry.stable() == {"digits": second}


def test_a_registry_from_before_rollouts_begins_with_what_devices_had(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "registry")
    for version in "12":
        registry.publish(write_ladder_dir(tmp_path / version, make_ladder(version=version)))
    (tmp_path / "registry" / "models" / "digits" / "stable").unlink()
    assert registry.stable()["digits"].ladder.version == "2"
    registry.publish(write_ladder_dir(tmp_path / "3", make_ladder(version="3")))
    assert registry.stable()["digits"].ladder.version == "2"
