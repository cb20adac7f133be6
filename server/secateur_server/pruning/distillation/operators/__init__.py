"""What each operator computes, in JAX. To teach distillation an operator, write it here."""

from secateur_server.pruning.distillation.operators import (
    elementwise,
    layout,
    linear,
    reduction,
    resizing,
    windows,
)
from secateur_server.pruning.distillation.operators.call import Kernel

KERNELS: dict[str, Kernel] = {
    **elementwise.KERNELS,
    **layout.KERNELS,
    **linear.KERNELS,
    **reduction.KERNELS,
    **resizing.KERNELS,
    **windows.KERNELS,
}
"""By operator kind."""
