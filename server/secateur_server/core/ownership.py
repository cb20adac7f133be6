"""Which replica acts on which device: rendezvous hashing over those that are alive.

Every replica computes the same answer from the same list, and when one goes only its own
devices change hands.

Source: Thaler and Ravishankar, "Using name-based mappings to increase hit rates", IEEE/ACM
Transactions on Networking 6(1), 1998.
"""

from collections.abc import Sequence

from secateur_server.core.lot import lot_of


def owner_of(device: str, replicas: Sequence[str]) -> str | None:
    """Name the replica that acts on a device; ``None``: there is none at all."""
    return max(
        replicas, key=lambda replica: (lot_of(f"{replica}/{device}"), replica), default=None
    )
