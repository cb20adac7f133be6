"""Which replica acts on which device: rendezvous hashing over those that are alive.

Every replica computes the same answer from the same list, and when one goes only its own
devices change hands.

Source: Thaler and Ravishankar, "Using name-based mappings to increase hit rates", IEEE/ACM
Transactions on Networking 6(1), 1998.
"""

from collections.abc import Sequence
from zlib import crc32


def owner_of(device: str, replicas: Sequence[str]) -> str | None:
    """Name the replica that acts on a device; ``None``: there is none at all."""
    return max(replicas, key=lambda replica: (_weight(replica, device), replica), default=None)


def _weight(replica: str, device: str) -> int:
    # CRC-32 is linear: without the mixing, names that differ alike would weigh alike.
    mixed = crc32(f"{replica}/{device}".encode())
    mixed ^= mixed >> 16
    mixed = mixed * 0x7FEB352D & 0xFFFFFFFF
    mixed ^= mixed >> 15
    mixed = mixed * 0x846CA68B & 0xFFFFFFFF
    return mixed ^ mixed >> 16
