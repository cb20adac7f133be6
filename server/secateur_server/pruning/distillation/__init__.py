"""Label-free distillation: a pruned network learns the outputs of the original.

Needs JAX, the extra ``distill``. Only `options` and `extra` may be imported without it.
"""
