"""Each operator in JAX gives what the engine gives."""

from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from secateur_server.pruning.distillation.network import differentiable
from secateur_server.pruning.distillation.operators import KERNELS
from secateur_server.pruning.execution import run_operator
from secateur_server.pruning.graph import Graph
from support.lone_operators import lone_operator

SAMPLES = 3
TOLERANCE = 1e-4

SAME, VALID = schema.Padding.SAME, schema.Padding.VALID
RELU, RELU6, RELU_N1 = (
    schema.ActivationFunctionType.RELU,
    schema.ActivationFunctionType.RELU6,
    schema.ActivationFunctionType.RELU_N1_TO_1,
)


def reals(*shape: int, seed: int = 0) -> Any:  # noqa: ANN401 - arrays of any type
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def ints(*values: Any) -> Any:  # noqa: ANN401 - arrays of any type
    return np.array(values, np.int32)


def conv(
    height: int,
    width: int,
    *,
    kernel: tuple[int, int, int, int],
    out: tuple[int, int],
    **options: Any,  # noqa: ANN401 - the schema's
) -> Graph:
    fields = {"strideH": 1, "strideW": 1, "dilationHFactor": 1, "dilationWFactor": 1, **options}
    outputs, taps_h, taps_w, inputs = kernel
    weights = reals(outputs, taps_h, taps_w, inputs, seed=1)
    shapes = [(1, height, width, inputs), weights, reals(outputs, seed=2)]
    return lone_operator("CONV_2D", shapes, [(1, *out, outputs)], "Conv2DOptions", **fields)


def depthwise(
    multiplier: int,
    out: tuple[int, int],
    **options: Any,  # noqa: ANN401 - the schema's
) -> Graph:
    fields = {"strideH": 1, "strideW": 1, "dilationHFactor": 1, "dilationWFactor": 1, **options}
    weights = reals(1, 3, 3, 4 * multiplier, seed=1)
    return lone_operator(
        "DEPTHWISE_CONV_2D",
        [(1, 7, 6, 4), weights, reals(4 * multiplier, seed=2)],
        [(1, *out, 4 * multiplier)],
        "DepthwiseConv2DOptions",
        depthMultiplier=multiplier,
        **fields,
    )


def transposed(
    out: tuple[int, int],
    *,
    taps: int = 3,
    **options: Any,  # noqa: ANN401 - the schema's
) -> Graph:
    return lone_operator(
        "TRANSPOSE_CONV",
        [ints(1, *out, 5), reals(5, taps, taps, 4, seed=1), (1, 4, 3, 4), reals(5, seed=2)],
        [(1, *out, 5)],
        "TransposeConvOptions",
        **options,
    )


def pool(
    kind: str,
    out: tuple[int, int],
    **options: Any,  # noqa: ANN401 - the schema's
) -> Graph:
    return lone_operator(
        kind,
        [(1, 7, 6, 3)],
        [(1, *out, 3)],
        "Pool2DOptions",
        filterHeight=3,
        filterWidth=2,
        **options,
    )


def resize(
    kind: str,
    out: tuple[int, int],
    **options: Any,  # noqa: ANN401 - the schema's
) -> Graph:
    name = "ResizeBilinearOptions" if "BILINEAR" in kind else "ResizeNearestNeighborOptions"
    return lone_operator(kind, [(1, 5, 4, 3), ints(*out)], [(1, *out, 3)], name, **options)


def reduction(
    kind: str, axes: tuple[int, ...], out: tuple[int, ...], *, keep: bool = False
) -> Graph:
    return lone_operator(
        kind, [(1, 4, 5, 3), ints(*axes)], [out], "ReducerOptions", keepDims=keep
    )


def unary(
    kind: str,
    options: str = "",
    **fields: Any,  # noqa: ANN401 - the schema's
) -> Graph:
    return lone_operator(kind, [(1, 4, 5)], [(1, 4, 5)], options, **fields)


def binary(
    kind: str,
    options: str = "",
    **fields: Any,  # noqa: ANN401 - the schema's
) -> Graph:
    return lone_operator(kind, [(1, 4, 5), (1, 1, 5)], [(1, 4, 5)], options, **fields)


def mirror_pad(mode: int) -> Graph:
    widths = np.array([[0, 0], [1, 2], [2, 1], [0, 0]], np.int32)
    return lone_operator(
        "MIRROR_PAD", [(1, 4, 5, 3), widths], [(1, 7, 8, 3)], "MirrorPadOptions", mode=mode
    )


WIDTHS = np.array([[0, 0], [1, 2], [0, 1], [0, 0]], np.int32)
STRIDED: dict[str, Any] = {
    "beginMask": 0,
    "endMask": 0,
    "ellipsisMask": 0,
    "newAxisMask": 0,
    "shrinkAxisMask": 0,
}

GRAPHS: dict[str, Graph] = {
    "a convolution": conv(7, 6, kernel=(5, 3, 3, 4), out=(7, 6), padding=SAME),
    "a convolution with steps": conv(
        8, 7, kernel=(5, 3, 2, 4), out=(4, 4), padding=SAME, strideH=2, strideW=2
    ),
    "a convolution without padding": conv(
        8, 7, kernel=(5, 3, 3, 4), out=(3, 5), padding=VALID, strideH=2
    ),
    "a dilated convolution": conv(
        9,
        9,
        kernel=(5, 3, 3, 4),
        out=(9, 9),
        padding=SAME,
        dilationHFactor=2,
        dilationWFactor=3,
    ),
    "a convolution with an activation": conv(
        7, 6, kernel=(5, 1, 1, 4), out=(7, 6), padding=SAME, fusedActivationFunction=RELU6
    ),
    "a grouped convolution": lone_operator(
        "CONV_2D",
        [(1, 5, 5, 6), reals(4, 3, 3, 3, seed=1), reals(4, seed=2)],
        [(1, 5, 5, 4)],
        "Conv2DOptions",
        padding=SAME,
        strideH=1,
        strideW=1,
        dilationHFactor=1,
        dilationWFactor=1,
    ),
    "a depthwise convolution": depthwise(1, (7, 6), padding=SAME),
    "a depthwise convolution with steps": depthwise(
        1, (4, 3), padding=SAME, strideH=2, strideW=2
    ),
    "a depthwise convolution with a multiplier": depthwise(2, (5, 4), padding=VALID),
    "a dilated depthwise convolution": depthwise(
        1, (7, 6), padding=SAME, dilationHFactor=2, dilationWFactor=2
    ),
    "a transposed convolution": transposed((8, 6), padding=SAME, strideH=2, strideW=2),
    "a transposed convolution without padding": transposed(
        (9, 7), padding=VALID, strideH=2, strideW=2
    ),
    "a transposed convolution with fewer taps than steps": transposed(
        (12, 9), taps=2, padding=SAME, strideH=3, strideW=3
    ),
    "a dense layer": lone_operator(
        "FULLY_CONNECTED",
        [(1, 6), reals(4, 6, seed=1), reals(4, seed=2)],
        [(1, 4)],
        "FullyConnectedOptions",
        fusedActivationFunction=RELU,
    ),
    "a dense layer that flattens, without bias": lone_operator(
        "FULLY_CONNECTED",
        [(1, 2, 3), reals(4, 6, seed=1), None],
        [(1, 4)],
        "FullyConnectedOptions",
    ),
    "a dense layer that keeps the axes": lone_operator(
        "FULLY_CONNECTED",
        [(1, 2, 6), reals(4, 6, seed=1), reals(4, seed=2)],
        [(1, 2, 4)],
        "FullyConnectedOptions",
        keepNumDims=True,
    ),
    "a matrix product": lone_operator(
        "BATCH_MATMUL", [(1, 3, 4), reals(1, 4, 5)], [(1, 3, 5)], "BatchMatMulOptions"
    ),
    "a matrix product, turned": lone_operator(
        "BATCH_MATMUL",
        [(1, 3, 4), reals(1, 5, 4)],
        [(1, 3, 5)],
        "BatchMatMulOptions",
        adjY=True,
    ),
    "average pooling": pool("AVERAGE_POOL_2D", (4, 6), padding=SAME, strideH=2, strideW=1),
    "average pooling without padding": pool(
        "AVERAGE_POOL_2D", (3, 5), padding=VALID, strideH=2, strideW=1
    ),
    "maximum pooling": pool("MAX_POOL_2D", (4, 3), padding=SAME, strideH=2, strideW=2),
    "quadratic pooling": pool("L2_POOL_2D", (5, 5), padding=VALID, strideH=1, strideW=1),
    "bilinear resizing": resize("RESIZE_BILINEAR", (9, 7)),
    "bilinear resizing by centres": resize("RESIZE_BILINEAR", (9, 3), halfPixelCenters=True),
    "bilinear resizing by corners": resize("RESIZE_BILINEAR", (9, 7), alignCorners=True),
    "nearest resizing": resize("RESIZE_NEAREST_NEIGHBOR", (9, 7)),
    "nearest resizing by centres": resize(
        "RESIZE_NEAREST_NEIGHBOR", (8, 3), halfPixelCenters=True
    ),
    "nearest resizing by corners": resize("RESIZE_NEAREST_NEIGHBOR", (9, 7), alignCorners=True),
    "mean": reduction("MEAN", (1, 2), (1, 3)),
    "mean that keeps the axes": reduction("MEAN", (1, 2), (1, 1, 1, 3), keep=True),
    "sum": reduction("SUM", (-1,), (1, 4, 5)),
    "greatest": reduction("REDUCE_MAX", (2,), (1, 4, 3)),
    "least": reduction("REDUCE_MIN", (2,), (1, 4, 3)),
    "product": reduction("REDUCE_PROD", (1,), (1, 5, 3)),
    "softmax": unary("SOFTMAX", "SoftmaxOptions", beta=0.5),
    "log softmax": unary("LOG_SOFTMAX", "LogSoftmaxOptions"),
    "L2 normalization": unary("L2_NORMALIZATION", "L2NormOptions"),
    "leaky relu": unary("LEAKY_RELU", "LeakyReluOptions", alpha=0.2),
    "gelu": unary("GELU", "GeluOptions", approximate=False),
    "approximate gelu": unary("GELU", "GeluOptions", approximate=True),
    "prelu": lone_operator("PRELU", [(1, 4, 5, 3), reals(1, 1, 3)], [(1, 4, 5, 3)]),
    "cast": unary("CAST", "CastOptions"),
    "an addition with an activation": binary(
        "ADD", "AddOptions", fusedActivationFunction=RELU_N1
    ),
    "a constant that is multiplied": lone_operator(
        "MUL", [(1, 4, 5), reals(5)], [(1, 4, 5)], "MulOptions", fusedActivationFunction=RELU
    ),
    "reshape": lone_operator("RESHAPE", [(1, 4, 6), ints(1, 24)], [(1, 24)], "ReshapeOptions"),
    "squeeze": lone_operator(
        "SQUEEZE", [(1, 1, 4, 3)], [(1, 4, 3)], "SqueezeOptions", squeezeDims=[1]
    ),
    "expand dims": lone_operator(
        "EXPAND_DIMS", [(1, 4, 3), ints(1)], [(1, 1, 4, 3)], "ExpandDimsOptions"
    ),
    "transpose": lone_operator(
        "TRANSPOSE", [(1, 4, 5, 3), ints(0, 3, 1, 2)], [(1, 3, 4, 5)], "TransposeOptions"
    ),
    "concatenation": lone_operator(
        "CONCATENATION", [(1, 4, 2), (1, 4, 3)], [(1, 4, 5)], "ConcatenationOptions", axis=-1
    ),
    "split": lone_operator(
        "SPLIT", [ints(2), (1, 4, 6)], [(1, 4, 3), (1, 4, 3)], "SplitOptions", numSplits=2
    ),
    "split by sizes": lone_operator(
        "SPLIT_V",
        [(1, 4, 6), ints(2, 4), ints(2)],
        [(1, 4, 2), (1, 4, 4)],
        "SplitVOptions",
        numSplits=2,
    ),
    "pad": lone_operator("PAD", [(1, 4, 5, 3), WIDTHS], [(1, 7, 6, 3)], "PadOptions"),
    "pad with a value": lone_operator(
        "PADV2",
        [(1, 4, 5, 3), WIDTHS, np.array([2.5], np.float32)],
        [(1, 7, 6, 3)],
        "PadV2Options",
    ),
    "mirror without the edge": mirror_pad(schema.MirrorPadMode.REFLECT),
    "mirror with the edge": mirror_pad(schema.MirrorPadMode.SYMMETRIC),
    "slice": lone_operator(
        "SLICE", [(1, 4, 6), ints(0, 1, 2), ints(1, 2, -1)], [(1, 2, 4)], "SliceOptions"
    ),
    "strided slice": lone_operator(
        "STRIDED_SLICE",
        [(1, 6, 6), ints(0, 1, 5), ints(1, 6, 0), ints(1, 2, -2)],
        [(1, 3, 3)],
        "StridedSliceOptions",
        **STRIDED,
    ),
    "strided slice with masks": lone_operator(
        "STRIDED_SLICE",
        [(1, 6, 5), ints(0, 2, 1), ints(1, 3, 4), ints(1, 1, 1)],
        [(1, 5)],
        "StridedSliceOptions",
        **{**STRIDED, "beginMask": 0b101, "endMask": 0b101, "shrinkAxisMask": 0b010},
    ),
    "space to depth": lone_operator(
        "SPACE_TO_DEPTH", [(1, 4, 6, 3)], [(1, 2, 3, 12)], "SpaceToDepthOptions", blockSize=2
    ),
    "depth to space": lone_operator(
        "DEPTH_TO_SPACE", [(1, 2, 3, 12)], [(1, 4, 6, 3)], "DepthToSpaceOptions", blockSize=2
    ),
    "space to batch": lone_operator(
        "SPACE_TO_BATCH_ND",
        [(1, 4, 5, 3), ints(2, 2), np.array([[0, 0], [0, 1]], np.int32)],
        [(4, 2, 3, 3)],
        "SpaceToBatchNDOptions",
    ),
    "batch to space": lone_operator(
        "BATCH_TO_SPACE_ND",
        [(4, 2, 3, 3), ints(2, 2), np.array([[0, 0], [0, 1]], np.int32)],
        [(1, 4, 5, 3)],
        "BatchToSpaceNDOptions",
    ),
    "tile": lone_operator("TILE", [(1, 4, 3), ints(1, 2, 3)], [(1, 8, 9)], "TileOptions"),
    "gather": lone_operator(
        "GATHER", [(1, 4, 3), ints(2, 0, 2)], [(1, 3, 3)], "GatherOptions", axis=1
    ),
    "fake quantization": unary("FAKE_QUANT", "FakeQuantOptions", min=-1.0, max=1.5, numBits=4),
    "sum of several": lone_operator("ADD_N", [(1, 4), (1, 4), (1, 4)], [(1, 4)], "AddNOptions"),
    "choice": lone_operator(
        "SELECT_V2",
        [np.array([[True, False, True, False]]), (1, 4), (1, 4)],
        [(1, 4)],
        "SelectV2Options",
    ),
    "negation": lone_operator(
        "LOGICAL_NOT", [(1, 4)], [(1, 4)], "LogicalNotOptions", takes="bool", gives="bool"
    ),
    **{
        kind.lower(): lone_operator(
            kind, [(1, 4), (1, 4)], [(1, 4)], options, takes="bool", gives="bool"
        )
        for kind, options in {
            "LOGICAL_AND": "LogicalAndOptions",
            "LOGICAL_OR": "LogicalOrOptions",
        }.items()
    },
    **{
        kind.lower(): lone_operator(kind, [(1, 4), (1, 4)], [(1, 4)], options, gives="bool")
        for kind, options in {
            "EQUAL": "EqualOptions",
            "GREATER": "GreaterOptions",
            "GREATER_EQUAL": "GreaterEqualOptions",
            "LESS": "LessOptions",
            "LESS_EQUAL": "LessEqualOptions",
            "NOT_EQUAL": "NotEqualOptions",
        }.items()
    },
    "angle": lone_operator("ATAN2", [(1, 4), (1, 4)], [(1, 4)]),
    "pack": lone_operator(
        "PACK", [(1, 4), (1, 4)], [(1, 2, 4)], "PackOptions", axis=1, valuesCount=2
    ),
    "unpack": lone_operator(
        "UNPACK", [(1, 2, 4)], [(1, 4), (1, 4)], "UnpackOptions", axis=1, num=2
    ),
    **{
        kind.lower(): unary(kind, options)
        for kind, options in {
            "ABS": "AbsOptions",
            "CEIL": "",
            "COS": "CosOptions",
            "ELU": "",
            "EXP": "ExpOptions",
            "FLOOR": "",
            "HARD_SWISH": "HardSwishOptions",
            "LOGISTIC": "",
            "NEG": "NegOptions",
            "RELU": "",
            "RELU6": "",
            "RELU_0_TO_1": "",
            "RELU_N1_TO_1": "",
            "ROUND": "",
            "SIGN": "SignOptions",
            "SIN": "",
            "SQUARE": "SquareOptions",
            "TANH": "",
            "ZEROS_LIKE": "ZerosLikeOptions",
        }.items()
    },
    **{
        kind.lower(): binary(kind, options)
        for kind, options in {
            "ADD": "AddOptions",
            "DIV": "DivOptions",
            "FLOOR_DIV": "FloorDivOptions",
            "FLOOR_MOD": "FloorModOptions",
            "MAXIMUM": "MaximumMinimumOptions",
            "MINIMUM": "MaximumMinimumOptions",
            "MUL": "MulOptions",
            "SQUARED_DIFFERENCE": "SquaredDifferenceOptions",
            "SUB": "SubOptions",
        }.items()
    },
}
"""Whatever number the inputs hold, the operator is defined."""

POSITIVE: dict[str, Graph] = {
    "log": unary("LOG"),
    "sqrt": unary("SQRT"),
    "rsqrt": unary("RSQRT"),
    "pow": binary("POW", "PowOptions"),
}


def both(graph: Graph, *, positive: bool) -> tuple[list[Any], list[Any]]:
    given = {k: reals(SAMPLES, *graph.tensors[k].shape, seed=k + 9) * 2 for k in graph.inputs}
    given = {k: np.abs(x) + 0.1 if positive else x for k, x in given.items()}
    given = {k: x > 0 if graph.tensors[k].dtype == np.bool_ else x for k, x in given.items()}
    engine = run_operator(graph, graph.operators[0], given)
    found = differentiable(graph, graph.outputs)({}, *given.values())
    return engine, [np.asarray(each) for each in found]


@pytest.mark.parametrize("name", [*GRAPHS, *POSITIVE])
def test_an_operator_gives_what_the_engine_gives(name: str) -> None:
    graph = GRAPHS.get(name) or POSITIVE[name]
    engine, ours = both(graph, positive=name in POSITIVE)
    for wanted, found in zip(engine, ours, strict=True):
        assert wanted is not None, "the engine refuses the test's own operator"
        assert found.shape == wanted.shape
        if wanted.dtype == np.bool_:
            assert np.array_equal(found, wanted)
            continue
        np.testing.assert_allclose(found, wanted, rtol=TOLERANCE, atol=TOLERANCE)


def test_every_operator_that_is_known_is_compared_with_the_engine() -> None:
    compared = {graph.operators[0].kind for graph in (GRAPHS | POSITIVE).values()}
    assert set(KERNELS) - compared == {"DEQUANTIZE", "QUANTIZE", "SHAPE"}
