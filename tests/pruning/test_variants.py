"""A user's own `.tflite` files become a ladder, and what is published is checked first."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from secateur_protocols.codec import decode_document
from secateur_protocols.manifest import Ladder, Metric
from secateur_server.errors import InputError
from secateur_server.pruning.variants import VariantsRequest, describe_variants
from secateur_server.registry.registry import Registry
from secateur_server.registry.reproducing import check_ladder

DIGITS = Path(__file__).resolve().parents[2] / "examples" / "digits"
EVALUATION = DIGITS / "evaluation.npz"


def described(paths: list[Path], out_dir: Path, evaluation: Path = EVALUATION) -> Ladder:
    request = VariantsRequest(
        paths=tuple(paths), evaluation_path=evaluation, out_dir=out_dir, model="mine"
    )
    ladder, _ = describe_variants(request)
    return ladder


def read_ladder(folder: Path) -> Ladder:
    return decode_document(Ladder, (folder / "ladder.json").read_bytes())


def write_ladder(folder: Path, ladder: Ladder) -> None:
    (folder / "ladder.json").write_text(ladder.model_dump_json(exclude_none=True))


def test_variants_are_measured_and_described_like_what_is_pruned(
    digits_ladder: Path, tmp_path: Path
) -> None:
    pruned = read_ladder(digits_ladder)
    files = [digits_ladder / f"level-{each.level}.tflite" for each in pruned.levels]
    ladder = described(files, tmp_path / "out")
    assert [each.digest for each in ladder.levels] == [each.digest for each in pruned.levels]
    assert [each.method for each in ladder.levels] == [
        "dense",
        "level-1.tflite",
        "level-2.tflite",
    ]
    for ours, theirs in zip(ladder.levels, pruned.levels, strict=True):
        assert (ours.macs, ours.parameters, ours.accuracy) == (
            theirs.macs,
            theirs.parameters,
            theirs.accuracy,
        )
    assert check_ladder(tmp_path / "out") == check_ladder(digits_ladder)
    assert Registry(tmp_path / "registry").publish(tmp_path / "out").ladder == ladder


def test_without_labels_variants_are_compared_with_the_first(
    digits_ladder: Path, tmp_path: Path
) -> None:
    with np.load(EVALUATION) as arrays:
        np.savez(tmp_path / "unlabelled.npz", x=arrays["x"])
    files = [digits_ladder / "level-0.tflite", digits_ladder / "level-2.tflite"]
    ladder = described(files, tmp_path / "out", tmp_path / "unlabelled.npz")
    assert [each.accuracy.metric for each in ladder.levels] == [Metric.AGREEMENT] * 2
    assert ladder.levels[0].accuracy.value == 1.0


def test_a_variant_that_another_beats_in_every_way_is_left_out_and_named(
    digits_ladder: Path, tmp_path: Path
) -> None:
    narrow, dense = digits_ladder / "level-2.tflite", digits_ladder / "level-0.tflite"
    padded = tmp_path / "padded.tflite"
    padded.write_bytes(narrow.read_bytes() + np.random.default_rng(1).bytes(1 << 20))
    request = VariantsRequest(
        paths=(dense, narrow, padded),
        evaluation_path=EVALUATION,
        out_dir=tmp_path / "out",
        model="mine",
    )
    ladder, left_out = describe_variants(request)
    assert [each.method for each in ladder.levels] == ["dense", "level-2.tflite"]
    assert [each.rule for each in left_out] == ["padded.tflite"]


def test_variants_that_take_other_tensors_are_refused(
    digits_ladder: Path, tmp_path: Path, shared_data: Path
) -> None:
    other = next(shared_data.rglob("*.tflite"))
    with pytest.raises(InputError, match="inputs are"):
        described([digits_ladder / "level-0.tflite", other], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_same_file_twice_is_refused(digits_ladder: Path, tmp_path: Path) -> None:
    dense = digits_ladder / "level-0.tflite"
    (tmp_path / "copy.tflite").write_bytes(dense.read_bytes())
    with pytest.raises(InputError, match="are the same"):
        described([dense, tmp_path / "copy.tflite"], tmp_path / "out")


def copy_of(ladder_dir: Path, folder: Path) -> Path:
    folder.mkdir()
    for path in ladder_dir.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def test_golden_outputs_that_an_artifact_does_not_give_are_refused(
    digits_ladder: Path, tmp_path: Path
) -> None:
    folder = copy_of(digits_ladder, tmp_path / "ladder")
    with np.load(folder / "level-1.golden.npz") as arrays:
        changed = dict(arrays)
    changed["output_0"] = changed["output_0"] + 1.0
    np.savez(folder / "level-1.golden.npz", **changed)
    with pytest.raises(InputError, match=r"level 1: its golden outputs differ .* by 1"):
        check_ladder(folder)


def test_golden_inputs_of_another_form_are_refused(digits_ladder: Path, tmp_path: Path) -> None:
    folder = copy_of(digits_ladder, tmp_path / "ladder")
    np.savez(folder / "level-0.golden.npz", input_0=np.zeros((1, 3), np.float32))
    with pytest.raises(InputError, match="level 0: its golden outputs do not fit"):
        check_ladder(folder)


def test_a_level_that_saves_nothing_is_refused(digits_ladder: Path, tmp_path: Path) -> None:
    folder = copy_of(digits_ladder, tmp_path / "ladder")
    ladder = read_ladder(folder)
    first, second, *rest = ladder.levels
    costs = ("macs", "size_bytes", "compressed_bytes", "latency", "peak_memory_bytes")
    heavy = second.model_copy(update={name: getattr(first, name) for name in costs})
    write_ladder(folder, ladder.model_copy(update={"levels": (first, heavy, *rest)}))
    with pytest.raises(InputError, match="level 1 costs no less than level 0"):
        check_ladder(folder)


def test_a_level_that_is_more_accurate_than_the_one_before_is_worth_a_word(
    digits_ladder: Path, tmp_path: Path
) -> None:
    folder = copy_of(digits_ladder, tmp_path / "ladder")
    ladder = read_ladder(folder)
    first, *rest = ladder.levels
    worse = first.model_copy(
        update={"accuracy": first.accuracy.model_copy(update={"value": 0.1})}
    )
    write_ladder(folder, ladder.model_copy(update={"levels": (worse, *rest)}))
    assert any("more accurate than level 0" in each for each in check_ladder(folder))


def secateur(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "secateur_server", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)


def test_variants_are_published_by_one_command(digits_ladder: Path, tmp_path: Path) -> None:
    files = [str(digits_ladder / f"level-{level}.tflite") for level in (0, 2)]
    done = secateur(
        *("publish", "--variant", files[0], "--variant", files[1], "--version", "7"),
        *("--evaluation", EVALUATION, "--model", "mine"),
        *("--unsigned", "--json", "--data", tmp_path / "data"),
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["model"], said["version"], said["levels"]) == ("mine", "7", 2)
    found = Registry(tmp_path / "data" / "registry").find("mine", "7")
    assert found is not None
    assert [each.method for each in found.ladder.levels] == ["dense", "level-2.tflite"]


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ([], "either a folder"),
        (["somewhere", "--variant", "a.tflite"], "either a folder"),
        (["--variant", "a.tflite"], "--evaluation"),
        (["--variant", "a.tflite", "--evaluation", "x.npz"], "a.tflite"),
    ],
)
def test_half_an_order_is_refused_in_one_line(
    tmp_path: Path, given: list[str], word: str
) -> None:
    done = secateur("publish", *given, "--unsigned", "--data", tmp_path / "data")
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("secateur: error: ")
    assert word in line
    assert not (tmp_path / "data" / "registry" / "models").exists()
