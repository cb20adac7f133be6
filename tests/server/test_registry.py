"""Ladders are published whole, and what was published never changes."""

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
    assert held == {
        published.ref.digest,
        *(manifest.digest for manifest in ladder.levels),
        *(manifest.golden.digest for manifest in ladder.levels),
    }


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
