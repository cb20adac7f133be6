"""What a file holds besides the network survives, byte for byte; what can be pruned is."""

from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from secateur_server.errors import InputError
from secateur_server.pruning.apply import apply
from secateur_server.pruning.channels import find_channels
from secateur_server.pruning.flatbuffer import OUTSIDE, Source, Tree, read_model, write_model
from secateur_server.pruning.graph import read_graph
from secateur_server.pruning.narrowing import narrow
from secateur_server.pruning.rules import RULES
from support.slicing import assert_alike, follow, masked, staying, without
from support.tiny_models import Array, Network, pack, run

GONE = {"first": [0, 2, 5]}


def draw(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


IMAGE = draw(0, 1, 6, 6, 3)


def plain(net: Network | None = None, batch: int = 1) -> tuple[Network, int]:
    net = net or Network()
    x = net.conv(net.input(batch, 6, 6, 3), draw(1, 6, 3, 3, 3), draw(2, 6), name="first")
    return net, net.conv(x, draw(3, 4, 1, 1, 6), draw(4, 4), name="last")


def parse(content: bytes) -> Tree:
    return schema.ModelT.InitFromPackedBuf(content, 0)


def in_file(folder: Path, content: bytes) -> Path:
    path = folder / "model.tflite"
    path.write_bytes(content)
    return path


def without_in_file(source: Source) -> bytes:
    """Prune what was read from a file."""
    tree = source.tree()
    graph = read_graph(tree)
    channels = find_channels(graph, RULES)
    apply(tree, graph, narrow(graph, channels, staying(graph, channels, GONE)))
    return write_model(tree)


def test_metadata_description_and_signatures_survive() -> None:
    net, last = plain()
    model = net.model
    model.description = "made by hand"
    model.metadata = []
    for name, content in (("TFLITE_METADATA", b"\x00\x01labels"), ("min_version", b"1.5.0")):
        metadata = schema.MetadataT()
        metadata.name, metadata.buffer = name, net.add_buffer(np.frombuffer(content, np.uint8))
        model.metadata.append(metadata)
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = "serving_default", 0
    for role, tensor in (("inputs", 0), ("outputs", last)):
        named = schema.TensorMapT()
        named.name, named.tensorIndex = role[:-1], tensor
        setattr(signature, role, [named])
    model.signatureDefs = [signature]
    pruned = parse(without(net.finish(last), GONE))
    assert pruned.description == b"made by hand"
    held = {each.name: bytes(pruned.buffers[each.buffer].data) for each in pruned.metadata}
    assert held == {b"TFLITE_METADATA": b"\x00\x01labels", b"min_version": b"1.5.0"}
    runner = Interpreter(model_content=pack(pruned)).get_signature_runner("serving_default")
    assert runner(input=IMAGE)["output"].shape == (1, 6, 6, 4)


def test_metadata_that_shares_a_buffer_with_weights_keeps_its_bytes() -> None:
    net, last = plain()
    metadata = schema.MetadataT()
    metadata.name, metadata.buffer = "weights", net.graph.tensors[1].buffer
    net.model.metadata = [metadata]
    content = net.finish(last)
    before, after = parse(content), parse(without(content, GONE))
    kept = after.buffers[after.metadata[0].buffer].data
    assert kept.tobytes() == before.buffers[before.metadata[0].buffer].data.tobytes()


def test_every_buffer_is_aligned() -> None:
    net, last = plain()
    pruned = without(net.finish(last), GONE)
    model = schema.Model.GetRootAs(pruned, 0)
    places = []
    for k in range(model.BuffersLength()):
        buffer = model.Buffers(k)
        if buffer.DataLength():
            places.append(buffer._tab.Vector(buffer._tab.Offset(4)))
    assert places
    assert all(place % 16 == 0 for place in places)


def test_buffers_behind_the_flatbuffer_are_pruned_and_stay_there(tmp_path: Path) -> None:
    net, last = plain()
    inside = net.finish(last)
    tree = parse(inside)
    for buffer in tree.buffers[1:]:
        buffer.offset = OUTSIDE
    outside = write_model(tree)
    stored = parse(outside)
    assert all(each.data is None and each.offset % 16 == 0 for each in stored.buffers[1:])
    source = read_model(in_file(tmp_path, outside))
    pruned = without_in_file(source)
    assert all(each.data is None for each in parse(pruned).buffers[1:])
    assert_alike(run(pruned, IMAGE), run(without(inside, GONE), IMAGE), 0)
    assert run(outside, IMAGE)[0].tobytes() == run(inside, IMAGE)[0].tobytes()


def test_options_of_custom_operators_behind_the_flatbuffer_survive(tmp_path: Path) -> None:
    net, last = plain()
    net.add("Mystery", last, shapes=[(1, 6, 6, 4)], custom=b"\x07")
    tree = parse(net.finish(last))
    operator = tree.subgraphs[0].operators[-1]
    operator.outside = np.frombuffer(b"many options", np.uint8)
    operator.largeCustomOptionsSize = len(operator.outside)
    written = write_model(tree)
    source = read_model(in_file(tmp_path, written), must_run=False)
    assert "Mystery" in source.refusal
    again = parse(write_model(source.tree())).subgraphs[0].operators[-1]
    at = again.largeCustomOptionsOffset
    assert write_model(source.tree())[at : at + 12] == b"many options"


def test_a_batch_of_any_size_stays_so() -> None:
    net, last = plain(batch=-1)
    content = net.finish(last)
    pruned = without(content, GONE)
    signatures = [each.shapeSignature for each in parse(pruned).subgraphs[0].tensors]
    assert signatures[0].tolist() == [-1, 6, 6, 3]
    results = []
    for each in (pruned, masked(content, GONE)):
        interpreter = Interpreter(model_content=each)
        interpreter.resize_tensor_input(0, [5, 6, 6, 3])
        interpreter.allocate_tensors()
        interpreter.set_tensor(0, draw(9, 5, 6, 6, 3))
        interpreter.invoke()
        results.append([interpreter.get_tensor(interpreter.get_output_details()[0]["index"])])
    assert_alike(results[0], results[1], 1e-5)


def second_subgraph(net: Network) -> None:
    """Add another subgraph that uses the weights of the first."""
    first, net.graph = net.graph, net.add_subgraph()
    x = net.input(1, 6, 6, 3)
    weights, bias = (
        net._tensor(f"shared {k}", "float32", first.tensors[k].shape) for k in (1, 2)
    )
    net.graph.tensors[weights].buffer = first.tensors[1].buffer
    net.graph.tensors[bias].buffer = first.tensors[2].buffer
    y = net.op(
        "CONV_2D", x, weights, bias, strideH=1, strideW=1, dilationHFactor=1, dilationWFactor=1
    )
    net.graph.outputs = np.array([y], np.int32)
    net.graph = first


def test_another_subgraph_keeps_the_weights_that_it_shares() -> None:
    net, last = plain()
    second_subgraph(net)
    before = parse(net.finish(last))
    after = parse(without(pack(before), GONE))
    assert len(after.subgraphs) == 2
    old, new = before.subgraphs[1], after.subgraphs[1]
    for one, other in zip(old.tensors, new.tensors, strict=True):
        assert one.shape.tolist() == other.shape.tolist()
        kept, was = after.buffers[other.buffer].data, before.buffers[one.buffer].data
        assert (kept is None) == (was is None)
        assert kept is None or kept.tobytes() == was.tobytes()
    assert run(pack(after), IMAGE)[0].shape == (1, 6, 6, 4)


@pytest.mark.parametrize("kind", ["IF", "WHILE"])
def test_control_flow_stays_whole_and_what_is_around_it_is_pruned(kind: str) -> None:
    net = Network()
    x = net.conv(net.input(1, 6, 6, 3), draw(1, 6, 3, 3, 3), name="first")
    x = net.conv(x, draw(2, 4, 1, 1, 6), name="second")
    first = net.graph
    if kind == "IF":
        is_chosen = net.constant(np.array(True))
        shapes = [(1, 6, 6, 4)]
        x = net.add(
            "IF", is_chosen, x, shapes=shapes, thenSubgraphIndex=1, elseSubgraphIndex=2
        )[0]
        bodies = [("NEG", "float32"), ("ABS", "float32")]
    else:
        shapes = [(1, 6, 6, 4)]
        x = net.add("WHILE", x, shapes=shapes, condSubgraphIndex=1, bodySubgraphIndex=2)[0]
        bodies = [("ALL_POSITIVE", "bool"), ("ABS", "float32")]
    x = net.conv(x, draw(3, 5, 1, 1, 4), name="third")
    x = net.conv(x, draw(4, 2, 1, 1, 5))
    for body, _ in bodies:
        net.graph = net.add_subgraph()
        inner = net.input(1, 6, 6, 4)
        net.graph.outputs = np.array([_body(net, body, inner)], np.int32)
    net.graph = first
    content = net.finish(x)
    _, channels = follow(content)
    assert {group.name for group in channels.groups if not group.frozen} == {"first", "third"}
    assert [each.operator for each in channels.frozen] == [kind]
    gone = {"first": [1], "third": [0, 4]}
    pruned = without(content, gone)
    assert_alike(run(pruned, IMAGE), run(masked(content, gone), IMAGE), 1e-5)


def _body(net: Network, kind: str, x: int) -> int:
    if kind != "ALL_POSITIVE":
        return net.op(kind, x)
    axes = net.constant(np.array([0, 1, 2, 3], np.int32))
    least = net.op("REDUCE_MIN", x, axes)
    return net.add("LESS", least, net.constant(np.float32(0)), shapes=[()], dtype="bool")[0]


def test_constants_that_cannot_be_read_survive_byte_for_byte() -> None:
    net = Network()
    x = net.conv(net.input(1, 6, 6, 3), draw(1, 6, 3, 3, 3), name="first")
    odd = net._tensor("odd", "int4", (4, 1, 1, 6))
    net.graph.tensors[odd].buffer = net.add_buffer(np.arange(12, dtype=np.uint8))
    y = net.add("CONV_2D", x, odd, shapes=[(1, 6, 6, 4)], name="second")[0]
    z = net.conv(y, draw(2, 5, 1, 1, 4), name="third")
    content = net.finish(net.conv(z, draw(3, 4, 1, 1, 5)))
    _, channels = follow(content)
    assert {group.name for group in channels.groups if not group.frozen} == {"third"}
    tree = parse(without(content, {"third": [1, 2]}))
    stored = tree.subgraphs[0].tensors[odd]
    assert tree.buffers[stored.buffer].data.tobytes() == bytes(range(12))


def test_sparse_constants_survive_as_they_are_stored() -> None:
    net = Network()
    x = net.conv(net.input(1, 6, 6, 3), draw(1, 6, 3, 3, 3), name="first")
    held = net._tensor("sparse", "float32", (4, 1, 1, 6))
    stored = net.graph.tensors[held]
    stored.buffer = net.add_buffer(draw(5, 8))
    stored.sparsity = two_of_six(rows=4)
    weights = net.add("DENSIFY", held, shapes=[(4, 1, 1, 6)])[0]
    bias = net.constant(draw(6, 4))
    strides = {"strideH": 1, "strideW": 1, "dilationHFactor": 1, "dilationWFactor": 1}
    y = net.op("CONV_2D", x, weights, bias, **strides)  # type: ignore[arg-type]
    z = net.conv(y, draw(2, 5, 1, 1, 4), name="third")
    content = net.finish(net.conv(z, draw(3, 4, 1, 1, 5)))
    _, channels = follow(content)
    assert {group.name for group in channels.groups if not group.frozen} == {"third"}
    gone = {"third": [1, 2]}
    pruned = without(content, gone)
    assert_alike(run(pruned, IMAGE), run(masked(content, gone), IMAGE), 1e-5)
    before, after = (
        parse(each).subgraphs[0].tensors[held].sparsity for each in (content, pruned)
    )
    for one, other in zip(before.dimMetadata, after.dimMetadata, strict=True):
        assert (one.format, one.denseSize) == (other.format, other.denseSize)
    last = after.dimMetadata[-1]
    assert last.arrayIndices.values.tolist() == [1, 4] * 4


def two_of_six(rows: int) -> Tree:
    """Describe [rows, 1, 1, 6] with columns 1 and 4 of each row."""
    sparsity = schema.SparsityParametersT()
    sparsity.traversalOrder = np.arange(4, dtype=np.int32)
    sparsity.dimMetadata = []
    for size in (rows, 1, 1):
        dense = schema.DimensionMetadataT()
        dense.format, dense.denseSize = schema.DimensionType.DENSE, size
        sparsity.dimMetadata.append(dense)
    columns = schema.DimensionMetadataT()
    columns.format = schema.DimensionType.SPARSE_CSR
    columns.arraySegmentsType = columns.arrayIndicesType = schema.SparseIndexVector.Int32Vector
    columns.arraySegments, columns.arrayIndices = schema.Int32VectorT(), schema.Int32VectorT()
    columns.arraySegments.values = np.arange(0, 2 * rows + 1, 2, dtype=np.int32)
    columns.arrayIndices.values = np.array([1, 4] * rows, np.int32)
    sparsity.dimMetadata.append(columns)
    return sparsity


def test_constants_in_another_file_are_left_alone() -> None:
    net, last = plain()
    group, held = schema.ExternalBufferGroupT(), schema.ExternalBufferT()
    group.name, held.id, held.length = "weights.bin", 1, 24 * 4
    net.model.externalBufferGroups, net.model.externalBuffers = [group], [held]
    weights = next(t for t in net.graph.tensors if list(t.shape) == [4, 1, 1, 6])
    weights.buffer, weights.externalBuffer = 0, 1
    _, channels = follow(net.finish(last))
    assert all(group.frozen for group in channels.groups)


def test_variables_are_left_alone(tmp_path: Path) -> None:
    net = Network()
    handle = net.add("VAR_HANDLE", shapes=[()], dtype="resource", sharedName="state")[0]
    x = net.conv(net.input(1, 6, 6, 3), draw(1, 6, 3, 3, 3), name="first")
    x = net.conv(x, draw(2, 4, 1, 1, 6), name="second")
    net.add("ASSIGN_VARIABLE", handle, x, shapes=[])
    state = net.add("READ_VARIABLE", handle, shapes=[(1, 6, 6, 4)])[0]
    x = net.conv(net.op("ADD", x, state), draw(3, 5, 1, 1, 4), name="third")
    content = net.finish(net.conv(x, draw(4, 2, 1, 1, 5)))
    read_model(in_file(tmp_path, content))
    _, channels = follow(content)
    assert {group.name for group in channels.groups if not group.frozen} == {"first", "third"}
    gone = {"first": [1], "third": [0, 4]}
    assert_alike(run(without(content, gone), IMAGE), run(masked(content, gone), IMAGE), 1e-5)


def test_shapes_that_the_file_does_not_tell_are_asked_of_the_engine(tmp_path: Path) -> None:
    net, last = plain()
    whole = net.finish(last)
    tree = parse(whole)
    (untold,) = (each for each in tree.subgraphs[0].tensors if each.name == b"first")
    untold.shape = np.zeros(0, np.int32)
    source = read_model(in_file(tmp_path, pack(tree)))
    assert list(source.shapes.values()) == [(1, 6, 6, 6)]
    pruned = without_in_file(source)
    assert_alike(run(pruned, IMAGE), run(masked(whole, GONE), IMAGE), 1e-5)


def test_a_model_that_the_engine_does_not_run_can_be_read_but_not_pruned(
    tmp_path: Path,
) -> None:
    net, last = plain()
    mystery = net.add("Mystery", last, shapes=[(1, 6, 6, 4)], custom=b"\x07")[0]
    path = in_file(tmp_path, net.finish(mystery))
    assert "Mystery" in read_model(path, must_run=False).refusal
    with pytest.raises(InputError, match="Mystery"):
        read_model(path)
