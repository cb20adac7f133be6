"""The way into distillation for those who may not have JAX."""

import importlib.util

from secateur_server.errors import InputError


def require_jax() -> None:
    """Make sure that distillation can be imported.

    Raises:
        InputError: Says how to install what is missing.
    """
    for name in ("jax", "optax"):
        if importlib.util.find_spec(name) is None:
            raise InputError(f"distillation needs {name}: pip install 'secateur[distill]'")
