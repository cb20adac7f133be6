"""The methods by name: our own, and those that other distributions add."""

import importlib.metadata

from secateur_server.errors import InputError
from secateur_server.pruning import layers, structured, weights
from secateur_server.pruning.task import Method

ENTRY_POINTS = "secateur.pruners"
"""The entry-point group; an entry's name is the method's, and it loads a `Method`."""

METHODS: dict[str, Method] = {
    "absolute": weights.absolute,
    "relative": weights.relative,
    "magnitude": weights.magnitude,
    "channel": structured.channel,
    "layer": layers.layer,
    "network": structured.network,
}


def method_names() -> list[str]:
    """List all methods, our own first."""
    return [*METHODS, *sorted(each.name for each in _others())]


def find_method(name: str) -> Method:
    """Find a method.

    Raises:
        InputError: There is none of this name, or it cannot be loaded.
    """
    if name in METHODS:
        return METHODS[name]
    for entry in _others():
        if entry.name == name:
            return _load(entry)
    raise InputError(f"--method {name!r} is none of {', '.join(method_names())}")


def _others() -> list[importlib.metadata.EntryPoint]:
    found = importlib.metadata.entry_points(group=ENTRY_POINTS)
    return [entry for entry in found if entry.name not in METHODS]


def _load(entry: importlib.metadata.EntryPoint) -> Method:
    try:
        method: Method = entry.load()
    except Exception as error:  # whatever somebody else's module raises when imported
        raise InputError(
            f"--method {entry.name}: {entry.value} cannot be loaded: {error}"
        ) from error
    if not callable(method):
        raise InputError(f"--method {entry.name}: {entry.value} is not a function")
    return method
