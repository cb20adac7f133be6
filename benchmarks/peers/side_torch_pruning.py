"""The part of `peer_pruning.py` for Torch-Pruning's environment; nothing of ours is there.

    side_torch_pruning.py WEIGHTS.npz DATA.npz IMPORTANCE CUTS OUT MACS_RATIO STEPS [OUT ...]

Rebuilds ResNet-8 from the weights of the ``.tflite`` file, prunes it by one of Torch-Pruning's
importances until the MACs are down, fine-tunes it with labels for so many steps, and writes
its weights to ``OUT``; the same for each further three arguments. The last line is one JSON
array with an object for each.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as nnf
import torch_pruning as tp
from torch import nn

BATCH = 64
PEAK_STEP = 3e-3
"""Of 0.0003, 0.001, 0.003 and 0.01 what served the best of the importances best."""
BRIGHTEST = 255.0
"""Of a pixel. With images of 0 to 255 the steps of Adam are too long for the first layer."""
GRADIENT_IMAGES = {"magnitude": 0, "taylor": 256, "hessian": 48}
"""Labelled images for gradients, each time before channels leave. The last takes them one by
one, which is slow."""
LIMIT = 0.9
"""In ``CUTS`` equal steps the pruner would come to this share of all channels."""


class ResNet8(nn.Module):
    """The network of MLPerf Tiny, its normalisations folded into its convolutions."""

    def __init__(self, weights: dict[str, np.ndarray]) -> None:
        super().__init__()
        self.layers = nn.ModuleList()
        for k in range(9):
            held = torch.tensor(weights[f"w{k}"]).permute(0, 3, 1, 2).contiguous()
            stride = 2 if k in {3, 5, 6, 8} else 1
            conv = nn.Conv2d(held.shape[1], held.shape[0], held.shape[2], stride)
            conv.weight.data, conv.bias.data = held, torch.tensor(weights[f"b{k}"])
            self.layers.append(conv)
        self.layers[0].weight.data *= BRIGHTEST  # images are trained on in 0 to 1
        head = weights["w9"]
        self.head = nn.Linear(head.shape[1], head.shape[0])
        self.head.weight.data = torch.tensor(head)
        self.head.bias.data = torch.tensor(weights["b9"])

    def convolve(self, k: int, x: torch.Tensor) -> torch.Tensor:
        """Pad as TFLite's SAME does: behind first."""
        layer = self.layers[k]
        if layer.kernel_size[0] == 3:
            before = 1 if layer.stride[0] == 1 else 0
            x = nnf.pad(x, (before, 1, before, 1))
        return layer(x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nnf.relu(self.convolve(0, x))
        x = nnf.relu(x + self.convolve(2, nnf.relu(self.convolve(1, x))))
        for first in (3, 6):
            inner = self.convolve(first + 1, nnf.relu(self.convolve(first, x)))
            x = nnf.relu(inner + self.convolve(first + 2, x))
        return self.head(x.mean((2, 3)))

    def weights(self) -> dict[str, np.ndarray]:
        """Give what `__init__` takes."""
        found = {}
        for k, layer in enumerate(self.layers):
            found[f"w{k}"] = layer.weight.detach().permute(0, 2, 3, 1).contiguous().numpy()
            found[f"b{k}"] = layer.bias.detach().numpy()
        found["w0"] = found["w0"] / BRIGHTEST
        found["w9"], found["b9"] = (
            self.head.weight.detach().numpy(),
            self.head.bias.detach().numpy(),
        )
        return found


def macs(model: nn.Module) -> float:
    """Count multiply-accumulates as the peer does."""
    return tp.utils.count_ops_and_params(model, torch.zeros(1, 3, 32, 32))[0]


IMPORTANCES = {
    "magnitude": lambda: tp.importance.GroupMagnitudeImportance(p=2),
    "taylor": tp.importance.GroupTaylorImportance,
    "hessian": tp.importance.GroupHessianImportance,
}


def accumulate(model: nn.Module, name: str, importance: object, x, y) -> None:
    """Leave in the network what an importance by gradients looks at."""
    if name == "magnitude":
        return
    model.zero_grad()
    if name == "taylor":
        nnf.cross_entropy(model(x), y).backward()
        return
    importance.zero_grad()
    losses = nnf.cross_entropy(model(x), y, reduction="none")
    for loss in losses:
        model.zero_grad()
        loss.backward(retain_graph=True)
        importance.accumulate_grad(model)


def prune(model: nn.Module, name: str, cuts: int, ratio: float, x, y) -> None:
    """Take channels out, over the whole network, until few enough MACs are left."""
    wanted = ratio * macs(model)
    importance = IMPORTANCES[name]()
    pruner = tp.pruner.BasePruner(
        model,
        torch.zeros(1, 3, 32, 32),
        importance=importance,
        global_pruning=True,
        pruning_ratio=LIMIT,
        max_pruning_ratio=LIMIT,
        iterative_steps=cuts,
        ignored_layers=[model.head],
    )
    rng = np.random.default_rng(0)
    for _ in range(cuts):
        if macs(model) <= wanted:
            return
        rows = torch.tensor(rng.choice(len(y), GRADIENT_IMAGES[name], replace=False))
        accumulate(model, name, importance, x[rows], y[rows])
        pruner.step()


def fine_tune(model: nn.Module, x, y, steps: int) -> None:
    """Train with labels: Adam, warm-up and cosine, images moved and mirrored."""
    optimizer = torch.optim.Adam(model.parameters(), PEAK_STEP)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_STEP, total_steps=steps + 1)
    rng = np.random.default_rng(1)
    for _ in range(steps):
        rows = torch.tensor(rng.integers(0, len(y), BATCH))
        images = nnf.pad(x[rows], (2, 2, 2, 2), mode="replicate")
        top, left = rng.integers(0, 5, 2)
        images = images[:, :, top : top + 32, left : left + 32]
        mirrored = torch.tensor(rng.random(BATCH) < 0.5)
        images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
        optimizer.zero_grad()
        nnf.cross_entropy(model(images), y[rows]).backward()
        optimizer.step()
        schedule.step()


def peak_mb() -> float:
    """Give the highest resident memory so far; what the parent had does not count."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    [line] = [line for line in lines if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1e3


def produce(model: nn.Module, name: str, cuts: int, told: list[str], x, y) -> dict[str, float]:
    """Prune, fine-tune, write."""
    out, ratio, steps = told[0], float(told[1]), int(told[2])
    torch.manual_seed(0)
    began_s = time.monotonic()
    prune(model, name, cuts, ratio, x, y)
    prune_s = time.monotonic() - began_s
    began_s = time.monotonic()
    if steps:
        fine_tune(model, x, y, steps)
    train_s = time.monotonic() - began_s
    np.savez(out, **model.weights())
    return {
        "prune_s": prune_s,
        "train_s": train_s,
        "peak_mb": peak_mb(),
    }


def main() -> None:
    """Do what is asked for, one after the other."""
    weights, data, name, cuts, *told = sys.argv[1:]
    torch.set_num_threads(2)
    with np.load(weights) as arrays:
        held = dict(arrays)
    with np.load(data) as arrays:
        x = torch.tensor(arrays["x"]).permute(0, 3, 1, 2).float() / BRIGHTEST
        y = torch.tensor(arrays["y"])
    each = [told[k : k + 3] for k in range(0, len(told), 3)]
    print(json.dumps([produce(ResNet8(held), name, int(cuts), some, x, y) for some in each]))


if __name__ == "__main__":
    main()
