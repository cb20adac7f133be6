"""Int8 twins of artifacts in floats, by post-training quantization.

Weights and activations become int8; the network's inputs and outputs stay float32, so that
all levels of a ladder take and give the same. Ranges come from the calibration set.
"""

import contextlib
import io
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from secateur_server.errors import InputError
from secateur_server.pruning.execution import Values
from secateur_server.pruning.flatbuffer import Source, Tree, write_model
from secateur_server.pruning.sparse.editing import add_buffer, drop_unused_buffers

CALIBRATION_SAMPLES = 256
"""Samples that ranges are taken from: more move them little."""

SIGNATURE = b"secateur"
"""Given to a model that has no signature while it is quantized."""


MENTIONS = ("inputs", "outputs", "intermediates")
"""Fields in which an operator tells of tensors by number; a subgraph has the first two."""


class CannotQuantizeError(Exception):
    """The quantizer does not take this network; the message says why."""


def check_quantizer() -> None:
    """Make sure that the quantizer is installed.

    Raises:
        InputError: It is not.
    """
    try:
        import ai_edge_quantizer  # noqa: F401, PLC0415 - an extra
    except ImportError as error:
        raise InputError(
            "--precision int8 needs the quantizer: pip install 'secateur[int8]'"
        ) from error


def int8_twin(content: bytes, feeds: Mapping[int, Values]) -> bytes:
    """Quantize an artifact in float32 or float16.

    Args:
        content: The artifact.
        feeds: The calibration set by input tensor, [n, *shape].

    Returns:
        An artifact with int8 inside and the same inputs and outputs.

    Raises:
        CannotQuantizeError: The quantizer refuses it.
    """
    from ai_edge_quantizer import quantizer  # noqa: PLC0415 - an extra, and slow to import

    tree = _tree(content)
    added = not tree.signatureDefs
    if added:
        tree.signatureDefs = [_signature(tree)]
    key, names = _names(tree)
    count = min(CALIBRATION_SAMPLES, len(next(iter(feeds.values()))))
    samples = [{names[tensor]: rows[k] for tensor, rows in feeds.items()} for k in range(count)]
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            work = quantizer.Quantizer(write_model(tree), _recipe())
            ranges = work.calibrate({key: samples}, num_threads=2)
            done = work.quantize(
                ranges, enable_progress_bar=False, enable_progress_report=False
            )
    except Exception as error:  # whatever the quantizer raises on a network it cannot take
        said = str(error).strip().splitlines()
        raise CannotQuantizeError(said[0][:200] if said else type(error).__name__) from error
    twin = bytes(done.quantized_model)
    return _without_signature(twin) if added else twin


def _tree(content: bytes) -> Tree:
    """Read an artifact as the quantizer takes it.

    That is with constants in float32, with its operators named in the newer of two fields,
    and without tensors that have no part in it, as where a block was taken out.
    """
    tree = Source(Path("twin"), content).tree()
    for code in tree.operatorCodes:
        code.builtinCode = max(code.builtinCode, code.deprecatedBuiltinCode)
    _unpack_halves(tree)
    _drop_unread(tree)
    return tree


def _unpack_halves(tree: Tree) -> None:
    """Do once what operators would do with constants in float16 at each start."""
    subgraph = tree.subgraphs[0]
    for each in [one for one in subgraph.operators if _unpacks_halves(tree, one)]:
        packed, floats = (subgraph.tensors[k] for k in (each.inputs[0], each.outputs[0]))
        data = np.asarray(tree.buffers[packed.buffer].data, np.uint8).tobytes()
        values = np.frombuffer(data, np.float16).astype(np.float32)
        floats.buffer = add_buffer(tree, values)
        subgraph.operators.remove(each)


def _unpacks_halves(tree: Tree, operator: Tree) -> bool:
    code = tree.operatorCodes[operator.opcodeIndex].builtinCode
    if code != schema.BuiltinOperator.DEQUANTIZE:
        return False
    packed = tree.subgraphs[0].tensors[operator.inputs[0]]
    is_constant = tree.buffers[packed.buffer].data is not None
    return bool(packed.type == schema.TensorType.FLOAT16 and is_constant)


def _drop_unread(tree: Tree) -> None:
    """Take out what no operator reads or makes: the quantizer asks all tensors for data."""
    subgraph = tree.subgraphs[0]
    mentions = [(each, name) for each in subgraph.operators for name in MENTIONS]
    mentions += [(subgraph, name) for name in MENTIONS[:2]]
    mentioned = [getattr(each, name) for each, name in mentions]
    read = sorted({int(k) for some in mentioned if some is not None for k in some if k >= 0})
    number = {before: now for now, before in enumerate(read)} | {-1: -1}
    for (each, name), some in zip(mentions, mentioned, strict=True):
        if some is not None:
            setattr(each, name, np.array([number[int(k)] for k in some], np.int32))
    for signature in tree.signatureDefs or ():
        if signature.subgraphIndex == 0:
            for entry in (*signature.inputs, *signature.outputs):
                entry.tensorIndex = number[int(entry.tensorIndex)]
    subgraph.tensors = [subgraph.tensors[k] for k in read]
    drop_unused_buffers(tree)


def _recipe() -> list[dict[str, object]]:
    from ai_edge_quantizer import recipe, recipe_manager  # noqa: PLC0415 - an extra

    manager = recipe_manager.RecipeManager()
    manager.load_quantization_recipe(recipe.static_wi8_ai8())
    for kind in (recipe.TFLOperationName.INPUT, recipe.TFLOperationName.OUTPUT):
        manager.add_quantization_config(
            regex=".*",
            operation_name=kind,
            algorithm_key=recipe.AlgorithmName.NO_QUANTIZE,
        )
    found: list[dict[str, object]] = manager.get_quantization_recipe()
    return found


def _signature(tree: Tree) -> Tree:
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = SIGNATURE, 0
    graph = tree.subgraphs[0]
    signature.inputs = [_map(f"in_{k}", each) for k, each in enumerate(graph.inputs)]
    signature.outputs = [_map(f"out_{k}", each) for k, each in enumerate(graph.outputs)]
    return signature


def _map(name: str, tensor: int) -> Tree:
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = name.encode(), int(tensor)
    return entry


def _names(tree: Tree) -> tuple[str, dict[int, str]]:
    """Give the main subgraph's signature and what it calls each input tensor."""
    mine = [each for each in tree.signatureDefs if each.subgraphIndex == 0]
    if not mine:
        raise CannotQuantizeError("no signature is of its main subgraph")
    names = {int(each.tensorIndex): each.name.decode() for each in mine[0].inputs}
    return mine[0].signatureKey.decode(), names


def _without_signature(content: bytes) -> bytes:
    tree = _tree(content)
    tree.signatureDefs = [
        each for each in tree.signatureDefs or () if each.signatureKey != SIGNATURE
    ]
    return write_model(tree)
