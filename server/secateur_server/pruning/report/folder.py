"""From a ladder's folder to its page."""

import json
from pathlib import Path

from secateur_protocols.manifest import Ladder
from secateur_server.pruning.report.layers import read_layers
from secateur_server.pruning.report.pruned import ladder_page
from secateur_server.pruning.task import Progress


def page_of_folder(folder: Path, *, threads: int, progress: Progress) -> str:
    """Read a ladder as the pruner wrote it, measure its operators, and give its page.

    Args:
        folder: With ``ladder.json``, ``report.json`` and the levels' artifacts.
        threads: Of the engine.
        progress: Told how far it is.

    Raises:
        InputError: An artifact cannot be read.
    """
    ladder = Ladder.model_validate_json((folder / "ladder.json").read_bytes())
    record = json.loads((folder / "report.json").read_bytes())
    layers = []
    for each in ladder.levels:
        progress(each.level / len(ladder.levels), "timing the operators of every level")
        layers.append(read_layers(folder / f"level-{each.level}.tflite", threads))
    return ladder_page(ladder, record, layers)
