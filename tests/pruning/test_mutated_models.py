"""Damaged files: a clear refusal or a valid result, in bounded time and memory."""

import resource
import struct
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from secateur_server.errors import InputError
from secateur_server.pruning.apply import apply
from secateur_server.pruning.channels import Channels, find_channels
from secateur_server.pruning.checking import Checker
from secateur_server.pruning.flatbuffer import Source, write_model
from secateur_server.pruning.graph import read_graph
from secateur_server.pruning.narrowing import Stays, everything, narrow
from secateur_server.pruning.rules import RULES
from support import quantized_twins
from support.tiny_models import Array, Network

DIGITS = Path(__file__).resolve().parents[2] / "examples" / "digits" / "digits.tflite"
MEMORY_KB = 1 << 20
"""How much the process that prunes may grow."""

CHECK_S = 20.0

Random = np.random.Generator


def draw(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def small() -> bytes:
    """Have many kinds of operators in few bytes, so that most mutations hit structure."""
    net = Network()
    x = net.conv(net.input(1, 6, 6, 3), draw(1, 4, 3, 3, 3), draw(2, 4))
    x = net.op("ADD", x, net.depthwise(x, draw(3, 1, 3, 3, 4)))
    parts = net.add("SPLIT", net.constant(np.int32(3)), x, count=2, numSplits=2)
    x = net.op("CONCATENATION", *parts, parts[0], axis=3)
    x = net.op("PAD", x, net.constant(np.array([[0, 0], [1, 0], [0, 0], [0, 0]], np.int32)))
    x = net.op("RESIZE_BILINEAR", x, net.constant(np.array([4, 4], np.int32)))
    x = net.op("TRANSPOSE", x, net.constant(np.array([0, 2, 1, 3], np.int32)))
    first, last = (net.constant(np.array([0, k, 0, 0], np.int32)) for k in (1, 3))
    one = net.constant(np.array([1, 1, 1, 1], np.int32))
    x = net.op("STRIDED_SLICE", x, first, last, one, beginMask=13, endMask=13)
    x = net.op("RESHAPE", x, net.constant(np.array([1, -1], np.int32)))
    return net.finish(net.op("SOFTMAX", net.dense(x, draw(4, 3, 48), draw(5, 3)), beta=1.0))


def quantized() -> bytes:
    samples = [(draw(k, 1, 6, 6, 3),) for k in range(3)]
    return quantized_twins.int8(small(), *samples)


def truncate(content: bytearray, random: Random) -> None:
    del content[int(random.integers(8, len(content))) :]


def flip_bits(content: bytearray, random: Random) -> None:
    for _ in range(int(random.integers(1, 9))):
        content[int(random.integers(8, len(content)))] ^= 1 << int(random.integers(8))


def write_large_numbers(content: bytearray, random: Random) -> None:
    """Hit offsets, lengths and shapes."""
    large = [0xFFFFFFFF, 0x7FFFFFFF, 0x80000000, 0x40000000, 0x10000, 0, 1, 255]
    for _ in range(int(random.integers(1, 4))):
        place = 4 * int(random.integers(2, len(content) // 4))
        struct.pack_into("<I", content, place, int(random.choice(large)))


def cross_offsets(content: bytearray, random: Random) -> None:
    """Let offsets point at other tables, at themselves, or back: cycles and aliases."""
    for _ in range(int(random.integers(1, 6))):
        place, target = (4 * int(random.integers(2, len(content) // 4)) for _ in range(2))
        struct.pack_into("<I", content, place, (target - place) & 0xFFFFFFFF)


def copy_pieces(content: bytearray, random: Random) -> None:
    length = int(random.integers(1, 64))
    source, target = (int(random.integers(8, len(content) - length)) for _ in range(2))
    content[target : target + length] = content[source : source + length]


MUTATIONS: tuple[Callable[[bytearray, Random], None], ...] = (
    truncate,
    flip_bits,
    write_large_numbers,
    cross_offsets,
    copy_pieces,
)


def mutate(models: list[bytes], number: int) -> bytes:
    random = np.random.default_rng(number)
    content = bytearray(models[number % len(models)])
    MUTATIONS[int(random.integers(len(MUTATIONS)))](content, random)
    return bytes(content)


def narrowest(channels: Channels) -> Stays:
    """Let all channels leave that may, but for one of each group."""
    stays = everything(channels)
    for group in channels.groups:
        if not group.frozen:
            stays[group.channels[1:]] = False
    return stays


def prune(source: Source) -> bytes:
    tree = source.tree()
    graph = read_graph(tree)
    channels = find_channels(graph, RULES)
    apply(tree, graph, narrow(graph, channels, narrowest(channels)))
    return write_model(tree)


def outcome(checker: Checker, path: Path, content: bytes) -> str:
    """Read and prune one file; whatever is neither refused nor valid fails the test."""
    path.write_bytes(content)
    verdict = checker.check(path)
    if verdict.damage:
        return "damaged" if "crash" not in verdict.damage else "crashed the child"
    source = Source(path, content, verdict.refusal, verdict.shapes)
    try:
        pruned = prune(source)
    except InputError:
        return "refused"
    path.write_bytes(pruned)
    after = checker.check(path)
    assert not after.damage, after.damage
    if verdict.refusal:
        return "valid, but not for this engine"
    if after.refusal:  # only if that is not our doing: shapes as they are suffice for it
        path.write_bytes(write_model(source.tree()))
        assert checker.check(path).refusal, after.refusal
        return "refused with the shapes that it has"
    return "valid"


def assert_all_end_well(numbers: range, folder: Path) -> None:
    models = [small(), quantized(), DIGITS.read_bytes()]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seen: Counter[str] = Counter()
    with Checker(CHECK_S) as checker:
        for number in numbers:
            try:
                found = outcome(checker, folder / "mutated.tflite", mutate(models, number))
            except Exception as error:
                msg = f"mutation {number}: {type(error).__name__}: {error}"
                raise AssertionError(msg) from error
            seen[found] += 1
    assert sum(seen.values()) == len(numbers)
    assert seen["damaged"] > 0
    assert seen["valid"] > 0
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MEMORY_KB
    print(dict(seen))  # noqa: T201 - shown with -s


@pytest.mark.slow
def test_damaged_files_are_refused_or_pruned(tmp_path: Path) -> None:
    assert_all_end_well(range(1000), tmp_path)


@pytest.mark.nightly
@pytest.mark.timeout(1800)
def test_many_more_damaged_files_are_refused_or_pruned(tmp_path: Path) -> None:
    assert_all_end_well(range(1000, 5000), tmp_path)
