"""When Python looks for objects that only hold each other.

What a coordinator makes with each message is let go by itself, and what it keeps is a large
tree without cycles. Walking through all of it again and again finds nothing, costs a tenth of
the time and, with many devices, makes a message wait for as long as the walk takes.
"""

import gc

ALLOCATIONS = 50_000
"""New objects, beyond those let go, before Python looks among the newest."""

YOUNG_ROUNDS = 20
OLD_ROUNDS = 100
"""Such looks before the next older ones are looked through, and the same again for all."""


def collect_seldom() -> None:
    """Look seldom from now on, and never again among what there is already."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(ALLOCATIONS, YOUNG_ROUNDS, OLD_ROUNDS)
