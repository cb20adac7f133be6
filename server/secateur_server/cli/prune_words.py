"""The words of ``secateur prune``: its options, each with what the help says of it."""

from pathlib import Path
from typing import Annotated

import typer

Model = Annotated[Path, typer.Argument(metavar="MODEL", help="A .tflite file.")]
Calibration = Annotated[Path, typer.Option(help=".npz with x.")]
Evaluation = Annotated[Path, typer.Option(help=".npz with x and, if known, y.")]
OutDir = Annotated[Path, typer.Option(help="A new folder for the ladder.")]
Method = Annotated[
    str | None,
    typer.Option(
        help="absolute, relative, magnitude, channel, layer, network. Without it the "
        "amount says which; without both, network."
    ),
]
Threshold = Annotated[float | None, typer.Option(help="absolute, relative.")]
Sparsity = Annotated[float | None, typer.Option(help="magnitude: share of zeros.")]
Ratio = Annotated[
    float | None, typer.Option(help="channel: share of channels; layer: of blocks.")
]
Count = Annotated[int | None, typer.Option(help="layer: blocks to take out.", min=1)]
Budget = Annotated[
    str | None,
    typer.Option(help="network: macs=0.5, bytes=0.5 or latency=0.5 of the dense model's."),
]
Plans = Annotated[
    list[Path] | None,
    typer.Option(help="Carry a stored plan out again, one level each; may be repeated."),
]
Levels = Annotated[
    int | None,
    typer.Option(help="Of the ladder, with the dense one. 2 with an amount, else 5."),
]
Saliency = Annotated[
    str, typer.Option(help="obs, obs-damped, fisher, activation, l1, l2, random.")
]
Search = Annotated[
    int | None, typer.Option(help="Networks tried per level; more is better.", min=1)
]
Distill = Annotated[
    Path | None,
    typer.Option(help=".npz with x: the levels learn the dense model's outputs on it."),
]
Steps = Annotated[int | None, typer.Option(help="distill: batches to learn from; none: 300.")]
Augment = Annotated[
    str | None,
    typer.Option(help="distill: none, or shift, flip, mix joined by +; none given: auto."),
]
Resume = Annotated[
    Path | None,
    typer.Option(help="distill: a folder of states; the same command goes on from there."),
]
Floor = Annotated[float | None, typer.Option(help="Leave out levels less accurate than this.")]
Precision = Annotated[
    str | None,
    typer.Option(help="Of the levels, from floats: int8, or float32,int8. None: the model's."),
]
Scope = Annotated[
    str, typer.Option(help="magnitude: a share of each layer's or of all: layer, network.")
]
Encoding = Annotated[str, typer.Option(help="Of files with many zeros: auto, dense, sparse.")]
Rewrite = Annotated[
    str,
    typer.Option(
        help="Make the graph one that sparse kernels take: none, sparse, sparse-stem."
    ),
]
Name = Annotated[str | None, typer.Option(help="Name; none: the file's.")]
Version = Annotated[str, typer.Option(help="Of the ladder.")]
Report = Annotated[
    Path | None, typer.Option(help="Write the ladder as one page too, say report.html.")
]
Threads = Annotated[int, typer.Option(help="For measuring latency.", min=1)]
Seed = Annotated[int, typer.Option(help="Of the search and of random.", min=0)]
Correct = Annotated[
    bool, typer.Option(help="Let weights that stay make up for those that leave.")
]
AllowOverlap = Annotated[
    bool, typer.Option("--allow-overlap", help="Let samples be in both sets.")
]
